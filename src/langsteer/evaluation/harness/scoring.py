"""Log-likelihoods of answers after contexts, at the least cost that leaves them exact.

What all contexts begin with is run once, a context is run once, whatever the number of its answers, and each
answer goes on from the context's cache. The head is applied only where a token that is scored is predicted, to many
such states at once. Several changes (vectors, projections,
none) of the same contexts share the layers below the lowest that they touch.
"""

import functools
import math
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from langsteer.errors import ModelError
from langsteer.evaluation.harness import caches
from langsteer.evaluation.harness.head import Head, Predicting
from langsteer.evaluation.harness.question import (
    Question,
    Scores,
    check_scores,
    no_scores,
    parted,
)
from langsteer.model.model import Model, frozen
from langsteer.model.tokens import Tokens, batches, pad_mask, token_budget
from langsteer.progress import track
from langsteer.states.passes import Clock, Pass, forward_pass, lowest_layer
from langsteer.steering.change import Change

__all__ = ["Change", "Question", "Scores", "check_scores", "score"]

TAIL_SHARE = 4  # of a budget, a quarter for answers that are read together, which are short
HELD = 16  # times a budget of tokens are held in caches at a time, where rows share what they begin with
SHORTEST_STEM = 16


def score(
    model: Model,
    questions: Sequence[Question],
    changes: Sequence[Change | None] = (None,),
    *,
    budget: int | None = None,
    progress: str | None = None,
    where: bool = False,
) -> list[Scores]:
    """Score every question under every change; None is the model as it is.

    `where` keeps which tokens were changed. Raises ModelError for an answer or a context without
    tokens, and StateError where the model as it is, or under every change, gives no number; what
    one change of several makes of it is left to `check_scores`.
    """
    for question in questions:
        if len(question.context) <= question.scored or not all(question.answers):
            raise ModelError("a context or an answer to be scored tokenises to nothing")
    if not questions:
        return [Scores([], []) for _ in changes]
    owners, parts = parted(model, questions, budget or token_budget(model))
    if len(parts) > len(questions):
        apart = score(model, parts, changes, budget=budget, progress=progress, where=where)
        return [scores.joined(owners) for scores in apart]
    different = list({id(change): change for change in changes}.values())
    if len(different) < len(changes):
        once = score(model, questions, different, budget=budget, progress=progress, where=where)
        which = {id(change): i for i, change in enumerate(different)}
        return [once[which[id(change)]] for change in changes]
    length = _common_start(model, questions)
    rest = [question.without(length) for question in questions]
    results = [no_scores(len(questions), length + sum(map(len, rest))) for _ in changes]
    passes, of_pass = _passes(changes)
    biases = [None if change is None else change.logit_bias() for change in changes]
    # What changes the lowest layer last is run first; every other goes on from its states.
    order = sorted(range(len(passes)), key=lambda p: -_lowest(model, passes[p]))
    groups = list(batches(_sizes(model, rest, length), budget or token_budget(model)))
    head = Head(model, questions, results, biases)
    with torch.inference_mode(), frozen(model):
        stem = _Stem(model, questions[0].context, length, passes, order)
        for scores, p in zip(results, of_pass, strict=True):
            scores.seconds += stem.runs[p].seconds if stem.runs else 0.0
        for index in track(groups, progress, len(groups)):
            batch = _Batch(model, [rest[i] for i in index], stem)
            for p in order:
                states = batch.run(p)
                same = [c for c, own in enumerate(of_pass) if own == p]
                for c in same:
                    results[c].enter(index, batch.touched(states, biases[c]), states.seconds, where)
                head.add(same, index, batch.predicting(states))
            if head.full or index is groups[-1]:
                read = head.apply()
                _check_some(model, [results[c].loglikelihoods for c in _deciding(changes)], read)
    return results


def _passes(changes: Sequence[Change | None]) -> tuple[list[Change | None], list[int]]:
    """What passes are run under, and which of them each change reads its scores from: one that changes
    no state, such as a bias of what is written, from that of the model as it is.
    """
    moving = [change if change and change.interventions() else None for change in changes]
    passes = list({id(change): change for change in moving}.values())
    places = {id(change): place for place, change in enumerate(passes)}
    return passes, [places[id(change)] for change in moving]


def _deciding(changes: Sequence[Change | None]) -> list[int]:
    """Those whose scores tell whether to go on: the model as it is, else all."""
    plain = [c for c, change in enumerate(changes) if change is None]
    return plain or list(range(len(changes)))


def _check_some(
    model: Model, loglikelihoods: Sequence[list[list[float]]], index: Sequence[int]
) -> None:
    """Raise StateError where none of several gives a number for the questions in `index`."""
    values = [[value for i in index for value in scores[i]] for scores in loglikelihoods]
    if not any(all(map(math.isfinite, each)) for each in values):
        check_scores(model, values)


@dataclass(frozen=True)
class _BatchStates:
    """The last states of contexts and of each group of tails, and which tokens were changed."""

    hidden: Tensor
    tails: list[Tensor]
    touched: list[list[Tensor]]
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
        return caches.rows_of(self.runs[c].cache, [0] * rows) if self.length else None

    def touched(self, c: int) -> Tensor:
        """Which of its tokens were changed under change `c`: boolean [tokens]."""
        return self.runs[c].touched[0].cpu() if self.length else torch.zeros(0, dtype=torch.bool)


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
        shared = caches.can_share_contexts(model) or not longer
        self.rows = [] if shared else answers
        self.tails = self._grouped(longer) if shared else []
        contexts = [question.context for question in questions]
        prompts = [[True] * len(context) for context in contexts]
        if self.rows:
            read = [self._read_of(q, a) for q, a in answers]
            prompts = [prompts[q] + r.source for (q, _), r in zip(answers, read, strict=True)]
            contexts = [_joined(contexts[q], r) for (q, _), r in zip(answers, read, strict=True)]
        self.widths = [len(context) for context in contexts]
        self.inputs = _after(
            model.batch([context.ids for context in contexts]),
            torch.ones(len(contexts), stem.length, dtype=torch.long, device=model.device),
        )
        source = pad_mask([context.source for context in contexts])
        self.source = torch.cat([stem.source.expand(len(contexts), -1), source], 1)
        before = torch.ones(len(contexts), stem.length, dtype=torch.bool)
        self.prompt = torch.cat([before, pad_mask(prompts)], 1) if self.rows else None
        self.trunk: tuple[Pass, list[Pass]] | None = None

    def _grouped(self, answers: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
        """Answers of like length together, so that little of what is read is padding."""
        held = [self.stem.length + len(self.questions[q].context) for q, _ in answers]
        sizes = [
            _size(len(self._read_of(q, a)), tokens, HELD * TAIL_SHARE)
            for (q, a), tokens in zip(answers, held, strict=True)
        ]
        budget = token_budget(self.model) // TAIL_SHARE
        return [[answers[i] for i in index] for index in batches(sizes, budget)]

    def _read_of(self, q: int, a: int) -> Tokens:
        return self.questions[q].read(a)

    def run(self, c: int) -> _BatchStates:
        """Read under change `c`; the first to be run is what the others go on from."""
        clock = Clock(self.model)
        decode = functools.partial(
            _decode, self.model, change=self.stem.changes[c], keep=self.stem.keep
        )
        context = decode(
            self.inputs,
            source=self.source,
            prompt=self.prompt,
            trunk=self.trunk[0] if self.trunk else None,
            cache=self.stem.cache(c, len(self.inputs["input_ids"])),
            caching=bool(self.tails) or self.stem.length > 0,
        )
        tails = [
            decode(
                self._tail_inputs(tail),
                **self._tail_masks(tail),
                trunk=self.trunk[1][i] if self.trunk else None,
                cache=caches.rows_of(context.cache, [q for q, _ in tail]),
                caching=True,
            )
            for i, tail in enumerate(self.tails)
        ]
        touched = self._touched(self.stem.touched(c), context, tails)
        seconds = clock.seconds()
        if self.trunk:
            layer = _lowest(self.model, self.stem.changes[c])
            seconds += sum(run.reached[layer] for run in (self.trunk[0], *self.trunk[1]))
        self.trunk = self.trunk or (context, tails)
        return _BatchStates(context.hidden, [run.hidden for run in tails], touched, seconds)

    def touched(self, states: _BatchStates, bias: Tensor | None) -> list[list[Tensor]]:
        """Which tokens were changed, by question and answer; with a bias, also those that predict."""
        return states.touched if bias is None else self._all_written(states.touched)

    def _all_written(self, touched: list[list[Tensor]]) -> list[list[Tensor]]:
        """The same, with the tokens that an answer's are predicted from."""
        made = [[tokens.clone() for tokens in row] for row in touched]
        for question, row in zip(self.questions, made, strict=True):
            for answer, tokens in zip(question.answers, row, strict=True):
                tokens[-(len(answer) + question.scored) :] = True
        return made

    def _tail_inputs(self, tail: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        read = [self._read_of(q, a).ids for q, a in tail]
        before = self.inputs["attention_mask"][[q for q, _ in tail]]
        return _after(self.model.batch(read, padding_side="right"), before)

    def _tail_masks(self, tail: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """`source` and `prompt`: of contexts alone where no answer holds text, as wide as all else."""
        texts = [self._read_of(q, a).source for q, a in tail]
        if not any(map(any, texts)):
            return {"source": self.source}
        text, before = pad_mask(texts, "right"), self.source[[q for q, _ in tail]]
        return {
            "source": torch.cat([before, text], 1),
            "prompt": torch.cat([torch.ones_like(before), text], 1),
        }

    def _touched(self, stem: Tensor, context: Pass, tails: Sequence[Pass]) -> list[list[Tensor]]:
        """Which of the tokens that are read were changed, by question and answer."""
        rows = context.touched.cpu()
        ends = [
            torch.cat([stem, row[len(row) - w :]]) for row, w in zip(rows, self.widths, strict=True)
        ]
        if self.rows:
            touched: list[list[Tensor]] = [[] for _ in self.questions]
            for (q, _), end in zip(self.rows, ends, strict=True):
                touched[q].append(end)
            return touched
        touched = [
            [end] * len(item.answers) for end, item in zip(ends, self.questions, strict=True)
        ]
        for tail, run in zip(self.tails, tails, strict=True):
            for (q, a), row in zip(tail, run.touched.cpu(), strict=True):
                touched[q][a] = torch.cat([ends[q], row[: len(self._read_of(q, a))]])
        return touched

    def predicting(self, states: _BatchStates) -> Predicting:
        """States [hidden], each with the (question, answer, token)s that it predicts."""
        hidden, tails = states.hidden, states.tails
        predicting: Predicting = []
        for row, (q, a) in enumerate(self.rows):
            length, scored = len(self.questions[q].answers[a]), self.questions[q].scored
            predicting += [(hidden[row, t - length], [(q, a, t)]) for t in range(-scored, length)]
        for q, question in enumerate(self.questions if not self.rows else ()):
            for t in range(-question.scored, 1):
                owners = [(q, a, t) for a in range(len(question.answers))]
                predicting.append((hidden[q, t - 1], owners))
        for tail, read in zip(self.tails, tails, strict=True):
            for row, (q, a) in enumerate(tail):
                length = len(self.questions[q].answers[a])
                predicting += [(read[row, t - 1], [(q, a, t)]) for t in range(1, length)]
        return predicting


def _sizes(model: Model, questions: Sequence[Question], stem: int) -> Sequence[Sized]:
    """What each question brings into the pass over a batch: its context, where answers go on from
    it, else that with each; and in any case what is held of the stem for it.
    """
    shared = caches.can_share_contexts(model)
    return [
        _size(
            len(own.context) if shared or own.single else own.rows_tokens,
            stem + len(own.context),
            HELD,
        )
        for own in questions
    ]


def _size(read: int, held: int, times: int) -> Sized:
    """Of a row of which so many tokens are read and held, where `times` as many may be held as read."""
    return range(max(read, math.ceil(held / times)))


def _common_start(model: Model, questions: Sequence[Question]) -> int:
    """How many tokens all contexts begin with, where it pays to run them once; each keeps one.

    Padding comes between these and the rest of a context, so that a sliding window, which counts
    columns, must be wider than everything.
    """
    first = questions[0].context
    start = min(len(question.context) - question.scored for question in questions) - 1
    for question in questions[1:]:
        other = question.context
        while start and (
            first.ids[:start] != other.ids[:start] or first.source[:start] != other.source[:start]
        ):
            start -= 1
    longest = max(map(len, questions)) + max(len(a) for q in questions for a in q.answers)
    pays = len(questions) > 1 and start >= SHORTEST_STEM
    return start if pays and longest < caches.cache_window(model) else 0


def _joined(context: Tokens, answer: Tokens) -> Tokens:
    return Tokens([*context.ids, *answer.ids], [*context.source, *answer.source])


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
