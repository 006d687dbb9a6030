"""Scoring benchmarks: the harness's own models against langsteer's, with the functions of benchmarks.harness_speed."""

import functools
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import SHARED
from benchmarks.harness_speed import (
    BATCH_SIZES,
    TASKS,
    Run,
    compared,
    hf,
    random_vector,
    run,
    steered_as_theirs,
    steered_model,
)
from benchmarks.peers.part import Part, Peer
from langsteer.evaluation.benchmarks import get_benchmark, load_docs, make_task
from langsteer.evaluation.harness.model import LangsteerLM
from langsteer.evaluation.harness.tasks import TaskInfo
from langsteer.model.model import Model
from langsteer.text.corpus import spread


@dataclass(frozen=True, eq=False)
class Case:
    model: Model
    name: str
    language: str
    task: Any
    info: dict[str, TaskInfo]


def make(model: Model, settings: Mapping[str, Any]) -> Case:
    name = settings["task"]
    language, form = TASKS[name]
    benchmark = get_benchmark(name.removesuffix("_english"))
    docs = load_docs(benchmark, language, "test", SHARED)
    docs = [docs[i] for i in spread(len(docs), settings["items"])]
    task = make_task(benchmark, language, docs, form=form, name=name)
    return Case(model, name, language, task, {name: TaskInfo(language, benchmark.source)})


def ours(case: Case) -> Run:
    return run(LangsteerLM(case.model, tasks=case.info), case.task, case.name)


def by_hf(case: Case, batch_size: int) -> Run:
    return run(hf(case.model, batch_size), case.task, case.name)


def by_steered(case: Case) -> Run:
    vector = random_vector(case.model, case.language)
    with tempfile.TemporaryDirectory() as folder:
        return run(steered_model(case.model, vector, Path(folder)), case.task, case.name)


def ours_steered(case: Case) -> Run:
    vector = random_vector(case.model, case.language)
    return run(steered_as_theirs(case.model, vector, case.info), case.task, case.name)


def compare(theirs: Run, own: Run) -> dict[str, Any]:
    told = compared(own, theirs)
    return told | {"largest_difference": float(f"{told['largest_difference']:.2g}")}


PEERS = {
    **{
        f"hf, batches of {size}": Peer("unsteered", functools.partial(by_hf, batch_size=size))
        for size in BATCH_SIZES
    },
    "steered, batches of 8": Peer("the same vector at every token", by_steered, ours_steered),
}
FEW, MANY = 12, 100  # items
FASTEST = "hf, batches of 8"  # of benchmarks.harness_speed, on all three tasks
PARTS = {
    f"scoring-{name}": Part(name, {"task": name, "items": FEW}, make, ours, PEERS, compare)
    for name in TASKS
} | {
    f"scoring-{name}-many": Part(
        f"{name}, {MANY} items",
        {"task": name, "items": MANY},
        make,
        ours,
        {FASTEST: PEERS[FASTEST]},
        compare,
    )
    for name in TASKS
}
