"""Settings of evaluation methods, and what they would ask."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from langsteer.evaluation.benchmarks import get_benchmark, make_task
from langsteer.evaluation.methods import Plan, Setting
from langsteer.model.model import Model
from tests.helpers import pairs


def setting(model: Model, data: Path, benchmark: str = "sib200", **changes: Any) -> Setting:
    base = Setting(model, get_benchmark(benchmark), "sw", pairs(60), data.parent / "work", data)
    return replace(base, **changes)


def prompts_of(plan: Plan, given: Setting) -> list[str]:
    """What the harness would put before the answers."""
    task = make_task(
        given.benchmark,
        plan.language,
        plan.docs,
        form=plan.form,
        shots=plan.shots,
        examples=plan.examples,
        config=plan.config,
    )
    return [task.fewshot_context(doc, plan.shots) for doc in task.test_docs()]
