"""Log-likelihoods of answers after contexts, at the least cost that leaves them exact.

What all contexts begin with is run once, a context is run once, whatever the number of its answers, and each
answer goes on from the context's cache. The head is applied only where an answer token is predicted. Several changes (vectors, projections, none)
of the same contexts share the layers below the lowest that they touch.
"""

import copy
import functools
import sys
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from langsteer.errors import ModelError
from langsteer.model.model import Model, frozen
from langsteer.model.tokens import Tokens, batches, pad_mask, token_budget
from langsteer.progress import track
from langsteer.states.passes import Clock, Pass, forward_pass, lowest_layer
from langsteer.steering.change import Change

__all__ = ["Change", "Question", "Scores", "can_share_contexts", "score"]

HEAD_ROWS = 512
TAIL_SHARE = 4  # of a budget, a quarter for answers that are read together, which are short
SHORTEST_STEM = 16


@dataclass(frozen=True)
class Question:
    """A context, and the answers to score after it: token ids, each of at least one."""

    context: Tokens
    answers: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.context) + sum(len(answer) - 1 for answer in self.answers)

    def without(self, start: int) -> "Question":
        """What is left of it after the first `start` tokens of the context."""
        rest = Tokens(self.context.ids[start:], self.context.source[start:])
        return Question(rest, self.answers)


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
    budget: int | None = None,
    progress: str | None = None,
) -> list[Scores]:
    """Score every question under every change; None is the model as it is.

    Raises ModelError for an answer or a context without tokens.
    """
    for question in questions:
        if not question.context.ids or not all(question.answers):
            raise ModelError("a context or an answer to be scored tokenises to nothing")
    if not questions:
        return [Scores([], []) for _ in changes]
    different = list({id(change): change for change in changes}.values())
    if len(different) < len(changes):
        once = score(model, questions, different, budget=budget, progress=progress)
        which = {id(change): i for i, change in enumerate(different)}
        return [once[which[id(change)]] for change in changes]
    length = _common_start(model, questions)
    rest = [question.without(length) for question in questions]
    results = [
        Scores([[] for _ in questions], [[] for _ in questions], length + sum(map(len, rest)))
        for _ in changes
    ]
    # What changes the lowest layer last is run first; every other goes on from its states.
    order = sorted(range(len(changes)), key=lambda c: -_lowest(model, changes[c]))
    groups = list(batches(_read_at_once(model, rest), budget or token_budget(model)))
    with torch.inference_mode(), frozen(model):
        stem = _Stem(model, questions[0].context, length, changes, order)
        for c, run in stem.runs.items():
            results[c].seconds += run.seconds
        for index in track(groups, progress, len(groups)):
            batch = _Batch(model, [rest[i] for i in index], stem)
            for c in order:
                scored = batch.run(c)
                results[c].seconds += scored.seconds
                for place, i in enumerate(index):
                    results[c].loglikelihoods[i] = scored.loglikelihoods[place]
                    results[c].greedy[i] = scored.greedy[place]
    return results


@dataclass(frozen=True)
class _BatchScores:
    loglikelihoods: list[list[float]]
    greedy: list[list[bool]]
    seconds: float


def _decode(
    model: Model, inputs: dict[str, Tensor], source: Tensor, change: Change | None, **more: Any
) -> Pass:
    items = list(change.interventions()) if change is not None else []
    return forward_pass(model, inputs, items, source=source, **more)


class _Stem:
    """The tokens that all contexts begin with, run once under each change."""

    def __init__(
        self,
        model: Model,
        context: Tokens,
        length: int,
        changes: Sequence[Change | None],
        order: Sequence[int],
    ) -> None:
        self.length, self.changes, self.trunk = length, changes, order[0]
        self.keep = {_lowest(model, changes[c]) for c in order[1:]}
        self.source = torch.tensor([context.source[:length]], dtype=torch.bool)
        self.runs: dict[int, Pass] = {}
        for c in order if length else ():
            self.runs[c] = _decode(
                model,
                model.batch([context.ids[:length]]),
                self.source,
                changes[c],
                trunk=self.runs.get(self.trunk),
                keep=self.keep,
                cache=None,
                caching=True,
            )

    def cache(self, c: int, rows: int) -> Any:
        """The cache after the stem under change `c`, once a row; None where there is no stem."""
        return _rows_of(self.runs[c].cache, [0] * rows) if self.length else None


class _Batch:
    """Some questions: contexts padded on the left, longer answers on the right behind them.

    `tails` are groups of the answers of more than one token, of like length, each as (question,
    answer). Where contexts cannot be shared, each of all answers has a row of its own with the
    context in front.
    """

    def __init__(self, model: Model, questions: Sequence[Question], stem: _Stem) -> None:
        self.model, self.questions, self.stem = model, questions, stem
        answers = [(q, a) for q, item in enumerate(questions) for a in range(len(item.answers))]
        longer = [(q, a) for q, a in answers if len(questions[q].answers[a]) > 1]
        shared = can_share_contexts(model) or not longer
        self.rows = [] if shared else answers
        self.tails = self._grouped(longer) if shared else []
        contexts = [question.context for question in questions]
        if not shared:
            contexts = [questions[q].context.followed_by(self._read_of(q, a)) for q, a in answers]
        self.inputs = _after(
            model.batch([context.ids for context in contexts]),
            torch.ones(len(contexts), stem.length, dtype=torch.long, device=model.device),
        )
        source = pad_mask([context.source for context in contexts])
        self.source = torch.cat([stem.source.expand(len(contexts), -1), source], 1)
        self.trunk: tuple[Pass, list[Pass]] | None = None

    def _grouped(self, answers: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
        """Answers of like length together, so that little of what is read is padding."""
        read = [self._read_of(q, a) for q, a in answers]
        budget = token_budget(self.model) // TAIL_SHARE
        return [[answers[i] for i in index] for index in batches(read, budget)]

    def _read_of(self, q: int, a: int) -> tuple[int, ...]:
        """The tokens of an answer that are read: all but the last, which is only predicted."""
        return self.questions[q].answers[a][:-1]

    def run(self, c: int) -> _BatchScores:
        """Score under change `c`; the first to be run is what the others go on from."""
        clock = Clock(self.model)
        decode = functools.partial(
            _decode,
            self.model,
            source=self.source,
            change=self.stem.changes[c],
            keep=self.stem.keep,
        )
        context = decode(
            self.inputs,
            trunk=self.trunk[0] if self.trunk else None,
            cache=self.stem.cache(c, len(self.inputs["input_ids"])),
            caching=bool(self.tails) or self.stem.length > 0,
        )
        tails = [
            decode(
                self._tail_inputs(tail),
                trunk=self.trunk[1][i] if self.trunk else None,
                cache=_rows_of(context.cache, [q for q, _ in tail]),
                caching=True,
            )
            for i, tail in enumerate(self.tails)
        ]
        scores = self._read(context.hidden, [run.hidden for run in tails])
        seconds = clock.seconds()
        if self.trunk:
            layer = _lowest(self.model, self.stem.changes[c])
            seconds += sum(run.reached[layer] for run in (self.trunk[0], *self.trunk[1]))
        self.trunk = self.trunk or (context, tails)
        return _BatchScores(*scores, seconds)

    def _tail_inputs(self, tail: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        read = [self._read_of(q, a) for q, a in tail]
        before = self.inputs["attention_mask"][[q for q, _ in tail]]
        return _after(self.model.batch(read, padding_side="right"), before)

    def _read(
        self, hidden: Tensor, tails: Sequence[Tensor]
    ) -> tuple[list[list[float]], list[list[bool]]]:
        """Apply the head to the states that predict an answer's token, and add up by answer."""
        total = [[0.0] * len(question.answers) for question in self.questions]
        greedy = [[True] * len(question.answers) for question in self.questions]
        predicting = self._predicting(hidden, tails)
        for start in range(0, len(predicting), HEAD_ROWS):
            part = predicting[start : start + HEAD_ROWS]
            rows, wanted, owners = [], [], []
            for row, (_, tokens) in enumerate(part):
                for q, a, t in tokens:
                    rows.append(row)
                    wanted.append(self.questions[q].answers[a][t])
                    owners.append((q, a))
            states = torch.stack([states for states, _ in part])
            values, likeliest = _predicted(self.model, states, rows, wanted)
            for (q, a), value, same in zip(owners, values, likeliest, strict=True):
                total[q][a] += value
                greedy[q][a] &= same
        return total, greedy

    def _predicting(
        self, hidden: Tensor, tails: Sequence[Tensor]
    ) -> list[tuple[Tensor, list[tuple[int, int, int]]]]:
        """States [hidden], each with the (question, answer, token)s that it predicts."""
        predicting: list[tuple[Tensor, list[tuple[int, int, int]]]] = []
        for row, (q, a) in enumerate(self.rows):
            length = len(self.questions[q].answers[a])
            predicting += [(hidden[row, t - length], [(q, a, t)]) for t in range(length)]
        if not self.rows:
            for q, question in enumerate(self.questions):
                predicting.append(
                    (hidden[q, -1], [(q, a, 0) for a in range(len(question.answers))])
                )
        for tail, states in zip(self.tails, tails, strict=True):
            for row, (q, a) in enumerate(tail):
                length = len(self.questions[q].answers[a])
                predicting += [(states[row, t - 1], [(q, a, t)]) for t in range(1, length)]
        return predicting


def _predicted(
    model: Model, states: Tensor, rows: Sequence[int], wanted: Sequence[int]
) -> tuple[list[float], list[bool]]:
    """The log-probability of the token `wanted[i]` after `states[rows[i]]`, and whether it is the likeliest."""
    at = torch.tensor(rows, device=states.device)
    tokens = torch.tensor(wanted, device=states.device)
    logit = torch.full((len(rows),), -torch.inf, device=states.device)
    best, total = logit.new_full((2, len(states)), -torch.inf)
    best_token = torch.zeros(len(states), dtype=torch.long, device=states.device)
    for start, block in model.logit_blocks(states):
        logits = block.float().to(states.device)
        here = (tokens >= start) & (tokens < start + logits.shape[-1])
        logit[here] = logits[at[here], tokens[here] - start]
        highest, place = logits.max(-1)
        best_token = torch.where(highest > best, place + start, best_token)
        best = torch.maximum(best, highest)
        total = torch.logaddexp(total, _log_sum_exp_in_place(logits, highest))
    return (logit - total[at]).tolist(), (best_token[at] == tokens).tolist()


def _log_sum_exp_in_place(logits: Tensor, highest: Tensor) -> Tensor:
    """By row, in the memory of `logits`, whose copy would take as long to make as the sum; the
    highest of each row may be -inf.
    """
    base = highest.clamp(min=torch.finfo(logits.dtype).min)
    return base + logits.sub_(base[:, None]).exp_().sum(-1).log()


def can_share_contexts(model: Model) -> bool:
    """Whether the model keeps a cache whose rows can be repeated and gone on from. Found out once."""
    return _cache_window(model) > 0


def _read_at_once(model: Model, questions: Sequence[Question]) -> Sequence[Sized]:
    """What a question brings into the pass over a batch: its context alone, where answers go on from it."""
    shared = can_share_contexts(model)
    return [question.context for question in questions] if shared else questions


def _cache_window(model: Model) -> int:
    """How far back the narrowest layer of the model's cache looks; 0 where it cannot be shared."""
    return model.kept.get("cache window", lambda: _narrowest_window(model))


def _narrowest_window(model: Model) -> int:
    with torch.inference_mode():
        output = model.decoder(**model.batch([[model.pad_id]]), use_cache=True)
    cache = getattr(output, "past_key_values", None)
    layers = cache.layers if type(cache) is DynamicCache else []
    fits = bool(layers) and all(isinstance(layer, DynamicLayer) for layer in layers)
    windows = [int(getattr(layer, "sliding_window", None) or sys.maxsize) for layer in layers]
    return min(windows) if fits else 0


def _common_start(model: Model, questions: Sequence[Question]) -> int:
    """How many tokens all contexts begin with, where it pays to run them once; each keeps one.

    Padding comes between these and the rest of a context, so that a sliding window, which counts
    columns, must be wider than everything.
    """
    first = questions[0].context
    start = min(len(question.context) for question in questions) - 1
    for question in questions[1:]:
        other = question.context
        while start and (
            first.ids[:start] != other.ids[:start] or first.source[:start] != other.source[:start]
        ):
            start -= 1
    longest = max(map(len, questions)) + max(len(a) for q in questions for a in q.answers)
    pays = len(questions) > 1 and start >= SHORTEST_STEM
    return start if pays and longest < _cache_window(model) else 0


def _after(inputs: dict[str, Tensor], before: Tensor) -> dict[str, Tensor]:
    """Inputs that follow columns whose attention mask is `before` [rows, columns]."""
    if not before.shape[1]:
        return inputs
    more = {"attention_mask": torch.cat([before, inputs["attention_mask"]], 1)}
    if "position_ids" in inputs:
        more["position_ids"] = inputs["position_ids"] + before.sum(1, keepdim=True)
    return inputs | more


def _lowest(model: Model, change: Change | None) -> int:
    return lowest_layer(model, list(change.interventions()) if change is not None else [])


def _rows_of(cache: Any, rows: Sequence[int]) -> Any:
    """A cache of these rows; the one given stays as it is."""
    chosen = copy.copy(cache)
    chosen.layers = [copy.copy(layer) for layer in cache.layers]
    chosen.batch_select_indices(torch.tensor(rows, device=cache.layers[0].keys.device))
    return chosen
