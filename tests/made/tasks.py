"""Tasks of the harness over items of one's own."""

from pathlib import Path
from typing import Any

from langsteer.evaluation.benchmarks.common import Doc


def asked(task: Any, limit: int | None = None) -> list[tuple[Any, ...]]:
    """The requests' arguments."""
    task.build_all_requests(limit=limit)
    return [request.args for request in task.instances]


def harness_task(path: str, docs: list[Doc], examples: list[Doc], shots: int) -> Any:
    """A task of the harness from its own file, over these docs."""
    import lm_eval.tasks
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    data = {"asked": Dataset.from_list(docs), "shown": Dataset.from_list(examples)}
    config = load_yaml(Path(lm_eval.tasks.__file__).parent / path)
    config = {k: v for k, v in config.items() if k not in ("tag", "training_split", "dataset_name")}
    return ConfigurableTask(
        config=config
        | {
            "custom_dataset": lambda **_: data,
            "validation_split": None,
            "test_split": "asked",
            "fewshot_split": None,
            "num_fewshot": shots,
            "fewshot_config": {"split": "shown", "sampler": "first_n"},
        }
    )
