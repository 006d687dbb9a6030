"""Measure vectors on tasks of the harness, or on benchmarks: unsteered beside steered, item by item."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks import Benchmark, load_docs, make_task, registry
from langsteer.evaluation.harness.coverage import Coverage
from langsteer.evaluation.harness.engine import EngineWriter
from langsteer.evaluation.harness.model import LangsteerLM
from langsteer.evaluation.harness.scoring import Change
from langsteer.evaluation.harness.shown import ShownItem, shown_items
from langsteer.evaluation.harness.task_names import language_in_name
from langsteer.evaluation.harness.tasks import (
    TaskInfo,
    language_of_docs,
    language_of_task,
    run_tasks,
)
from langsteer.evaluation.statistics import Interval, difference, paired_bootstrap
from langsteer.model.model import Model
from langsteer.progress import announce
from langsteer.steering.folder import changes_by_language
from langsteer.text.languages import parse_tag

UNSTEERED, STEERED = "unsteered", "steered"


@dataclass(frozen=True)
class TaskResult:
    """A task's score without and with a vector, the mean over its items, and their difference.

    `missed` counts the items of which the vector touched no token. `engine` says who wrote the
    answers, unsteered and steered, where another engine than transformers was to.
    """

    task: str
    language: str
    metric: str
    items: int
    unsteered: float
    steered: float
    change: Interval
    missed: int = 0
    engine: Mapping[str, Any] | None = None


def evaluate(
    model: Model,
    tasks: Sequence[str],
    vectors: str | Path | Mapping[str, Change],
    *,
    languages: Sequence[str] = (),
    data: str | Path | None = None,
    form: str | None = None,
    limit: int | None = None,
    other_weights: bool = False,
    benchmark_files: Sequence[str | Path] = (),
    writer: EngineWriter | None = None,
) -> list[TaskResult]:
    """Score tasks without and with vectors, sharing what both need.

    `tasks` are benchmarks of langsteer (`sib200`, asked in `languages`, or in all that have a
    vector; `data` is a folder with them, None for the hub) or tasks of the harness (`xcopa_sw`).
    `benchmark_files` are YAML files with benchmarks of one's own, or folders with them. `writer` writes
    answers by another engine where it can; what is chosen is always scored by transformers.
    A task of the harness is in the language that its name surely tells, else in the one of
    `languages`, else in that of most of its texts; one without a vector is refused, and so is one
    in which its vector touches no token of any item. Raises BenchmarkError, VectorError, or
    StateError for scores that are no numbers.
    """
    lm, loaded, changes = _opened(
        model, tasks, vectors, languages, data, form, limit, other_weights, benchmark_files, writer
    )
    return [
        _evaluated(lm, name, task, changes[info.language or ""], info.language or "", limit)
        for name, (task, info) in loaded.items()
    ]


def show_tokens(
    model: Model,
    tasks: Sequence[str],
    vectors: str | Path | Mapping[str, Change],
    *,
    items: int = 1,
    languages: Sequence[str] = (),
    data: str | Path | None = None,
    form: str | None = None,
    other_weights: bool = False,
    benchmark_files: Sequence[str | Path] = (),
) -> list[ShownItem]:
    """Which tokens of the first `items` of each task its vector acts on; arguments as of `evaluate`."""
    lm, loaded, changes = _opened(
        model, tasks, vectors, languages, data, form, items, other_weights, benchmark_files
    )
    return [
        shown
        for name, (task, info) in loaded.items()
        for tag in [info.language or ""]
        for shown in shown_items(lm, name, task, changes[tag], tag, items)
    ]


def _opened(
    model: Model,
    tasks: Sequence[str],
    vectors: str | Path | Mapping[str, Change],
    languages: Sequence[str],
    data: str | Path | None,
    form: str | None,
    limit: int | None,
    other_weights: bool,
    benchmark_files: Sequence[str | Path],
    writer: EngineWriter | None = None,
) -> tuple[LangsteerLM, dict[str, tuple[Any, TaskInfo]], dict[str, Change]]:
    """The harness's model, the tasks by name, and the changes by language."""
    if not tasks:
        raise BenchmarkError("name a benchmark or a task, such as --tasks sib200")
    changes = changes_by_language(vectors)
    wanted = [parse_tag(tag) for tag in languages] or list(changes)
    for tag in wanted:
        if tag not in changes:
            raise BenchmarkError(
                f"there is no vector for {tag!r}: there are {', '.join(sorted(changes))}"
            )
    loaded: dict[str, tuple[Any, TaskInfo]] = {}
    benchmarks = registry(benchmark_files)
    for name in tasks:
        if name in benchmarks:
            loaded |= _benchmark_tasks(
                benchmarks[name], wanted, Path(data) if data else None, form, limit
            )
        else:
            loaded |= _harness_tasks(name, changes, wanted if languages else [], list(benchmarks))
    lm = LangsteerLM(
        model,
        vectors=changes,
        other_weights=other_weights,
        tasks={name: info for name, (_, info) in loaded.items()},
        writer=writer,
    )
    return lm, loaded, changes


def _evaluated(
    lm: LangsteerLM, name: str, task: Any, change: Change, language: str, limit: int | None
) -> TaskResult:
    samples: dict[str, Any] = {}
    written: dict[str, Any] = {}
    if lm.engine is not None:
        lm.engine.forget()
    with lm.variants({UNSTEERED: None, STEERED: change}):
        for variant in (UNSTEERED, STEERED):
            lm.use(variant)
            samples[variant] = run_tasks(lm, {name: task}, limit)["samples"][name]
            if lm.engine is not None and (told := lm.engine.told(variant)) is not None:
                written[variant] = told
    if lm.engine is not None and not written:
        announce(f"{name}: answers are chosen, which transformers scores: no engine wrote any")
    metric = _main_metric(task, samples[UNSTEERED][0])
    before, after = (
        np.array([float(sample[metric]) for sample in samples[variant]])
        for variant in (UNSTEERED, STEERED)
    )
    return TaskResult(
        task=name,
        language=language,
        metric=metric,
        items=len(before),
        unsteered=float(before.mean()),
        steered=float(after.mean()),
        change=paired_bootstrap(difference, before, after),
        missed=lm.coverage.get((STEERED, name), Coverage()).missed,
        engine=written or None,
    )


def _main_metric(task: Any, sample: Mapping[str, Any]) -> str:
    """The first of a task's metrics that gives each item a number."""
    for name in sample["metrics"]:
        if isinstance(sample[name], int | float):
            return str(name)
    raise BenchmarkError(
        f"no metric of {task.config.task} gives a number an item ({', '.join(sample['metrics'])}), "
        "so that no interval can be given: run it with `langsteer lm-eval`"
    )


def _benchmark_tasks(
    benchmark: Benchmark,
    languages: Sequence[str],
    data: Path | None,
    form: str | None,
    limit: int | None,
) -> dict[str, tuple[Any, TaskInfo]]:
    asked = [tag for tag in languages if tag in benchmark.codes]
    if not asked:
        raise BenchmarkError(
            f"{benchmark.title} has none of the languages {', '.join(languages)}: it has "
            f"{', '.join(sorted(benchmark.codes))}"
        )
    if absent := [tag for tag in languages if tag not in asked]:
        announce(f"{benchmark.title} has no items in {', '.join(absent)}: not measured there")
    tasks = {}
    for tag in asked:
        docs = load_docs(benchmark, tag, "test", data)[:limit]
        task = make_task(benchmark, tag, docs, form=form, name=f"{benchmark.name}_{tag}")
        tasks[f"{benchmark.name}_{tag}"] = (task, TaskInfo(tag, tuple(benchmark.source)))
    return tasks


def _harness_tasks(
    name: str,
    changes: Mapping[str, Change],
    languages: Sequence[str],
    benchmarks: Sequence[str],
) -> dict[str, tuple[Any, TaskInfo]]:
    from lm_eval.tasks import TaskManager

    manager = TaskManager()
    if name not in manager.all_tasks:
        known = [*benchmarks, *manager.all_tasks]
        close = difflib.get_close_matches(name, known, 3)
        hint = f"; did you mean {', '.join(close)}?" if close else ""
        raise BenchmarkError(f"there is no task or benchmark {name!r}{hint}")
    try:
        loaded = manager.load([name])["tasks"]
    except Exception as error:  # the hub's client raises a dozen unrelated kinds
        raise BenchmarkError(
            f"the data of the task {name} cannot be loaded: {' '.join(str(error).split())[:300]}"
        ) from error
    tasks = {}
    for task_name, task in loaded.items():
        tag = _language(task_name, task, changes, languages)
        if tag is None:
            raise BenchmarkError(
                f"the task {task_name} names no language that has a vector "
                f"({', '.join(sorted(changes))}), and its texts are not surely in one: name it "
                "(languages=, --language)"
            )
        tasks[task_name] = (task, TaskInfo(tag))
    return tasks


def _language(
    name: str, task: Any, changes: Mapping[str, Change], languages: Sequence[str]
) -> str | None:
    """What a task's name tells, else the one of `languages`, else what most of its texts are in."""
    if language_in_name(name) is not None:
        return language_of_task(name, changes)
    if len(languages) == 1:
        return languages[0]
    docs = getattr(task, "eval_docs", None) or ()
    return language_of_docs(docs, name, changes)
