"""The search for a recipe: which change, where and how strong, or none at all, on the items of a task.

Candidates are chosen on development items by successive halving, within minutes that are given; the best is
reported once, on other items, against doing nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from langsteer.diagnosis.fits import (
    Candidate,
    Fits,
    averaged_candidates,
    by_turns,
    cheap_candidates,
    learned_candidates,
    refined,
    written_candidates,
)
from langsteer.diagnosis.halving import ALL, FEWEST, NOTHING, Clock, Scorer, Standing, affordable
from langsteer.diagnosis.items import TaskItems
from langsteer.diagnosis.labels import CHOICES as LABEL_CHOICES
from langsteer.diagnosis.labels import labelled_candidates
from langsteer.diagnosis.outcome import keep_outcome, read_outcome, save_searched
from langsteer.diagnosis.scoring import Scoring, answer_scores, asked, scale_of
from langsteer.diagnosis.search_results import Reported, SearchResults
from langsteer.diagnosis.task import check_apart
from langsteer.diagnosis.translated_items import translated_candidates
from langsteer.diagnosis.trials import DIGITS, NAME, Trials
from langsteer.diagnosis.verdict import items_needed
from langsteer.errors import DiagnosisError
from langsteer.evaluation.statistics import Array, Interval, difference, paired_bootstrap
from langsteer.model.model import Model
from langsteer.steering.change import Change
from langsteer.text.corpus import ParallelCorpus
from langsteer.version import versions

BUDGET = 15.0  # minutes
CHOICES = 4  # of an item that has more, until the last round
ROUNDS = {"first": 0.35, "second": 0.5, "third": 0.6, "last": 1.0}  # of the time left to choose in
GROWTH = 2  # times the items of the round before, at the least
REPORT_SHARE = 0.25  # of the budget
FIT_SHARE = 0.2  # of the time left: what one more fit may take
LABEL_SHARE = 0.25  # of the time left: what learning from labels may take
READ_SHARE = 0.1  # of the time left: what reading items and their English may take
LABEL_COST = 3  # times what scoring so many answers takes
KEPT, FINALISTS = 3, 4  # one of three goes on from the first round, so many to the last
ENOUGH_REPORTED = 100  # items, for which so much more of the budget is spent at the most
REPORT_MOST = 0.5
FEWEST_REPORTED = 32  # whatever that takes: of fewer nothing is known
FEWEST_ITEMS = 8  # of each part


def find_recipe(
    model: Model,
    task: TaskItems,
    corpus: ParallelCorpus,
    folder: str | Path,
    *,
    budget: float = BUDGET,
    vectors: Mapping[str, Change] | None = None,
    scoring: Scoring = "auto",
    limit: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> tuple[Change, SearchResults]:
    """The best change for a task, and what was found.

    Everything is kept in `folder`: fitted changes, the scores of each candidate as they come, and
    the results. A search that was stopped goes on when it is called again; one that is done is
    read. `vectors` are of this and other languages, by language; `budget` is in minutes. Raises
    DiagnosisError where the items stand in the corpus, or the folder is of another search.
    """
    folder, task = Path(folder), task.limited(limit)
    _check_enough(task)
    check_apart(task, corpus)
    pair = corpus.only(task.language)
    trials = Trials(folder / NAME, _about(model, task, pair, scoring, seed, vectors), overwrite)
    if done := read_outcome(folder, trials, SearchResults, task.language, model, budget):
        return done
    search = _Search(model, task, pair, folder, trials, budget, vectors or {}, scoring, seed)
    best, results = search.run()
    keep_outcome(folder, trials, best.change, results)
    return best.change, results


def write_if_better(
    change: Change,
    results: SearchResults,
    file: str | Path,
    *,
    anyway: bool = False,
    together: Interval | None = None,
) -> Path | None:
    """Save what a search found where it is better than nothing by more than chance, or `anyway`.

    `together` is the mean gain of several languages, where it is that of all of them and not of this one
    that is above nothing (`better_together`). Its `scores` say how it was chosen and what it won.
    Raises SaveError.
    """
    if not results.better and not anyway:
        return None
    told = {
        "recipe": results.recipe,
        "task": results.source,
        "split": results.split,
        "report_items": results.report_items,
        "gain": asdict(results.gain),
        "unit": results.unit,
        "better_than_nothing": results.better,
        **({"gain_of_languages_together": asdict(together)} if together else {}),
    }
    return save_searched(change, told, file)


def _check_enough(task: TaskItems) -> None:
    for part, items in (("choose", task.development), ("report", task.report)):
        if len(items) < FEWEST_ITEMS:
            raise DiagnosisError(
                f"{task.source} has {len(items)} items to {part} on, and {FEWEST_ITEMS} are the least: "
                f"more are needed, about {items_needed(10)} to report on for a gain of 10 points to show, "
                f"{items_needed(5)} for one of 5"
            )


def _about(
    model: Model,
    task: TaskItems,
    pair: ParallelCorpus,
    scoring: str,
    seed: int,
    vectors: Mapping[str, Change] | None,
) -> dict[str, Any]:
    return {
        "model": model.fingerprint,
        "task": task.source,
        "language": task.language,
        "seed": seed,  # first: another cuts the items otherwise
        "items": task.fingerprint,
        "corpus": pair.describe(),
        "scoring": scoring,
        "vectors": sorted(f"{tag} {v.method} {v.layers}" for tag, v in (vectors or {}).items()),
    }


class _Search:
    """One search, from its questions to its report."""

    def __init__(
        self,
        model: Model,
        task: TaskItems,
        pair: ParallelCorpus,
        folder: Path,
        trials: Trials,
        budget: float,
        vectors: Mapping[str, Change],
        scoring: Scoring,
        seed: int,
    ) -> None:
        self.model, self.task, self.trials, self.vectors = model, task, trials, vectors
        self.labels = folder / "labels"
        self.budget, self.clock = budget, Clock(60 * budget, trials.seconds)
        self.fits = Fits(model, pair, folder / "fits", trials, seed)
        self.items = FEWEST // GROWTH  # of the round before
        self.standings: dict[str, Standing] = {}
        items = task.development
        questions = asked(model, [item.own for item in items], items)
        self.scale = scale_of(questions, scoring)
        self.scorer = Scorer(model, items, questions, self.scale, trials)

    def run(self) -> tuple[Candidate, SearchResults]:
        """The best candidate on development items, and what it is worth on the others."""
        self._prepare()
        default, some = self.fits.default(), self.scorer.some
        cheap = cheap_candidates(self.fits, self._may_fit)
        writing = written_candidates(self.fits) if self.scale.unit == "nats" else []
        own = by_turns(self._translated(), self._labelled())
        given = averaged_candidates(self.vectors, self.task.language, default.change)
        pool = [default, *given, *by_turns(own, by_turns(cheap, writing))]
        first = self._round("first", some, pool, default)
        learned = learned_candidates(self.fits, _layers_of(first), self._may_fit)
        kept = first[: max(FINALISTS, len(first) // KEPT)]
        order = [*kept[:FINALISTS], *learned, *kept[FINALISTS:]]
        second = self._round("second", some, order, default)
        close = [*second[: 2 * FINALISTS], *refined(second)]
        third = self._round("third", some, close, default)
        last = self._round("last", ALL, third[:FINALISTS], default)
        best = self._unless_lucky(last[0], default)
        return best, self._results(best, default)

    def _unless_lucky(self, best: Candidate, default: Candidate) -> Candidate:
        """The best, where it is ahead of the default by a standard error or more, or the default is behind nothing; else
        the default, which was chosen on more items than a search has (the rule of one standard error, Breiman et al.
        1984, section 3.4.3).
        """
        ahead = self.scorer.ahead(best, default, ALL, self.items)
        error = float(ahead.std(ddof=1)) / len(ahead) ** 0.5
        behind_nothing = self.standings[default.name].smooth < 0
        return best if behind_nothing or float(ahead.mean()) > error else default

    def _round(
        self, name: str, stage: str, candidates: Sequence[Candidate], default: Candidate
    ) -> list[Candidate]:
        """The candidates of a round from best to worst, and the default among them."""
        by_name = {candidate.name: candidate for candidate in (default, *candidates)}
        told = self.trials.told(f"round {name}")
        if told is None:
            seconds = ROUNDS[name] * self._left_to_choose()
            count, items = affordable(
                seconds, self.scorer, len(by_name), GROWTH * self.items, max(FEWEST, self.items)
            )
            told = self.trials.tell(f"round {name}", candidates=list(by_name)[:count], items=items)
        own = [by_name[key] for key in told["candidates"] if key in by_name]
        self.items = int(told["items"])
        self.scorer.nothing(stage, self.items)
        self.scorer.score(own, stage, self.items)
        standings = self.scorer.standings(own, stage, self.items)
        own_standings = {standing.candidate: standing for standing in standings}
        self.standings = own_standings | {  # those of later rounds first
            key: standing for key, standing in self.standings.items() if key not in own_standings
        }
        return [by_name[standing.candidate] for standing in standings]

    def _left_to_choose(self) -> float:
        """Seconds of the budget, less what the report takes."""
        return max(0.0, self.clock.left - 60 * REPORT_SHARE * self.budget)

    def _labelled(self) -> list[Candidate]:
        """Vectors from the right answers of as many items as a share of the time left pays for."""
        whole = self.scorer.questions[ALL]
        few = whole.sampled(LABEL_CHOICES) if self.scale.may_leave_choices_out else whole
        seconds = LABEL_COST * few.answers / whole.answers * self.scorer.seconds_of_all
        count = self._paid_items("learned from", LABEL_SHARE, seconds)
        biases = None
        if self.scale.calibrated:
            known = self.trials.known(NOTHING, ALL)
            biases = torch.tensor(np.mean(list(known.values()), 0))
        taught = few.part(range(count))
        return labelled_candidates(self.model, self.task, taught, biases, self.labels, self.trials)

    def _translated(self) -> list[Candidate]:
        """What is learned from as many items and their English as a share of the time left pays for."""
        seconds = 2 * self.scorer.questions[ALL].context_share * self.scorer.seconds_of_all
        count = self._paid_items("read in English", READ_SHARE, seconds)
        return translated_candidates(self.model, self.task, self.task.development[:count])

    def _paid_items(self, key: str, share: float, seconds: float) -> int:
        """How many of the items to choose on a share of the time left pays for, of so many seconds each."""
        told = self.trials.told(key)
        if told is None:
            paid = int(share * self._left_to_choose() / seconds)
            told = self.trials.tell(key, items=min(len(self.task.development), paid))
        return int(told["items"])

    def _may_fit(self) -> bool:
        """Whether one more fit, as long as the default's was, is a small part of the time left."""
        return self.fits.longest() < FIT_SHARE * self._left_to_choose()

    def _prepare(self) -> None:
        """Ask development items of the model as it is: as many as a tenth of the budget pays for."""
        scorer, there = self.scorer, len(self.task.development)
        first = min(FEWEST, there)
        scorer.nothing(ALL, first)
        told = self.trials.told("development items")
        if told is None:
            paid = int(6 * self.budget / scorer.seconds)
            told = self.trials.tell("development items", items=max(first, min(there, paid)))
        scorer.most = int(told["items"])
        scorer.choose_among(CHOICES)

    def _results(self, best: Candidate, default: Candidate) -> SearchResults:
        items = self.task.report[: self._reported_items()]
        changes = {NOTHING: None, best.name: best.change, default.name: default.change}
        questions = asked(self.model, [item.own for item in items], items)
        scores = answer_scores(
            self.model, questions, list(changes.values()), "Reporting on other items"
        )
        values = {
            name: self.scale.values(rows, questions.right)
            for name, rows in zip(changes, scores, strict=True)
        }
        for name in ("translation", "english"):
            wordings = [w for item in items if (w := getattr(item, name)) is not None]
            if len(wordings) == len(items):
                others = asked(self.model, wordings, items)
                (rows,) = answer_scores(self.model, others, progress=f"Reporting: {name}")
                values[name] = self.scale.values(rows, others.right)
        reported = tuple(_reported(name, own, values[NOTHING]) for name, own in values.items())
        gain = reported[1].gain
        translated = values.get("translation")
        return SearchResults(
            model=self.model.name,
            source=self.task.source,
            language=self.task.language,
            split=self.task.split,
            unit=self.scale.unit,
            calibrated=self.scale.calibrated,
            recipe=best.name,
            better=gain is not None and gain.low > 0,
            reported=reported,
            beats_translation=None
            if translated is None
            else paired_bootstrap(difference, translated, values[best.name]),
            standings=tuple(self.standings.values()),
            tried=len(self.standings),
            development_items=self.scorer.most,
            report_items=len(items),
            budget=self.budget,
            seconds=60 * self.budget - self.clock.left,
            versions=versions(),
        )

    def _reported_items(self) -> int:
        """As many as a share of the budget pays for; where that is fewer than are enough, a larger share."""
        ways = 3 + sum(
            getattr(self.task.report[0], n) is not None for n in ("english", "translation")
        )
        of_all = int(60 * self.budget / (ways * self.scorer.seconds_of_all))
        more = min(ENOUGH_REPORTED, int(REPORT_MOST * of_all))
        paid = max(int(REPORT_SHARE * of_all), more, FEWEST_REPORTED)
        return min(len(self.task.report), paid)


def _layers_of(candidates: Sequence[Candidate]) -> list[int]:
    """The layers of what reads, from the best candidate's on."""
    layers = [c.change.layers[0] for c in candidates if c.reads and not c.halves]
    return list(dict.fromkeys(layers))


def _reported(name: str, values: Array, nothing: Array) -> Reported:
    gain = None if name == NOTHING else paired_bootstrap(difference, nothing, values)
    return Reported(name, float(values.mean()), gain, tuple(np.round(values, DIGITS).tolist()))
