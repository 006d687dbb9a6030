"""Which tokens of a task's items a change acts on: read off the passes that are run, not worked out again."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from langsteer.evaluation.harness.lm_eval_parts import without_bars
from langsteer.evaluation.harness.model import LangsteerLM
from langsteer.evaluation.harness.requests import Asked, item_key, question_of
from langsteer.evaluation.harness.scoring import Change, score
from langsteer.model.tokens import Tokens
from langsteer.states.passes import forward_pass

Part = Literal["special", "prompt", "text", "answer"]
WRITTEN = "(what is written)"


@dataclass(frozen=True)
class Stretch:
    """Consecutive tokens of which the same is to be said, and the text that they stand for.

    `scored`, whether their log-probability counts; `answer` counts the answers from 1, None in a
    context. What is read last is only predicted, and so never steered.
    """

    part: Part
    text: str
    tokens: int
    steered: bool
    scored: bool
    answer: int | None = None


@dataclass(frozen=True)
class ShownItem:
    """An item as the model reads it: each context, and the answers after it.

    `kind` is the harness's kind of request; `positions` are the change's, None where its parts
    differ.
    """

    task: str
    item: str
    kind: str
    language: str
    positions: str | None
    stretches: tuple[Stretch, ...]


def shown_items(
    lm: LangsteerLM, name: str, task: Any, change: Change, language: str, items: int = 1
) -> list[ShownItem]:
    """The first items of a task under a change, every token of them."""
    with without_bars():
        task.build_all_requests(limit=items)
    shown = []
    for _, group in itertools.groupby(task.instances, item_key):
        requests = list(group)
        stretches = _stretches(lm, requests, change)
        item = requests[0].doc.get("id", requests[0].doc_id)
        kind, positions = requests[0].request_type, change.positions
        shown.append(ShownItem(name, str(item), kind, language, positions, tuple(stretches)))
    return shown


def _stretches(lm: LangsteerLM, requests: Sequence[Any], change: Change) -> list[Stretch]:
    kind = requests[0].request_type
    if kind == "generate_until":
        return [s for request in requests for s in _written(lm, lm.reader.prompt(request), change)]
    if kind == "loglikelihood":
        return _scored(lm, lm.reader.asked(requests), change)
    windows = [window for request in requests for window in lm.reader.rolling(request)]
    return _scored(lm, windows, change)


def _scored(lm: LangsteerLM, asked: Sequence[Asked], change: Change) -> list[Stretch]:
    where = score(lm.steered, [question_of([a]) for a in asked], [change], where=True)[0].where
    stretches: list[Stretch] = []
    contexts: set[tuple[Any, ...]] = set()
    for number, (answer, (touched,)) in enumerate(zip(asked, where, strict=True), 1):
        steered, length = touched.tolist(), len(answer.context)
        if answer.shared not in contexts:
            contexts.add(answer.shared)
            unscored = length - answer.scored
            scored = [False] * unscored + [True] * answer.scored
            parts = _parts(lm, answer.context, answer.source, "prompt")
            stretches += _runs(lm, answer.context, parts, steered[:length], scored)
        parts = _parts(lm, answer.answer, answer.text, "answer")
        ends = [*steered[length:], False]
        stretches += _runs(lm, answer.answer, parts, ends, [True] * len(ends), number)
    return stretches


def _written(lm: LangsteerLM, prompt: Tokens, change: Change) -> list[Stretch]:
    """A prompt, and one token after it: whether what is written is steered as it is read again."""
    model, items = lm.steered, list(change.interventions())
    source = torch.tensor([prompt.source])
    inputs = model.batch([prompt.ids])
    after = {
        "input_ids": inputs["input_ids"][:, -1:],
        "attention_mask": torch.ones(1, len(prompt) + 1, dtype=torch.long, device=model.device),
    }
    if "position_ids" in inputs:
        after["position_ids"] = inputs["position_ids"][:, -1:] + 1
    with torch.inference_mode():
        run = forward_pass(model, inputs, items, source=source, caching=True)
        step = forward_pass(model, after, items, source=source, cache=run.cache, caching=True)
    parts = _parts(lm, prompt.ids, prompt.source, "prompt")
    unscored = [False] * len(prompt)
    stretches = _runs(lm, prompt.ids, parts, run.touched[0].tolist(), unscored)
    return [*stretches, Stretch("answer", WRITTEN, 1, bool(step.touched.any()), False, 1)]


def _parts(lm: LangsteerLM, ids: Sequence[int], text: Sequence[bool], other: Part) -> list[Part]:
    special = set(lm.tokenizer.all_special_ids)
    return [
        "text" if inside else "special" if token in special else other
        for token, inside in zip(ids, text, strict=True)
    ]


def _runs(
    lm: LangsteerLM,
    ids: Sequence[int],
    parts: Sequence[Part],
    steered: Sequence[bool],
    scored: Sequence[bool],
    answer: int | None = None,
) -> list[Stretch]:
    """Tokens in stretches of those that are alike."""
    rows = zip(ids, parts, steered, scored, strict=True)
    stretches = []
    for (part, acted, counts), group in itertools.groupby(rows, lambda row: row[1:]):
        tokens = [token for token, *_ in group]
        text = lm.tok_decode(tokens, skip_special_tokens=False)
        stretches.append(Stretch(part, text, len(tokens), acted, counts, answer))
    return stretches
