"""Tasks of the harness over items of one's own."""

import hashlib
import json
from pathlib import Path
from typing import Any

from langsteer.evaluation.benchmarks import Doc, get_benchmark, load_docs, make_task
from tests.made.published import WRITERS
from tests.made.topics import TOPICS


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


def sib(count: int = 3, **changes: object) -> list[Doc]:
    """Items of SIB-200."""
    return [
        {"id": str(i), "index_id": i, "category": TOPICS[i % 7], "text": f"Text {i}."} | changes
        for i in range(count)
    ]


COPA = {
    "premise": "A.",
    "choice1": "B.",
    "choice2": "C.",
    "question": "cause",
    "label": 0,
    "idx": 0,
}


def fingerprint(task: Any, docs: list[Doc]) -> str:
    """A hash of all that a task asks of these items, how it is answered and scored."""
    targets = [task.doc_to_target(doc) for doc in docs if task.config.doc_to_choice is not None]
    asks = [asked(task), targets, task.config.target_delimiter, [doc["id"] for doc in docs]]
    scored = [sorted(task._metric_fn_list), task.config.generation_kwargs]
    text = json.dumps([asks, scored], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def fingerprints(name: str, folder: Path) -> dict[str, str]:
    """Those of a benchmark's invented files, by language, part and form."""
    WRITERS[name][0](folder)
    benchmark, prints = get_benchmark(name), {}
    for tag in WRITERS[name][1]:
        for part in benchmark.parts:
            if (name, part) == ("xnli", "train"):
                continue
            docs = load_docs(benchmark, tag, part, folder)
            for form in benchmark.forms_of(tag):
                task = make_task(benchmark, tag, docs, form=form)
                prints[f"{name}/{tag}/{part}/{form}"] = fingerprint(task, docs)
    return prints
