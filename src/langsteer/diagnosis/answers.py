"""The change that brings answers in the language (`fit --for answers`), or none: chosen by what is written.

Clamps (`langsteer.fitting.answers`) of several layers and levels, the mean difference turned round, and biases of what
is written (`langsteer.fitting.logit_bias`), alone and together, write answers to some lines; the one with most answers in
the language is taken, of those that repeat themselves no more than the model as it is. It is reported once, on other lines, against the model as it is. See `langsteer.evaluation.written`.
"""

import functools
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from langsteer.diagnosis.halving import NOTHING, Clock
from langsteer.diagnosis.trials import NAME, Trials
from langsteer.errors import DiagnosisError
from langsteer.evaluation.statistics import Array, Interval, difference, paired_bootstrap
from langsteer.evaluation.written import MEASURES, Written, written
from langsteer.fitting.answers import AnswerOptions, fit_layers
from langsteer.fitting.logit_bias import only_script, pivot_words
from langsteer.fitting.mean_difference import fit as fit_mean_difference
from langsteer.fitting.options import PooledOptions
from langsteer.model.model import Model
from langsteer.model.tokens import Prompt
from langsteer.progress import announce, track
from langsteer.steering.change import Change
from langsteer.steering.clamp import Clamp
from langsteer.steering.folder import load
from langsteer.steering.generation import generate
from langsteer.steering.sequence import ChangeSequence
from langsteer.steering.vector import SteeringVector
from langsteer.storage.files import write_json
from langsteer.storage.kept import read_record
from langsteer.storage.records import PlainRecord, as_plain
from langsteer.text.corpus import ParallelCorpus
from langsteer.text.languages import language_name, share_script
from langsteer.version import versions

ASKED = ("\n\nGo on in {}:", "\n\nThe answer, in {}:", "\n\nNow a sentence in {}:")
DEPTHS = (0.65, 0.72, 0.78, 0.84, 0.89)  # of the layers, of what writes
REACHES = (0.75, 1.0, 1.25)
READING_DEPTH, READING = 0.45, 0.5  # of what reads, and its strength
AWAY = (-0.5, -0.25)  # strengths of the same, turned round, on what is written
STRONG = 2.0  # strength of the bias against the pivot's words, beside the usual one
FIRST, FEWEST, MOST = 12, 8, 96  # lines: to choose on at first, at the least, at the most
FINALISTS, BIASED = 3, 2  # of the first round: go on as they are, and with biases beside them
NEW_TOKENS, ROWS = 48, 16
SHARES = {"first": 0.45, "last": 0.6, "report": 1.0}  # of the time left
REPEATS = "distinct_3"
RESULTS, BEST = "results.json", "best.safetensors"


@dataclass(frozen=True)
class AnswersStanding:
    """A candidate on so many lines: means of the measures of `langsteer.evaluation.written`."""

    candidate: str
    lines: int
    measures: dict[str, float]


@dataclass(frozen=True)
class AnswersFound(PlainRecord):
    """What a search found. `better`: on the `report_lines`, more answers are in the language by more
    than chance, and they are not more repetitive by more than chance. `changes` are those of each
    measure against the model as it is, which `before` and `after` have the means of.
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


def find_answers(
    model: Model,
    corpus: ParallelCorpus,
    folder: str | Path,
    *,
    budget: float = 15.0,
    limit: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> tuple[Change, AnswersFound]:
    """The best change for answers in the corpus's only language, and what it is worth.

    A part of the corpus is fitted on, another chosen on, a third reported on, `limit` lines of the
    latter two at most. Answers' measures are kept in `folder` as they come: a search that was stopped
    goes on when it is called again, and one that is done is read. `budget` is in minutes. Raises
    DiagnosisError where the folder is of another search or there are too few lines, and
    MissingExtraError without lingua.
    """
    folder = Path(folder)
    about = {
        "model": model.fingerprint,
        "for": "answers",
        "corpus": corpus.describe(),
        "limit": limit,
        "seed": seed,
    }
    trials = Trials(folder / NAME, about, overwrite)
    results = read_record(folder / RESULTS)
    if results and trials.told("done") is not None and (folder / BEST).is_file():
        announce(f"{corpus.language}: already searched in {folder}")
        return load(folder / BEST, model), AnswersFound.from_json(results)
    best, found = _Search(model, corpus, trials, budget, limit or MOST, seed).run()
    best.save(folder / BEST)
    write_json(folder / RESULTS, found.as_json())
    trials.tell("done")
    return best, found


def write_answers(
    change: Change, found: AnswersFound, file: str | Path, *, anyway: bool = False
) -> Path | None:
    """Save what a search found where it is better, or `anyway`; its `scores` say what it won."""
    if not found.better and not anyway:
        return None
    won = {
        "task": "answers",
        "recipe": found.recipe,
        "report_lines": found.report_lines,
        "better_than_nothing": found.better,
        "changes": as_plain({name: asdict(each) for name, each in found.changes.items()}),
    }
    told = replace(change, scores={**change.scores, "search": won})  # type: ignore[type-var]
    return told.save(file)


class _Search:
    """One search: candidates by name, and what each of them wrote."""

    def __init__(
        self,
        model: Model,
        corpus: ParallelCorpus,
        trials: Trials,
        budget: float,
        most: int,
        seed: int,
    ) -> None:
        self.model, self.corpus, self.trials, self.budget = model, corpus, trials, budget
        parts = corpus.split(fit=0.6, choose=0.2, report=0.2, seed=seed)
        self.fitted_on = parts["fit"]
        self.lines = {
            part: parts[part].texts[corpus.language][:most] for part in ("choose", "report")
        }
        if min(map(len, self.lines.values())) < FEWEST:
            raise DiagnosisError(
                f"{corpus.name} leaves under {FEWEST} lines to choose or to report on: more are needed"
            )
        self.clock = Clock(60 * budget, trials.seconds)
        self.seed = seed
        self.changes: dict[str, Change | None] = {NOTHING: None}
        self.biases: dict[str, Change] = {}
        self.standings: dict[str, AnswersStanding] = {}

    def run(self) -> tuple[Change, AnswersFound]:
        """The best on lines to choose on, and what it is worth on others."""
        self._fit()
        seconds = self._seconds_of_a_line()
        first = self._round("first", list(self.changes), FIRST, seconds)
        there = len(self.changes)
        self._add(first)
        names = [*first[:FINALISTS], *list(self.changes)[there:]]
        last = self._round("last", list(dict.fromkeys(names)), len(self.lines["choose"]), seconds)
        best = self.changes[last[0]]
        assert best is not None
        return best, self._found(last[0], seconds)

    def _fit(self) -> None:
        deepest = self.model.layers - 1
        layers = sorted({min(deepest, round(depth * self.model.layers)) for depth in DEPTHS})
        for clamp in fit_layers(self.model, self.fitted_on, layers, AnswerOptions(seed=self.seed)):
            for reach in REACHES:
                reached = reaching(clamp, reach)
                self.changes[_name(reached)] = reached
        away = self._difference.at("generated")
        for strength in AWAY:
            name = f"{away.method}:{away.layer}@generated*{strength:g}"
            self.changes[name] = away.with_strength(strength)
        self._fit_biases()

    def _add(self, first: Sequence[str]) -> None:
        """The best of the first round with biases beside them, and the best clamp with its states'
        lengths kept, and with a part that reads.
        """
        acting = [name for name in first if name not in self.biases]
        for name in acting[:BIASED]:
            for bias in self.biases:
                self._join(name, bias)
        best = next(name for name in acting if isinstance(self.changes[name], Clamp))
        clamp = self.changes[best]
        assert isinstance(clamp, Clamp)
        kept = replace(clamp, keeps_length=True)
        self.changes[_name(kept)] = kept
        reads = self._difference.with_strength(READING)
        part = f"{reads.method}:{reads.layer}@source*{READING:g}"
        self.changes[f"{part} + {best}"] = ChangeSequence((reads, clamp))

    def _join(self, name: str, bias: str) -> None:
        parts = [change for n in (name, bias) if (change := self.changes[n]) is not None]
        self.changes[f"{name} + {bias}"] = ChangeSequence.of(parts)

    def _fit_biases(self) -> None:
        """In a script of its own, a language is held to it; else the pivot's words are held back."""
        words = pivot_words(self.model, self.fitted_on)
        strong = words.with_strength(STRONG)
        if share_script(self.corpus.language, self.corpus.pivot):
            self.biases = {"pivot_words": words, f"pivot_words*{STRONG:g}": strong}
        else:
            script = only_script(self.model, self.fitted_on)
            both = ChangeSequence((script, strong))
            self.biases = {"only_script": script, f"only_script + pivot_words*{STRONG:g}": both}
        self.changes |= self.biases

    @functools.cached_property
    def _difference(self) -> SteeringVector:
        """The mean difference: as it is it reads, and turned round it writes."""
        layer = round(READING_DEPTH * self.model.layers)
        return fit_mean_difference(self.model, self.fitted_on, PooledOptions(layer=layer))

    def _seconds_of_a_line(self) -> float:
        """What an answer takes, of the model as it is."""
        self._write(NOTHING, "choose", min(FIRST, len(self.lines["choose"])))
        told = self.trials.told("seconds of a line")
        if told is None:
            took = self.trials.seconds / len(self.trials.known(NOTHING, "choose"))
            told = self.trials.tell("seconds of a line", value=took)
        return float(told["value"])

    def _round(
        self, name: str, candidates: Sequence[str], wanted: int, seconds: float
    ) -> list[str]:
        """The candidates from best to worst, on as many lines as a share of the time left pays for."""
        told = self.trials.told(f"round {name}")
        if told is None:
            paid = int(SHARES[name] * self.clock.left / seconds / len(candidates))
            lines = min(wanted, len(self.lines["choose"]), max(FEWEST, paid))
            told = self.trials.tell(f"round {name}", lines=lines)
        lines = int(told["lines"])
        for candidate in track([NOTHING, *candidates], f"Round {name}", len(candidates) + 1):
            self._write(candidate, "choose", lines)
        for candidate in (NOTHING, *candidates):
            rows = self._rows(candidate, "choose", lines)
            self.standings.pop(candidate, None)
            self.standings[candidate] = AnswersStanding(candidate, lines, _means(rows))
        return ranked(
            {c: self.standings[c].measures for c in candidates if c != NOTHING},
            self.standings[NOTHING].measures,
        )

    def _write(self, name: str, part: str, count: int) -> None:
        """Write and measure what is not known yet of the first lines of a part."""
        known = self.trials.known(name, part)
        missing = [i for i in range(count) if str(i) not in known]
        for start in range(0, len(missing), ROWS):
            index = missing[start : start + ROWS]
            started = time.perf_counter()
            measured = self._measured([self.lines[part][i] for i in index], index, name)
            rows = [np.array([getattr(each, m) for m in MEASURES]) for each in measured]
            self.trials.add(
                name, part, [str(i) for i in index], rows, time.perf_counter() - started
            )

    def _measured(self, lines: Sequence[str], index: Sequence[int], name: str) -> list[Written]:
        language = language_name(self.corpus.language)
        prompts = [
            Prompt(line, after=ASKED[i % len(ASKED)].format(language))
            for line, i in zip(lines, index, strict=True)
        ]
        answers = generate(self.model, prompts, self.changes[name], max_new_tokens=NEW_TOKENS)
        return written(answers, self.corpus.language, lines)

    def _rows(self, name: str, part: str, count: int) -> Array:
        """The measures of the first lines, [lines, measures]."""
        known = self.trials.known(name, part)
        return np.stack([known[str(i)] for i in range(count)])

    def _found(self, best: str, seconds: float) -> AnswersFound:
        paid = int(SHARES["report"] * self.clock.left / seconds / 2)
        told = self.trials.told("report") or self.trials.tell(
            "report", lines=min(len(self.lines["report"]), max(4 * FEWEST, paid))
        )
        lines = int(told["lines"])
        for name in (NOTHING, best):
            self._write(name, "report", lines)
        before, after = (self._rows(name, "report", lines) for name in (NOTHING, best))
        changes = {
            measure: paired_bootstrap(difference, before[:, m], after[:, m])
            for m, measure in enumerate(MEASURES)
        }
        return AnswersFound(
            model=self.model.name,
            language=self.corpus.language,
            corpus=self.corpus.name,
            recipe=best,
            better=changes["right"].low > 0 and changes[REPEATS].high >= 0,
            report_lines=lines,
            before=_means(before),
            after=_means(after),
            changes=changes,
            standings=tuple(reversed(self.standings.values())),
            budget=self.budget,
            seconds=60 * self.budget - self.clock.left,
            versions=versions(),
        )


def reaching(clamp: Clamp, reach: float) -> Clamp:
    """The same clamp with its level at another reach; see `AnswerOptions`."""
    low, high = clamp.options["levels"]
    options = {**clamp.options, "reach": reach}
    return replace(clamp, level=low + reach * (high - low), options=options)


def _name(clamp: Clamp) -> str:
    """The recipe that fits it again."""
    kept = ", keeps_length=True" * clamp.keeps_length
    return f"answers(reach={clamp.options['reach']:g}{kept}):{clamp.layer}"


def ranked(candidates: dict[str, dict[str, float]], nothing: dict[str, float]) -> list[str]:
    """Names from best to worst: first those that repeat themselves no more than the model as it is,
    by answers in the language, and where these are as many, by less repetition; then the others.
    """

    def key(name: str) -> tuple[bool, float, float]:
        own = candidates[name]
        return own[REPEATS] < nothing[REPEATS], -own["right"], -own[REPEATS]

    return sorted(candidates, key=key)


def _means(rows: Array) -> dict[str, float]:
    return {measure: float(rows[:, m].mean()) for m, measure in enumerate(MEASURES)}
