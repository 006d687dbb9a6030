"""Log-likelihoods of answers after contexts, at the least cost that leaves them exact.

A context is run once, whatever the number of its answers; each answer goes on from the context's cache. The
head is applied only where an answer token is predicted. Several changes (vectors, projections, none)
of the same contexts share the layers below the lowest that they touch.
"""

import contextlib
import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from langsteer.errors import ModelError
from langsteer.intervention import (
    Intervention,
    PositionKind,
    intervene,
    output_states,
    resumed,
)
from langsteer.models import Model, frozen
from langsteer.progress import track
from langsteer.tokens import TOKEN_BUDGET, Tokens, batches, pad_mask

HEAD_ROWS = 256


class Change(Protocol):
    """What may be done to the hidden states: a steering vector, a projection."""

    @property
    def positions(self) -> PositionKind: ...

    def interventions(self, strength: float | None = None) -> Sequence[Intervention]: ...


@dataclass(frozen=True)
class Question:
    """A context, and the answers to score after it: token ids, each of at least one."""

    context: Tokens
    answers: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.context) + sum(len(answer) - 1 for answer in self.answers)


@dataclass
class Scores:
    """What one change gave: for each question, each answer's log-likelihood, and whether it is what
    greedy decoding would say.

    `seconds` is what the change would have cost alone: shared layers count for each that needs them.
    """

    loglikelihoods: list[list[float]]
    greedy: list[list[bool]]
    tokens: int = 0
    seconds: float = 0.0


def score(
    model: Model,
    questions: Sequence[Question],
    changes: Sequence[Change | None] = (None,),
    *,
    budget: int = TOKEN_BUDGET,
    progress: str | None = None,
) -> list[Scores]:
    """Score every question under every change; None is the model as it is.

    Raises ModelError for an answer or a context without tokens.
    """
    for question in questions:
        if not question.context.ids or not all(question.answers):
            raise ModelError("a context or an answer to be scored tokenises to nothing")
    results = [
        Scores([[] for _ in questions], [[] for _ in questions], sum(map(len, questions)))
        for _ in changes
    ]
    groups = list(batches(questions, budget))
    # What changes the lowest layer last is run first; every other goes on from its states.
    order = sorted(range(len(changes)), key=lambda c: -_lowest(model, changes[c]))
    with torch.inference_mode(), frozen(model):
        for index in track(groups, progress, len(groups)):
            batch = _Batch(model, [questions[i] for i in index])
            keep = {_lowest(model, changes[c]) for c in order[1:]}
            trunk: _Pass | None = None
            for c in order:
                found = batch.run(changes[c], trunk, keep if trunk is None else set())
                trunk = trunk or found
                results[c].seconds += found.seconds
                for place, i in enumerate(index):
                    results[c].loglikelihoods[i] = found.loglikelihoods[place]
                    results[c].greedy[i] = found.greedy[place]
    return results


@dataclass
class _Kept:
    """States before any change at some layers, and the seconds it took to get there."""

    states: dict[int, Tensor] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)


@dataclass
class _Pass:
    loglikelihoods: list[list[float]]
    greedy: list[list[bool]]
    seconds: float
    context: _Kept
    answers: _Kept
    cache: Any


class _Batch:
    """Some questions: contexts padded on the left, longer answers on the right behind them.

    `longer` names the answers of more than one token as (question, answer). Where contexts cannot
    be shared, each of all answers has a row of its own with the context in front.
    """

    def __init__(self, model: Model, questions: Sequence[Question]) -> None:
        self.model, self.questions = model, questions
        answers = [(q, a) for q, item in enumerate(questions) for a in range(len(item.answers))]
        self.longer = [(q, a) for q, a in answers if len(questions[q].answers[a]) > 1]
        self.shared = can_share_contexts(model) or not self.longer
        self.rows = [] if self.shared else answers
        contexts = [question.context for question in questions]
        if not self.shared:
            contexts = [questions[q].context.followed_by(self._read_of(q, a)) for q, a in answers]
        self.inputs = model.batch([context.ids for context in contexts])
        self.source = pad_mask([context.source for context in contexts])

    def _read_of(self, q: int, a: int) -> tuple[int, ...]:
        """The tokens of an answer that are read: all but the last, which is only predicted."""
        return self.questions[q].answers[a][:-1]

    def run(self, change: Change | None, trunk: _Pass | None, keep: set[int]) -> _Pass:
        layer = _lowest(self.model, change)
        context, answers = _Kept(), _Kept()
        clock = _Clock(self.model)
        hidden, cache = self._decode(
            self.inputs, change, (layer, trunk.context) if trunk else None, keep, context, None
        )
        tails: Tensor | None = None
        if self.shared and self.longer:
            if trunk is not None:
                _take_layers(cache, trunk.cache, layer)
            tails, _ = self._decode(
                self._answer_inputs(),
                change,
                (layer, trunk.answers) if trunk else None,
                keep,
                answers,
                _rows_of(cache, [q for q, _ in self.longer]),
            )
        found = self._read(hidden, tails)
        seconds = clock.seconds()
        if trunk is not None:
            seconds += trunk.context.seconds[layer] + trunk.answers.seconds.get(layer, 0.0)
        return _Pass(*found, seconds, context, answers, cache)

    def _decode(
        self,
        inputs: dict[str, Tensor],
        change: Change | None,
        start: tuple[int, _Kept] | None,
        keep: set[int],
        kept: _Kept,
        cache: Any,
    ) -> tuple[Tensor, Any]:
        """Final-norm states [rows, tokens, hidden] and the cache, from `start` where one is given."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(_keeping(self.model, keep, kept))
            if start is not None:
                stack.enter_context(resumed(self.model, start[0], start[1].states[start[0]]))
            if change is not None:
                items, mask = list(change.interventions()), self.source
                stack.enter_context(intervene(self.model, items, change.positions, mask))
            caching = self.shared and bool(self.longer)
            more = {"past_key_values": cache} if cache is not None else {}
            output = self.model.decoder(**inputs, **more, use_cache=caching, return_dict=True)
        return output.last_hidden_state, output.past_key_values if caching else None

    def _answer_inputs(self) -> dict[str, Tensor]:
        read = [self._read_of(q, a) for q, a in self.longer]
        inputs = self.model.batch(read, padding_side="right")
        before = self.inputs["attention_mask"][[q for q, _ in self.longer]]
        inputs["attention_mask"] = torch.cat([before, inputs["attention_mask"]], 1)
        if "position_ids" in inputs:
            inputs["position_ids"] = inputs["position_ids"] + before.sum(1, keepdim=True)
        return inputs

    def _read(
        self, hidden: Tensor, tails: Tensor | None
    ) -> tuple[list[list[float]], list[list[bool]]]:
        """Apply the head to the states that predict an answer's token, and add up by answer."""
        total = [[0.0] * len(question.answers) for question in self.questions]
        greedy = [[True] * len(question.answers) for question in self.questions]
        predicting = self._predicting(hidden, tails)
        for start in range(0, len(predicting), HEAD_ROWS):
            part = predicting[start : start + HEAD_ROWS]
            logits = self.model.logits_of(torch.stack([states for states, _ in part])).float()
            rows, wanted, owners = [], [], []
            for row, (_, tokens) in enumerate(part):
                for q, a, t in tokens:
                    rows.append(row)
                    wanted.append(self.questions[q].answers[a][t])
                    owners.append((q, a))
            values = (logits[rows, wanted] - logits.logsumexp(-1)[rows]).tolist()
            best = logits.argmax(-1)[rows].tolist()
            for (q, a), value, likeliest, token in zip(owners, values, best, wanted, strict=True):
                total[q][a] += value
                greedy[q][a] &= likeliest == token
        return total, greedy

    def _predicting(
        self, hidden: Tensor, tails: Tensor | None
    ) -> list[tuple[Tensor, list[tuple[int, int, int]]]]:
        """States [hidden], each with the (question, answer, token)s that it predicts."""
        found: list[tuple[Tensor, list[tuple[int, int, int]]]] = []
        for row, (q, a) in enumerate(self.rows):
            length = len(self.questions[q].answers[a])
            found += [(hidden[row, t - length], [(q, a, t)]) for t in range(length)]
        if not self.rows:
            for q, question in enumerate(self.questions):
                found.append((hidden[q, -1], [(q, a, 0) for a in range(len(question.answers))]))
        if tails is not None:
            for row, (q, a) in enumerate(self.longer):
                length = len(self.questions[q].answers[a])
                found += [(tails[row, t - 1], [(q, a, t)]) for t in range(1, length)]
        return found


def can_share_contexts(model: Model) -> bool:
    """Whether the model keeps a cache whose rows can be repeated and gone on from. Found out once."""
    if "shares_contexts" not in model._memo:
        with torch.inference_mode():
            output = model.decoder(**model.batch([[model.pad_id]]), use_cache=True)
        cache = getattr(output, "past_key_values", None)
        model._memo["shares_contexts"] = type(cache) is DynamicCache and all(
            isinstance(layer, DynamicLayer) for layer in cache.layers
        )
    return bool(model._memo["shares_contexts"])


@contextlib.contextmanager
def _keeping(model: Model, layers: set[int], kept: _Kept) -> Iterator[None]:
    """Note the states of `layers` as the blocks give them, before any change."""
    clock = _Clock(model)

    def note(layer: int, output: Any) -> None:
        kept.states[layer] = output_states(output)
        kept.seconds[layer] = clock.seconds()

    with contextlib.ExitStack() as stack:
        for layer in layers:
            hook = model.blocks[layer].register_forward_hook(
                lambda module, args, output, layer=layer: note(layer, output)
            )
            stack.callback(hook.remove)
        yield


class _Clock:
    def __init__(self, model: Model) -> None:
        self.device = model.device
        self.start = self._now()

    def seconds(self) -> float:
        return self._now() - self.start

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def _lowest(model: Model, change: Change | None) -> int:
    """The lowest layer that a change touches; one past the last for none."""
    if change is None:
        return model.layers
    return min(item.layer for item in change.interventions())


def _rows_of(cache: Any, rows: Sequence[int]) -> Any:
    """A cache of these rows; the one given stays as it is."""
    chosen = copy.copy(cache)
    chosen.layers = [copy.copy(layer) for layer in cache.layers]
    chosen.batch_select_indices(torch.tensor(rows, device=cache.layers[0].keys.device))
    return chosen


def _take_layers(cache: Any, other: Any, last: int) -> None:
    """Layers 0 to `last` of a cache, which were not run, from the cache of a pass that ran them."""
    cache.layers[: last + 1] = [copy.copy(layer) for layer in other.layers[: last + 1]]
