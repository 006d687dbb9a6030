"""Score answer choices after a prompt: one backbone pass, and the head only at the answers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from langsteer.errors import ModelError
from langsteer.models import Model, frozen
from langsteer.progress import track
from langsteer.tokens import TOKEN_BUDGET, Prompt, batches, encode, encode_suffix, pad_mask
from langsteer.vector import SteeringVector


def choice_scores(
    model: Model,
    prompts: Sequence[Prompt],
    choices: Sequence[str],
    vector: SteeringVector | None = None,
    *,
    strength: float | None = None,
    budget: int = TOKEN_BUDGET,
    progress: str | None = None,
) -> Tensor:
    """Log-likelihood of each choice after each prompt: float32 [prompts, choices].

    With `vector`, the prompt's source tokens are steered. Raises ModelError for a choice that
    tokenises to nothing.
    """
    answers = [encode_suffix(model, choice) for choice in choices]
    for choice, answer in zip(choices, answers, strict=True):
        if not answer:
            raise ModelError(f"the answer choice {choice!r} tokenises to nothing")
    tokens = encode(model, prompts)
    if all(len(answer) == 1 for answer in answers):
        rows = [(i, -1) for i in range(len(tokens))]
        encoded = tokens
    else:  # the last token of a choice is predicted, never read
        rows = [(i, c) for i in range(len(tokens)) for c in range(len(answers))]
        encoded = [tokens[i].followed_by(answers[c][:-1]) for i, c in rows]
    result = torch.empty(len(tokens), len(choices))
    groups = list(batches(encoded, budget))
    with torch.inference_mode(), frozen(model):
        for group in track(groups, progress, len(groups)):
            inputs = model.batch([encoded[r].ids for r in group])
            source = pad_mask([encoded[r].source for r in group])
            keep = max(1 if rows[r][1] < 0 else len(answers[rows[r][1]]) for r in group)
            with _maybe(model, vector, strength, source):
                logits = torch.log_softmax(model.last_logits(inputs, keep).float(), -1).cpu()
            for place, r in enumerate(group):
                item, number = rows[r]
                if number < 0:
                    result[item] = logits[place, -1, [answer[0] for answer in answers]]
                else:
                    answer = answers[number]
                    at = logits[place, keep - len(answer) :]
                    result[item, number] = at[range(len(answer)), answer].sum()
    return result


def batch_calibrated(scores: Tensor) -> Tensor:
    """Scores less each choice's mean over the batch (Zhou et al., arXiv 2309.17249)."""
    return scores - scores.mean(0, keepdim=True)


def _maybe(
    model: Model, vector: SteeringVector | None, strength: float | None, mask: Tensor
) -> Any:
    if vector is None:
        return torch.inference_mode()
    return vector.applied(model, strength=strength, positions="source", mask=mask)
