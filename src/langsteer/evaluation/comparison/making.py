"""The cells of one model, benchmark and language: each method planned, its questions asked, its cell told."""

import functools
import gc
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from langsteer.errors import CompareError, CorpusError, LangsteerError, MethodError
from langsteer.evaluation.benchmarks import Benchmark, load_docs
from langsteer.evaluation.comparison.asked import asked_for, form_asked
from langsteer.evaluation.comparison.cells import Cell, Cost, Failure, file_name
from langsteer.evaluation.comparison.configuration import Chosen, Comparison
from langsteer.evaluation.comparison.fit_text import check_apart, fit_corpus, has_text
from langsteer.evaluation.comparison.memory import PeakMemory
from langsteer.evaluation.comparison.questions import Answers, ask, question_key, task_info
from langsteer.evaluation.harness.coverage import Coverage
from langsteer.evaluation.harness.engine import EngineWriter
from langsteer.evaluation.harness.model import LangsteerLM
from langsteer.evaluation.methods import Plan, Setting, get_method
from langsteer.model.model import Model
from langsteer.scale.units import one_line
from langsteer.text.corpus import ParallelCorpus
from langsteer.version import versions

logger = logging.getLogger(__name__)


def work_folder(wanted: Comparison, model: str) -> Path:
    """Where what is costly to make with a model is kept between runs."""
    return wanted.output / "work" / file_name(model)


class LanguageCells:
    """The cells of one model, benchmark and language.

    `answered` keeps what the model as it is said to questions that come in every language, such as
    the English original of the items. `writer` writes the answers, where it can.
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
        writer: EngineWriter | None = None,
    ) -> None:
        self.writer = writer
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
            work=work_folder(self.wanted, self.name),
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
                engine = lm.engine.told(chosen.name) if lm.engine is not None else None
                cost = lm.cost.tokens, lm.cost.seconds, peak.bytes
                answers = Answers(items, scores, *cost, covered.missed, engine)
                if plan.change is None and key is not None:
                    self.answered[key] = answers
                self._tell_cell(chosen, plan, answers)

    def _lm(self, plan: Plan) -> LangsteerLM:
        info = task_info(self.benchmark, self.language, plan)
        name = f"{self.benchmark.name}_{self.language}"
        return LangsteerLM(
            plan.model or self.model,
            tasks={name: info},
            processors=plan.processors,
            writer=self.writer,
        )

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
                **({"engine": answers.engine} if answers.engine is not None else {}),
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
            if not isinstance(error, LangsteerError):
                logger.debug("%s failed", chosen.name, exc_info=True)
            key = (self.name, self.benchmark.name, self.language, chosen.name)
            self.tell(Failure(*key, one_line(error)))
            return None
