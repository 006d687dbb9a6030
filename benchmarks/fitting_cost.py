"""What it costs to fit a mean difference at every layer: against two plain passes over the same batches.

    python -m benchmarks.fitting_cost

500 pairs: the built-in corpus, Swahili and English, with the first 80 lines twice. The memory is that of a
process of its own: its peak while fitting over what the loaded model takes.
"""

import json
import subprocess
import sys

import psutil

import langsteer
from benchmarks.common import paired, plain_passes, report
from langsteer.fitting import mean_difference
from langsteer.model.tokens import encode
from langsteer.progress import show_progress
from langsteer.text.corpus import ParallelCorpus

PAIRS = 500
ROUNDS = 3


def corpus() -> ParallelCorpus:
    builtin = langsteer.builtin("sw")
    return builtin.lines(i % len(builtin) for i in range(PAIRS))


def encoded_passes(model: langsteer.Model, pairs: ParallelCorpus) -> None:
    """The backbone alone, over the batches that a fit reads; tokenising is in both."""
    plain_passes(model, (encode(model, lines) for lines in pairs.texts.values()))


def fit(model: langsteer.Model, pairs: ParallelCorpus) -> None:
    mean_difference.fit_layers(model, pairs, range(model.layers))


def peak_memory() -> dict[str, float]:
    """In a new process: the model's memory once loaded, and the peak while fitting, in bytes."""
    command = [sys.executable, "-m", "benchmarks.fitting_cost", "memory"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(json.loads(output.splitlines()[-1]))


def print_memory() -> None:
    show_progress(False)
    model = langsteer.load_model()
    for parameter in model.network.parameters():  # a mapped file is in memory once it is read
        parameter.sum()
    loaded = psutil.Process().memory_info().rss
    fit(model, corpus())
    with open("/proc/self/status", encoding="utf-8") as file:
        peak = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    print(json.dumps({"loaded": loaded, "peak": peak, "ratio": peak / loaded}))


def main() -> None:
    show_progress(False)
    memory = peak_memory()
    model, pairs = langsteer.load_model(), corpus()
    ratio = paired(lambda: fit(model, pairs), lambda: encoded_passes(model, pairs), ROUNDS, warm=0)
    report(
        "fitting_cost",
        {"pairs": PAIRS, "layers": model.layers, "ratio": ratio, "memory": memory},
    )


if __name__ == "__main__":
    print_memory() if sys.argv[1:] == ["memory"] else main()
