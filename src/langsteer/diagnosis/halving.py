"""Successive halving: many candidates on few items, the best of them on more (Jamieson and Talwalkar, arXiv
1502.07943). Items are nested, so that what was scored in a round is not scored again in the next.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from langsteer.diagnosis.fits import Candidate
from langsteer.diagnosis.items import TaskItem
from langsteer.diagnosis.scoring import Asked, Scale, answer_scores
from langsteer.diagnosis.trials import Trials
from langsteer.errors import DiagnosisError
from langsteer.evaluation.statistics import Array
from langsteer.model.model import Model
from langsteer.progress import track
from langsteer.steering.change import Change

NOTHING = "nothing"
TOGETHER = 8  # candidates that are scored in one pass
FEWEST = 16  # items of a round
LEAST = 4  # candidates of a round
ALL, SOME = "all choices", "sampled choices"


@dataclass(frozen=True)
class Standing:
    """A candidate after a round: what it is worth on so many items, and how much more than nothing.

    `gain` is in the values' unit, `smooth` what candidates are ranked by.
    """

    candidate: str
    stage: str
    items: int
    value: float
    gain: float
    smooth: float


class Clock:
    """Seconds of a budget, of which what was spent before a stop counts too. Raises DiagnosisError for one that
    is no number above 0.
    """

    def __init__(self, budget: float, spent: float = 0.0) -> None:
        if not 0 < budget < math.inf:
            raise DiagnosisError(f"a budget is a number of minutes above 0, not {budget / 60:g}")
        self.budget, self.started = budget, time.perf_counter() - spent

    @property
    def left(self) -> float:
        return self.budget - (time.perf_counter() - self.started)


class Scorer:
    """Candidates scored on development items, each kept as it comes.

    Of items with many choices, a stage SOME asks the right one and a few others. `most` is how many items
    there are to choose on.
    """

    def __init__(
        self,
        model: Model,
        items: Sequence[TaskItem],
        questions: Asked,
        scale: Scale,
        trials: Trials,
    ) -> None:
        self.model, self.items, self.scale, self.trials = model, items, scale, trials
        self.questions = {ALL: questions, SOME: questions}
        self.most = len(items)
        self.some = ALL
        self._took: dict[str, list[float]] = {ALL: [], SOME: []}  # seconds of an item

    def choose_among(self, choices: int) -> None:
        """Ask some choices of each item, in the stage `some`; all, where they are the same in
        every item.
        """
        if not self.scale.may_leave_choices_out:
            return
        asked = self.questions[ALL].part(range(self.most))
        self.questions[SOME], self.some = asked.sampled(choices), SOME

    @property
    def seconds(self) -> float:
        """What an item takes under one candidate; a tenth of a second where nothing is known."""
        took = self._took[SOME] or self._took[ALL]
        return float(np.median(took)) if took else 0.1

    @property
    def seconds_of_all(self) -> float:
        """The same, with all of its choices."""
        took = self._took[ALL]
        return float(np.median(took)) if took else self.seconds

    def score(self, candidates: Sequence[Candidate], stage: str, items: int) -> None:
        """Score what is not known yet of the candidates on the first items."""
        groups: dict[tuple[int, ...], list[tuple[Candidate, Change]]] = {}
        for candidate in candidates:
            known = self.trials.known(candidate.name, stage)
            unknown = [i for i in range(items) if self.items[i].id not in known]
            for own, change in _held_out(candidate, unknown):
                groups.setdefault(own, []).append((candidate, change))
        parts = [
            (missing, own[start : start + TOGETHER])
            for missing, group in groups.items()
            for own in [sorted(group, key=self._lowest_last)]
            for start in range(0, len(own), TOGETHER)
        ]
        label = f"{len(candidates)} recipes on {items} items"
        for missing, part in track(parts, label, len(parts)):
            self._score_part(missing, part, stage)

    def _lowest_last(self, tried: tuple[Candidate, Change]) -> int:
        return -min(tried[1].layers, default=self.model.layers)

    def nothing(self, stage: str, items: int) -> None:
        """Score the model as it is on the first items."""
        known = self.trials.known(NOTHING, stage)
        missing = [i for i in range(items) if self.items[i].id not in known]
        if missing:
            started = time.perf_counter()
            asked = self.questions[stage].part(missing)
            (rows,) = answer_scores(self.model, asked, progress="The model as it is")
            seconds = time.perf_counter() - started
            self._took[stage].append(seconds / len(missing))
            self._keep(NOTHING, stage, missing, rows, seconds)

    def standings(self, candidates: Sequence[Candidate], stage: str, items: int) -> list[Standing]:
        """The candidates from best to worst on the first items; at a tie, the smaller strength."""
        before = self._values(NOTHING, stage, items)
        order: list[tuple[float, float, Standing]] = []
        for candidate in candidates:
            hits, smooth = self._values(candidate.name, stage, items)
            gain = float(smooth.mean() - before[1].mean())
            standing = Standing(
                candidate.name,
                stage,
                items,
                float(hits.mean()),
                float(hits.mean() - before[0].mean()),
                gain,
            )
            order.append((-gain, abs(candidate.change.strength), standing))
        return [standing for *_, standing in sorted(order, key=lambda entry: entry[:2])]

    def ahead(self, first: Candidate, second: Candidate, stage: str, items: int) -> Array:
        """By how much one candidate is better than another, in what they are ranked by: [items]."""
        ours, theirs = (self._values(c.name, stage, items)[1] for c in (first, second))
        return ours - theirs

    def _values(self, name: str, stage: str, items: int) -> tuple[Array, Array]:
        known = self.trials.known(name, stage)
        rows = [known[item.id] for item in self.items[:items]]
        right = self.questions[stage].right[:items]
        return self.scale.values(rows, right), self.scale.smooth(rows, right)

    def _score_part(
        self, missing: Sequence[int], part: Sequence[tuple[Candidate, Change]], stage: str
    ) -> None:
        started = time.perf_counter()
        asked = self.questions[stage].part(missing)
        scores = answer_scores(self.model, asked, [change for _, change in part])
        seconds = (time.perf_counter() - started) / len(part)
        self._took[stage].append(seconds / len(missing))
        for (candidate, _), rows in zip(part, scores, strict=True):
            self._keep(candidate.name, stage, missing, rows, seconds)

    def _keep(
        self, name: str, stage: str, index: Sequence[int], rows: Sequence[Array], seconds: float
    ) -> None:
        self.trials.add(name, stage, [self.items[i].id for i in index], rows, seconds)


def _held_out(candidate: Candidate, places: Sequence[int]) -> list[tuple[tuple[int, ...], Change]]:
    """The places of items, and the change that they are to be scored under, which is not learned from them."""
    changes = candidate.halves or (candidate.change,)
    parts = [
        (tuple(i for i in places if i % len(changes) == side), change)
        for side, change in enumerate(changes)
    ]
    return [(own, change) for own, change in parts if own]


def affordable(
    seconds: float, scorer: Scorer, candidates: int, wanted: int = FEWEST, fewest: int = FEWEST
) -> tuple[int, int]:
    """How many candidates, and on how many items each, so many seconds pay for.

    All candidates where each gets the `wanted` items; else fewer, down to LEAST, and then fewer items,
    down to `fewest`.
    """
    wanted, fewest = min(wanted, scorer.most), min(fewest, scorer.most)
    evaluations = max(0.0, seconds) / scorer.seconds
    count = candidates
    if evaluations < candidates * wanted:
        count = min(candidates, max(LEAST, int(evaluations / wanted)))
    return count, max(fewest, min(scorer.most, int(evaluations / max(1, count))))
