"""Log-likelihoods of the same answer choices after each of many prompts."""

from collections.abc import Sequence

import torch
from torch import Tensor

from langsteer.errors import ModelError
from langsteer.evaluation.harness.scoring import Change, Question, check_scores, score
from langsteer.evaluation.statistics import calibrate
from langsteer.model.model import Model
from langsteer.model.tokens import Text, encode, encode_suffix


def choice_scores(
    model: Model,
    prompts: Sequence[Text],
    choices: Sequence[str],
    changes: Sequence[Change | None] = (None,),
    *,
    budget: int | None = None,
    progress: str | None = None,
) -> list[Tensor]:
    """Scores under each change, None for none: float32 [prompts, choices] each.

    Raises ModelError for a choice that tokenises to nothing, and StateError for scores that are no
    numbers.
    """
    answers = tuple(tuple(encode_suffix(model, choice)) for choice in choices)
    for choice, answer in zip(choices, answers, strict=True):
        if not answer:
            raise ModelError(f"the answer choice {choice!r} tokenises to nothing")
    questions = [Question(tokens, answers) for tokens in encode(model, prompts)]
    results = score(model, questions, changes, budget=budget, progress=progress)
    for scores in results:
        check_scores(model, scores.loglikelihoods)
    return [torch.tensor(scores.loglikelihoods) for scores in results]


def batch_calibrated(scores: Tensor) -> Tensor:
    """Scores less each choice's mean over the batch (Zhou et al., arXiv 2309.17249)."""
    return torch.from_numpy(calibrate(scores.double().numpy())).to(scores)
