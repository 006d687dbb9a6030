"""langsteer's scoring against the harness's own models, on the same items: speed and equality.

    python -m benchmarks.harness_speed [TASK ...]

`sib200`, `xcopa` and `xcopa_english`, or some of them; results of the others are kept. Reads SIB-200 and XCOPA from ../shared/data beside the checkout. `hf` is run at several batch sizes, and the
fastest counts; how often both multiply is counted in runs of their own. Equality to `hf` and `steered` is on three benchmarks.
"""

import json
import logging
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lm_eval.models.hf_steered import SteeredModel
from lm_eval.models.huggingface import HFLM
from torch.utils.flop_counter import FlopCounterMode

import langsteer
from benchmarks.common import RESULTS, SHARED, report
from langsteer.evaluation.benchmarks import get_benchmark, load_docs, make_task
from langsteer.evaluation.harness.model import LangsteerLM
from langsteer.evaluation.harness.tasks import TaskInfo, run_tasks
from langsteer.progress import show_progress
from langsteer.steering.vector import SteeringVector

ITEMS = 200
BATCH_SIZES = (1, 4, 8)
TASKS = {"sib200": ("sw", "english"), "xcopa": ("tr", "native"), "xcopa_english": ("et", "english")}


@dataclass(frozen=True)
class Run:
    """Seconds, accuracy and log-likelihoods [items][choices] of one model on one task."""

    seconds: float
    accuracy: float
    scores: list[list[float]]


def run(lm: Any, task: Any, name: str) -> Run:
    start = time.perf_counter()
    outcome = run_tasks(lm, {name: task})
    seconds = time.perf_counter() - start
    samples = outcome["samples"][name]
    scores = [[value for value, _ in sample["filtered_resps"]] for sample in samples]
    return Run(seconds, sum(sample["acc"] for sample in samples) / len(samples), scores)


def operations(lm: Any, task: Any, name: str) -> int:
    """Floating-point operations of all matrix products and attention."""
    with FlopCounterMode(display=False) as counter:
        run_tasks(lm, {name: task})
    return int(counter.get_total_flops())


def compared(ours: Run, theirs: Run) -> dict[str, Any]:
    largest = max(
        abs(a - b)
        for mine, yours in zip(ours.scores, theirs.scores, strict=True)
        for a, b in zip(mine, yours, strict=True)
    )
    same = [
        mine.index(max(mine)) == yours.index(max(yours))
        for mine, yours in zip(ours.scores, theirs.scores, strict=True)
    ]
    return {"largest_difference": largest, "same_decisions": sum(same), "items": len(same)}


def hf(model: langsteer.Model, batch_size: int) -> HFLM:
    return HFLM(pretrained=model.network, tokenizer=model.tokenizer, batch_size=batch_size)


def steered_model(model: langsteer.Model, vector: SteeringVector, folder: Path) -> SteeredModel:
    """The harness's own `steered`, with the same vector, on the network that is in memory."""
    hook = f"layers.{vector.layer}"
    part = {
        "steering_vector": vector.values[None],
        "action": "add",
        "steering_coefficient": vector.strength,
    }
    torch.save({hook: part}, folder / "steer.pt")
    return SteeredModel(
        pretrained=model.network,
        steer_path=str(folder / "steer.pt"),
        tokenizer=model.tokenizer,
        batch_size=8,
        add_bos_token=False,
    )


def main() -> None:
    file = RESULTS / "harness_speed.json"
    results: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    results |= {"items": ITEMS, "batch_sizes_of_hf": BATCH_SIZES}
    logging.disable(logging.WARNING)
    show_progress(False)
    model = langsteer.load_model()
    for name in sys.argv[1:] or TASKS:
        language, form = TASKS[name]
        benchmark = get_benchmark(name.removesuffix("_english"))
        docs = load_docs(benchmark, language, "test", SHARED)[:ITEMS]
        task = make_task(benchmark, language, docs, form=form, name=name)
        info = {name: TaskInfo(language, benchmark.source)}
        run_tasks(LangsteerLM(model, tasks=info), {name: task}, limit=8)  # warm up
        ours = run(LangsteerLM(model, tasks=info), task, name)
        theirs = {size: run(hf(model, size), task, name) for size in BATCH_SIZES}
        size = min(theirs, key=lambda size: theirs[size].seconds)
        fastest = theirs[size].seconds
        fewer = operations(hf(model, size), task, name) / operations(
            LangsteerLM(model, tasks=info), task, name
        )
        results[name] = {
            "language": language,
            "form": form,
            "accuracy": ours.accuracy,
            "seconds": ours.seconds,
            "seconds_of_hf": {str(size): run_of_hf.seconds for size, run_of_hf in theirs.items()},
            "times_faster_than_the_fastest_hf": fastest / ours.seconds,
            "times_fewer_operations_than_the_fastest_hf": fewer,
            "against_hf": {
                str(size): compared(ours, run_of_hf) for size, run_of_hf in theirs.items()
            },
            "hf_against_itself": compared(theirs[BATCH_SIZES[0]], theirs[BATCH_SIZES[-1]]),
            "against_steered": against_steered(model, task, name, language, info),
        }
        print(name, results[name], flush=True)
    results.pop("machine", None)
    report("harness_speed", results)


def against_steered(
    model: langsteer.Model, task: Any, name: str, language: str, info: dict[str, TaskInfo]
) -> dict[str, Any]:
    """The same vector at every token. Without the beginning-of-sequence token, which only they steer."""
    vector = random_vector(model, language)
    with tempfile.TemporaryDirectory() as folder:
        theirs = run(steered_model(model, vector, Path(folder)), task, name)
    return compared(run(steered_as_theirs(model, vector, info), task, name), theirs)


def random_vector(model: langsteer.Model, language: str) -> SteeringVector:
    owner = {"name": model.name, "fingerprint": model.fingerprint}
    norm = torch.randn(model.hidden_size, generator=torch.Generator().manual_seed(0))
    layer = round(8 / 18 * model.layers)
    return SteeringVector(norm * 20, layer, language, "en", owner, "random", positions="all")


def steered_as_theirs(
    model: langsteer.Model, vector: SteeringVector, info: dict[str, TaskInfo]
) -> LangsteerLM:
    """langsteer's model, doing what `steered_model` does."""
    vectors = {vector.language: vector}
    return LangsteerLM(model, vectors=vectors, add_bos_token=False, tasks=info)


if __name__ == "__main__":
    main()
