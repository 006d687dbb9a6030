"""A plan's questions: put to a model through the harness, and what came back, item by item."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langsteer.evaluation.benchmarks import Benchmark, make_task
from langsteer.evaluation.comparison.cells import Item
from langsteer.evaluation.harness.model import LangsteerLM
from langsteer.evaluation.harness.spans import texts_of
from langsteer.evaluation.harness.tasks import TaskInfo, run_tasks
from langsteer.evaluation.methods import Plan


@dataclass(frozen=True)
class Answers:
    """What a model said to a plan's questions, and what that took; `engine` says who wrote it, where
    that was not to be transformers.
    """

    items: Sequence[Item]
    harness: Mapping[str, float]
    tokens: int
    seconds: float
    peak_bytes: int
    missed: int = 0
    engine: Mapping[str, Any] | None = None


def ask(
    lm: LangsteerLM, benchmark: Benchmark, plan: Plan, name: str
) -> tuple[list[Item], dict[str, float]]:
    """Put a plan's questions to a model through the harness: items, and the harness's own scores."""
    task = make_task(
        benchmark,
        plan.language,
        plan.docs,
        form=plan.form,
        shots=plan.shots,
        examples=plan.examples,
        config=plan.config,
        name=name,
    )
    outcome = run_tasks(lm, {name: task})
    items = [
        _item(benchmark, task, sample)
        for sample in outcome["samples"][name]
        if sample["filter"] == benchmark.filter
    ]
    scores = {
        key.removesuffix(",none"): float(value)
        for key, value in outcome["results"][name].items()
        if isinstance(value, float) and "stderr" not in key and math.isfinite(value)
    }
    return items, scores


def task_info(benchmark: Benchmark, language: str, plan: Plan) -> TaskInfo:
    """Which texts of a plan's prompts are in the language: those of the items and examples."""
    shown = plan.examples if plan.examples_language in (None, language) else ()
    examples = [text for doc in shown for text in texts_of(doc, benchmark.source)]
    return TaskInfo(language, tuple(benchmark.source), tuple(examples))


def question_key(plan: Plan) -> str:
    """A hash that is the same for plans that put the same questions."""
    config = {key: _named(value) for key, value in plan.config.items()}
    examples = [doc["id"] for doc in plan.examples]
    docs = [json.dumps(doc, sort_keys=True, default=str) for doc in plan.docs]
    asked = [plan.language, plan.form, plan.shots, examples, config, docs]
    return hashlib.sha256(json.dumps(asked, default=str).encode()).hexdigest()


def _named(value: Any) -> Any:
    return id(value) if callable(value) else value


def _item(benchmark: Benchmark, task: Any, sample: Mapping[str, Any]) -> Item:
    name = str(sample["doc"]["id"])
    if benchmark.kind == "choice":
        scores = tuple(float(value) for value, _ in sample["filtered_resps"])
        return Item(name, target=_target(task, sample), scores=scores)
    value = float(sample[benchmark.item_metric or benchmark.metric])
    return Item(
        name,
        target=str(sample["target"]),
        value=0.0 if math.isnan(value) else value,  # an answer in which there is nothing to judge
        answer=str(sample["filtered_resps"][0]),
    )


def _target(task: Any, sample: Mapping[str, Any]) -> int:
    target = sample["target"]
    if isinstance(target, int):
        return target
    choices = [str(choice).strip() for choice in task.doc_to_choice(sample["doc"])]
    if str(target).strip() in choices:
        return choices.index(str(target).strip())
    return int(target)
