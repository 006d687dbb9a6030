"""Run a comparison: models × benchmarks × languages × methods, one file a cell.

A cell is written when it is done, so a run that was stopped goes on where it was, and a cell that fails is
recorded and does not stop the others. Methods that ask the same model the same questions are scored
together: they share the layers below the lowest that they change.
"""

import contextlib
import functools
import gc
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from langsteer.errors import CompareError, CorpusError, LangsteerError, MethodError
from langsteer.evaluation.benchmarks import Benchmark, load_docs
from langsteer.evaluation.comparison.asked import asked_for, form_asked, is_made, missing_cells
from langsteer.evaluation.comparison.cells import (
    Cell,
    Cost,
    Failure,
    cell_path,
    existing_cell,
    file_name,
    read_cell,
    write_cell,
    write_failure,
)
from langsteer.evaluation.comparison.configuration import Chosen, Comparison
from langsteer.evaluation.comparison.fit_text import check_apart, fit_corpus, has_text
from langsteer.evaluation.comparison.memory import PeakMemory
from langsteer.evaluation.comparison.order import Stage, claims_of, stage_of
from langsteer.evaluation.comparison.questions import Answers, ask, question_key, task_info
from langsteer.evaluation.harness.coverage import Coverage
from langsteer.evaluation.harness.model import LangsteerLM
from langsteer.evaluation.methods import Plan, Setting, get_method
from langsteer.model.model import Model
from langsteer.model.opening import load_model
from langsteer.scale.queue import run_units
from langsteer.scale.units import Ended, Held, Resources, Workers
from langsteer.storage.files import write_text
from langsteer.text.corpus import ParallelCorpus
from langsteer.version import versions

logger = logging.getLogger(__name__)


@dataclass
class Outcome:
    """What a run did: cells made now, cells that were there, and cells that failed."""

    made: list[Path] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Progress:
    """One step of a run, told as it ends: which cell, and the share of cells that are done."""

    cell: Cell | Failure
    done: int
    total: int


def compare(
    wanted: Comparison,
    on_progress: Callable[[Progress], None] = lambda _: None,
    workers: Callable[[], Workers] | None = None,
) -> Outcome:
    """Make every cell that is missing: here, or where `workers` are.

    Raises CompareError where cells were made otherwise.
    """
    started = time.perf_counter()
    outcome = Outcome()
    missing = missing_cells(wanted, outcome.kept)
    write_text(wanted.output / "configuration.yaml", wanted.as_yaml())
    total = sum(len(methods) for methods in missing.values())

    def tell(cell: Cell | Failure) -> None:
        if isinstance(cell, Cell):
            outcome.made.append(cell_path(wanted.output, *cell.key))
        else:
            outcome.failed.append(cell)
            write_failure(wanted.output, cell)
        on_progress(Progress(cell, len(outcome.made) + len(outcome.failed), total))

    units = units_of(wanted, missing)
    if workers is None:
        held = Held()
        for unit in units:
            unit.run(held, tell)
    elif units:
        with contextlib.closing(workers()) as opened:
            for ended in run_units(units, opened):
                for cell in _cells_of(ended):
                    tell(cell)
    outcome.seconds = time.perf_counter() - started
    return outcome


def units_of(
    wanted: Comparison, missing: Mapping[tuple[str, str, str], Sequence[Chosen]]
) -> list["CellsUnit"]:
    """The units of work that make cells, a model after the other, what is soon there first.

    What is fitted in closed form is asked together, as it shares passes; what is late is on its own.
    """
    units: dict[tuple[Any, ...], CellsUnit] = {}
    for (model, benchmark, language), methods in missing.items():
        for chosen in methods:
            stage = stage_of(chosen.name)
            place = (model, stage, benchmark, language, chosen.name * (stage is Stage.LATE))
            before = units[place].methods if place in units else ()
            units[place] = CellsUnit(wanted, model, benchmark, language, (*before, chosen))
    models = {name: place for place, name in enumerate(wanted.models)}
    return [units[key] for key in sorted(units, key=lambda key: (models[key[0]], key[1]))]


@dataclass(frozen=True)
class CellsUnit:
    """Cells of one model, benchmark and language, to be made by one process.

    As plain data, so that it can be sent; `run` is what is done with it, wherever that is.
    """

    wanted: Comparison
    model: str
    benchmark: str
    language: str
    methods: tuple[Chosen, ...]

    @property
    def name(self) -> str:
        methods = " ".join(chosen.name for chosen in self.methods)
        return f"{self.model} / {self.benchmark} / {self.language} / {methods}"

    @property
    def where(self) -> str:
        """Work goes where this is held."""
        return self.model

    @property
    def claims(self) -> frozenset[str]:
        return frozenset().union(
            *(claims_of(self.model, self.language, chosen.name) for chosen in self.methods)
        )

    @property
    def needs(self) -> Resources:
        return self.wanted.resources_of(self.model)

    @property
    def folder(self) -> Path:
        return self.wanted.output

    def run(
        self, held: Held, on_cell: Callable[[Cell | Failure], None] = lambda _: None
    ) -> list[Cell | Failure]:
        """Make the cells and write them; those that are there already are read.

        A cell that fails is a Failure among the others. Raises SaveError where none can be written.
        """
        told: list[Cell | Failure] = []

        def tell(cell: Cell | Failure) -> None:
            if isinstance(cell, Cell):
                write_cell(self.wanted.output, cell)
            told.append(cell)
            on_cell(cell)

        left = [chosen for chosen in self.methods if not self._is_there(chosen, told)]
        try:
            model, answered = held.get(
                (self.model, self.wanted.dtype, self.wanted.device, self.wanted.device_map),
                lambda: (self._open(), {}),
            )
        except LangsteerError as error:
            for chosen in left:
                tell(Failure(self.model, self.benchmark, self.language, chosen.name, str(error)))
            return told
        benchmark = self.wanted.benchmark(self.benchmark)
        run = _Language(self.wanted, self.model, model, benchmark, self.language, tell, answered)
        run.methods(left)
        return told

    def failures(self, error: str) -> list[Failure]:
        """What is told of the cells that are not there, where the unit cannot be done."""
        there: list[Cell | Failure] = []
        return [
            Failure(self.model, self.benchmark, self.language, chosen.name, error)
            for chosen in self.methods
            if not self._is_there(chosen, there)
        ]

    def made(self) -> list[Cell]:
        """The cells that are there."""
        there: list[Cell | Failure] = []
        for chosen in self.methods:
            self._is_there(chosen, there)
        return [cell for cell in there if isinstance(cell, Cell)]

    def _is_there(self, chosen: Chosen, there: list[Cell | Failure]) -> bool:
        key = (self.model, self.benchmark, self.language, chosen.name)
        path = existing_cell(self.wanted.output, *key)
        if path is None or not is_made(path, asked_for(self.wanted, self.benchmark, chosen)):
            return False
        there.append(read_cell(path))
        return True

    def _open(self) -> Model:
        return load_model(
            self.model,
            dtype=self.wanted.dtype,
            device=self.wanted.device,
            device_map=self.wanted.device_map,
        )


def _cells_of(ended: Ended) -> Sequence[Cell | Failure]:
    """What a unit that ended elsewhere made, and what it did not make."""
    assert isinstance(ended.unit, CellsUnit)
    place = f" (on {ended.worker})" * bool(ended.worker)
    if ended.error is not None:
        return [*ended.unit.made(), *ended.unit.failures(ended.error + place)]
    return [
        replace(cell, error=cell.error + place) if isinstance(cell, Failure) else cell
        for cell in ended.results
    ]


class _Language:
    """The cells of one model, benchmark and language.

    `answered` keeps what the model as it is said to questions that come in every language, such as
    the English original of the items.
    """

    def __init__(
        self,
        wanted: Comparison,
        name: str,
        model: Model,
        benchmark: Benchmark,
        language: str,
        tell: Callable[[Cell | Failure], None],
        answered: dict[str, Answers],
    ) -> None:
        self.wanted, self.name, self.model = wanted, name, model
        self.answered = answered
        self.benchmark, self.language, self.tell = benchmark, language, tell

    def methods(self, methods: Sequence[Chosen]) -> None:
        """Plan each; ask at once where the model is another, and the rest in groups that share."""
        together: dict[str, list[tuple[Chosen, Plan]]] = {}
        for chosen in methods:
            plan = self._attempt(chosen, functools.partial(self._plan, chosen))
            if plan is None:
                continue
            if plan.model is not None or plan.processors:
                self._ask([(chosen, plan)], None)
                del plan
                gc.collect()
            else:
                together.setdefault(question_key(plan), []).append((chosen, plan))
        for key, group in together.items():
            self._ask(group, key)

    def _plan(self, chosen: Chosen) -> Plan:
        corpus, why_not = self._corpus
        setting = Setting(
            model=self.model,
            benchmark=self.benchmark,
            language=self.language,
            corpus=corpus,
            all_languages=self._all_languages,
            work=self.wanted.output / "work" / file_name(self.name),
            data=self.wanted.data,
            form=form_asked(self.wanted, self.benchmark.name),
            limit=self.wanted.limit,
            seed=self.wanted.seed,
        )
        try:
            return get_method(chosen.name).prepare(setting, **chosen.options)
        except MethodError as error:
            raise CompareError(f"{error} ({why_not})" if why_not else str(error)) from error

    @functools.cached_property
    def _corpus(self) -> tuple[ParallelCorpus | None, str]:
        """Text to fit on, or None and why: methods that need it say so."""
        wanted = self.wanted
        try:
            corpus = fit_corpus(wanted.corpus.path, wanted.corpus.lines, self.language)
            docs = load_docs(self.benchmark, self.language, "test", wanted.data)
            check_apart(self.benchmark, docs, corpus)
        except (CorpusError, CompareError) as error:
            return None, str(error)
        return corpus, ""

    def _all_languages(self) -> ParallelCorpus:
        """Text to fit on in every language asked that there is text in."""
        path, lines = self.wanted.corpus.path, self.wanted.corpus.lines
        tags = [tag for tag in self.wanted.languages_of(self.benchmark.name) if has_text(path, tag)]
        corpus = fit_corpus(path, lines, *tags)
        for tag in tags:
            docs = load_docs(self.benchmark, tag, "test", self.wanted.data)
            check_apart(self.benchmark, docs, corpus)
        return corpus

    def _ask(self, group: Sequence[tuple[Chosen, Plan]], key: str | None) -> None:
        """Ask the questions that all plans of a group share, each under its own change.

        `key` is theirs, None where a tuned model is asked, or writing is held to a script: what that
        says is not kept.
        """
        if key is not None and key in self.answered:
            for chosen, plan in group:
                if plan.change is None:
                    self._tell_cell(chosen, plan, self.answered[key])
            group = [(chosen, plan) for chosen, plan in group if plan.change is not None]
        if group:
            lm = self._attempt(group[0][0], functools.partial(self._lm, group[0][1]))
            if lm is not None:
                self._ask_model(lm, group, key)

    def _ask_model(
        self, lm: LangsteerLM, group: Sequence[tuple[Chosen, Plan]], key: str | None
    ) -> None:
        peak = PeakMemory(lm.steered)
        with lm.variants({chosen.name: plan.change for chosen, plan in group}):
            for chosen, plan in group:
                lm.use(chosen.name)
                with peak:
                    said = self._attempt(
                        chosen,
                        functools.partial(ask, lm, self.benchmark, plan, next(iter(lm.tasks))),
                    )
                if said is None:
                    continue
                items, scores = said
                covered = lm.coverage.get((chosen.name, next(iter(lm.tasks))), Coverage())
                answers = Answers(
                    items, scores, lm.cost.tokens, lm.cost.seconds, peak.bytes, covered.missed
                )
                if plan.change is None and key is not None:
                    self.answered[key] = answers
                self._tell_cell(chosen, plan, answers)

    def _lm(self, plan: Plan) -> LangsteerLM:
        info = task_info(self.benchmark, self.language, plan)
        name = f"{self.benchmark.name}_{self.language}"
        return LangsteerLM(plan.model or self.model, tasks={name: info}, processors=plan.processors)

    def _tell_cell(self, chosen: Chosen, plan: Plan, answers: Answers) -> None:
        cell = self._attempt(chosen, functools.partial(self._cell, chosen, plan, answers))
        if cell is not None:
            self.tell(cell)

    def _cell(self, chosen: Chosen, plan: Plan, answers: Answers) -> Cell:
        method = get_method(chosen.name)
        return Cell(
            model=self.name,
            benchmark=self.benchmark.name,
            language=self.language,
            method=chosen.name,
            method_title=method.title,
            form=plan.form,
            part="test",
            kind=self.benchmark.kind,
            metric=self.benchmark.metric,
            items=tuple(answers.items),
            chosen_on=plan.chosen_on,
            settings={
                "asked": asked_for(self.wanted, self.benchmark.name, chosen),
                **plan.settings,
            },
            harness=answers.harness,
            cost=Cost(
                tokens=answers.tokens + plan.extra_tokens,
                seconds=round(answers.seconds + plan.extra_seconds, 3),
                peak_bytes=answers.peak_bytes,
                training_seconds=round(plan.training_seconds, 3),
            ),
            versions=versions(),
            missed=answers.missed,
        )

    def _attempt(self, chosen: Chosen, make: Callable[[], Any]) -> Any:
        """What `make` gives; None, and the failure told, where it raises."""
        try:
            return make()
        except Exception as error:  # one cell must not stop the others, whatever it was
            line = " ".join(str(error).split()) or type(error).__name__
            if not isinstance(error, LangsteerError):
                logger.debug("%s failed", chosen.name, exc_info=True)
                line = f"{type(error).__name__}: {line}"
            self.tell(Failure(self.name, self.benchmark.name, self.language, chosen.name, line))
            return None
