"""The change that brings answers in the language (`fit --for answers`), or none: chosen by what is written.

Clamps (`langsteer.fitting.answers`) of several layers and levels, the mean difference turned round, and biases of what
is written (`langsteer.fitting.logit_bias`), alone and together, write answers to some prompts (`answer_prompts`); the one with
most answers in the language is taken, of those that repeat themselves no more than the model as it is, where it is better by more than chance
than a default. It is reported once, on other prompts, against the model as it is. See `langsteer.evaluation.written`.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from langsteer.diagnosis.answer_candidates import AnswerCandidates
from langsteer.diagnosis.answer_prompts import (
    FEWEST,
    AnswerPrompts,
    corpus_prompts,
    own_prompts,
    references,
)
from langsteer.diagnosis.halving import NOTHING, Clock
from langsteer.diagnosis.outcome import keep_outcome, read_outcome, save_searched
from langsteer.diagnosis.trials import NAME, Trials
from langsteer.evaluation.statistics import Array, Interval, difference, paired_bootstrap
from langsteer.evaluation.written import MEASURES, reference_scores, written
from langsteer.model.model import Model
from langsteer.model.tokens import Prompt
from langsteer.progress import track
from langsteer.steering.change import Change
from langsteer.steering.generation import generate
from langsteer.storage.records import PlainRecord, as_plain
from langsteer.text.corpus import ParallelCorpus
from langsteer.version import versions

FIRST, MOST = 16, 96  # lines: to choose on at first, at the most
FEWEST_REPORTED = 48  # lines, where there are as many, whatever that takes
FINALISTS = 3  # of the first round go into the second, beside what is around the best
LAST = 4  # of the second go into the last
NEW_TOKENS, ROWS = 48, 32
SHARES = {"first": 0.3, "second": 0.5, "last": 0.9, "report": 1.0}  # of the time left
REPEATS, SCORE = "distinct_3", "score"


@dataclass(frozen=True)
class AnswersStanding:
    """A candidate on so many lines: means of the measures of `langsteer.evaluation.written`, and of the score where
    right answers are known.
    """

    candidate: str
    lines: int
    measures: dict[str, float]


@dataclass(frozen=True)
class AnswerSearchResults(PlainRecord):
    """What a search found. `better`: on the `report_lines`, more answers are in the language by more
    than chance, and they are not more repetitive, nor lower in score, by more than chance. `changes` are those of each
    measure against the model as it is, which `before` and `after` have the means of. `prompts` says what was
    answered, where it was not the corpus; `standings` are from best to worst, of later rounds first.
    """

    model: str
    language: str
    corpus: str
    recipe: str
    better: bool
    report_lines: int
    before: dict[str, float]
    after: dict[str, float]
    changes: dict[str, Interval]
    standings: tuple[AnswersStanding, ...]
    budget: float
    seconds: float
    versions: dict[str, str]
    prompts: str = ""


def find_answers(
    model: Model,
    corpus: ParallelCorpus,
    folder: str | Path,
    *,
    budget: float = 15.0,
    limit: int | None = None,
    prompts: Sequence[Prompt] | None = None,
    prompts_from: str = "prompts of one's own",
    seed: int = 0,
    overwrite: bool = False,
) -> tuple[Change, AnswerSearchResults]:
    """The best change for answers in the corpus's only language, and what it is worth.

    A part of the corpus is fitted on, another chosen on, a third reported on, `limit` lines of the
    latter two at most. With `prompts` of one's own, all of it is fitted on, half of the prompts chosen on and half reported
    on; `prompts_from` says what they are. Answers' measures are kept in `folder` as they come: a search that was stopped
    goes on when it is called again, and one that is done is read. `budget` is in minutes. Raises
    DiagnosisError where the folder is of another search or there are too few lines, and
    MissingExtraError without lingua.
    """
    folder = Path(folder)
    about: dict[str, Any] = {
        "model": model.fingerprint,
        "for": "answers",
        "corpus": corpus.describe(),
        "limit": limit,
        "seed": seed,
    }
    most = limit or MOST
    if prompts is None:
        asked = corpus_prompts(corpus, most, seed)
    else:
        asked = own_prompts(corpus, prompts, prompts_from, most, seed)
        about["prompts"] = asked.describe()
    asked.check_lengths(model, NEW_TOKENS)
    about["measures"] = list(_measures(asked))
    trials = Trials(folder / NAME, about, overwrite)
    if done := read_outcome(folder, trials, AnswerSearchResults, corpus.language, model, budget):
        return done
    best, results = _Search(model, corpus, asked, trials, budget, seed).run()
    keep_outcome(folder, trials, best, results)
    return best, results


def write_answers(
    change: Change, results: AnswerSearchResults, file: str | Path, *, anyway: bool = False
) -> Path | None:
    """Save what a search found where it is better, or `anyway`; its `scores` say what it won."""
    if not results.better and not anyway:
        return None
    told = {
        "task": "answers",
        "recipe": results.recipe,
        "report_lines": results.report_lines,
        **({"prompts": results.prompts} if results.prompts else {}),
        "better_than_nothing": results.better,
        "changes": as_plain({name: asdict(each) for name, each in results.changes.items()}),
    }
    return save_searched(change, told, file)


class _Search:
    """One search: candidates by name, and what each of them wrote."""

    def __init__(
        self,
        model: Model,
        corpus: ParallelCorpus,
        asked: AnswerPrompts,
        trials: Trials,
        budget: float,
        seed: int,
    ) -> None:
        self.model, self.corpus, self.trials, self.budget = model, corpus, trials, budget
        self.asked, self.measures = asked, _measures(asked)
        self.clock = Clock(60 * budget, trials.seconds)
        self.seed = seed
        self.changes: dict[str, Change | None] = {NOTHING: None}
        self.standings: dict[str, AnswersStanding] = {}
        self.took: list[float] = []  # seconds of an answer, batch by batch

    def run(self) -> tuple[Change, AnswerSearchResults]:
        """The best on lines to choose on, and what it is worth on others."""
        candidates = AnswerCandidates(self.model, self.asked.fitted_on, self.seed)
        self.changes |= candidates.first()
        self._write([NOTHING], "choose", min(FIRST, len(self.asked.choose)))
        (default,) = candidates.default
        order = self._round("first", list(self.changes), FIRST)
        around = candidates.around(order)
        if self._pays_for(len(around)):
            self.changes |= around
            names = [*order[:FINALISTS], default, *around]
            order = self._round("second", list(dict.fromkeys(names)), FIRST)
        finalists = list(dict.fromkeys([*order[:LAST], default]))
        last = self._round("last", finalists, len(self.asked.choose))
        name = self._unless_lucky(last[0], default)
        best = self.changes[name]
        assert best is not None
        return best, self._results(name)

    def _unless_lucky(self, best: str, default: str) -> str:
        """The best, where it brings more answers in the language than the default by more than chance, or the default
        brings none, or repeats itself more than the model as it is; else the default, which was chosen on more lines
        than a search has.
        """
        lines = self.standings[best].lines
        nothing, ours, theirs = (self._rows(n, "choose", lines) for n in (NOTHING, best, default))
        before, with_best, with_default = map(_in_language, (nothing, ours, theirs))
        ahead = paired_bootstrap(difference, with_default, with_best)
        helps = with_default.mean() > before.mean() and not more_repetition(theirs, nothing)
        return default if helps and ahead.low <= 0 else best

    @property
    def _seconds(self) -> float:
        """What an answer takes; the first batch, which loads what others use, counts where it is alone."""
        batches = self.took[1:] or self.took or [1.0]
        return float(np.mean(batches))

    def _pays_for(self, more: int) -> bool:
        """Whether the time left pays for so many candidates more, on as few lines as there may be, and the report."""
        told = self.trials.told("second")
        if told is None:
            pays = self._left_to_choose > more * FEWEST * self._seconds
            told = self.trials.tell("second", asked=pays)
        return bool(told["asked"])

    @property
    def _left_to_choose(self) -> float:
        """Seconds left, less what the shortest report takes."""
        reported = min(FEWEST_REPORTED, len(self.asked.report))
        return self.clock.left - 2 * reported * self._seconds

    def _round(self, name: str, candidates: Sequence[str], wanted: int) -> list[str]:
        """The candidates from best to worst, on as many lines as a share of the time left pays for."""
        told = self.trials.told(f"round {name}")
        if told is None:
            paid = int(SHARES[name] * self._left_to_choose / self._seconds / len(candidates))
            lines = min(wanted, len(self.asked.choose), max(FEWEST, paid))
            told = self.trials.tell(f"round {name}", lines=lines)
        lines = int(told["lines"])
        self._write([NOTHING, *candidates], "choose", lines, f"Round {name}")
        rows = {c: self._rows(c, "choose", lines) for c in (NOTHING, *candidates)}
        for candidate, own in rows.items():
            self.standings[candidate] = AnswersStanding(
                candidate, lines, _means(self.measures, own)
            )
        order = ranked(
            {c: self.standings[c].measures for c in candidates if c != NOTHING},
            {c: more_repetition(own, rows[NOTHING]) for c, own in rows.items()},
            strict=name == "last",
        )
        for candidate in (NOTHING, *reversed(order)):  # the best last
            self.standings[candidate] = self.standings.pop(candidate)
        return order

    def _write(
        self, names: Sequence[str], part: str, count: int, progress: str | None = None
    ) -> None:
        """Write and measure what is not known yet of the first lines of a part; candidates share batches."""
        missing = [
            (name, i)
            for name in names
            for known in [self.trials.known(name, part)]
            for i in range(count)
            if str(i) not in known
        ]
        starts = range(0, len(missing), ROWS)
        for start in track(starts, progress, len(starts)):
            batch = missing[start : start + ROWS]
            started = time.perf_counter()
            measured = self._measured(part, batch)
            seconds = (time.perf_counter() - started) / len(batch)
            self.took.append(seconds)
            for name in dict.fromkeys(name for name, _ in batch):
                own = {
                    str(i): row for (n, i), row in zip(batch, measured, strict=True) if n == name
                }
                self.trials.add(name, part, list(own), list(own.values()), seconds * len(own))

    def _measured(self, part: str, batch: Sequence[tuple[str, int]]) -> list[Array]:
        """The measures of what candidates by name write after prompts."""
        prompts = [self.asked.of(part)[i] for _, i in batch]
        changes = [self.changes[name] for name, _ in batch]
        answers = generate(self.model, prompts, changes, max_new_tokens=NEW_TOKENS)
        measured = written(answers, self.corpus.language, [p.source for p in prompts])
        rows = [[getattr(each, m) for m in MEASURES] for each in measured]
        if self.asked.scored:
            scores = reference_scores(answers, references(prompts))
            rows = [[*row, score] for row, score in zip(rows, scores, strict=True)]
        return [np.array(row) for row in rows]

    def _rows(self, name: str, part: str, count: int) -> Array:
        """The measures of the first lines, [lines, measures]."""
        known = self.trials.known(name, part)
        return np.stack([known[str(i)] for i in range(count)])

    def _results(self, best: str) -> AnswerSearchResults:
        paid = int(SHARES["report"] * self.clock.left / self._seconds / 2)
        told = self.trials.told("report") or self.trials.tell(
            "report", lines=min(len(self.asked.report), max(FEWEST_REPORTED, paid))
        )
        lines = int(told["lines"])
        self._write([NOTHING, best], "report", lines, "Reporting on other lines")
        before, after = (self._rows(name, "report", lines) for name in (NOTHING, best))
        changes = {
            measure: paired_bootstrap(difference, before[:, m], after[:, m])
            for m, measure in enumerate(self.measures)
        }
        return AnswerSearchResults(
            model=self.model.name,
            language=self.corpus.language,
            corpus=self.corpus.name,
            recipe=best,
            better=_is_better(changes),
            report_lines=lines,
            before=_means(self.measures, before),
            after=_means(self.measures, after),
            changes=changes,
            standings=tuple(reversed(self.standings.values())),
            budget=self.budget,
            seconds=60 * self.budget - self.clock.left,
            versions=versions(),
            prompts=self.asked.name if self.asked.own else "",
        )


def more_repetition(own: Array, nothing: Array) -> float:
    """By how many points answers [lines, measures] repeat themselves more than those of the model as it is, beyond
    a standard error: few lines tell no small differences, and the report looks again.
    """
    change = (own - nothing)[:, MEASURES.index(REPEATS)]
    return max(0.0, float(-change.mean() - change.std() / math.sqrt(len(change))))


def ranked(
    candidates: Mapping[str, Mapping[str, float]],
    repetition: Mapping[str, float],
    strict: bool = False,
) -> list[str]:
    """Names from best to worst by their measures: by answers in the language, less those in another, less the
    `repetition` that each has beyond that of the model as it is, and where these are as many, by less
    repetition. Where it is `strict`, those that have any such repetition come last.
    """

    def key(name: str) -> tuple[bool, float, float]:
        own, more = candidates[name], repetition[name]
        return strict and more > 0, own["other"] - own["right"] + more, -own[REPEATS]

    return sorted(candidates, key=key)


def _in_language(rows: Array) -> Array:
    """Of answers [lines, measures], 100 for one in the language, and -100 for one in another: [lines]."""
    return rows[:, MEASURES.index("right")] - rows[:, MEASURES.index("other")]


def _is_better(changes: Mapping[str, Interval]) -> bool:
    """More answers in the language by more than chance, and not more repetition nor a lower score by more than chance."""
    kept = [changes[name] for name in (REPEATS, SCORE) if name in changes]
    return changes["right"].low > 0 and all(change.high >= 0 for change in kept)


def _measures(asked: AnswerPrompts) -> tuple[str, ...]:
    return (*MEASURES, SCORE) if asked.scored else MEASURES


def _means(measures: Sequence[str], rows: Array) -> dict[str, float]:
    return {measure: float(rows[:, m].mean()) for m, measure in enumerate(measures)}
