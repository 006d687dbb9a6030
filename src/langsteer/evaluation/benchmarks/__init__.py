"""Benchmarks in many languages, asked through the lm-evaluation-harness.

>>> benchmark = get_benchmark("sib200")
>>> from pathlib import Path
>>> docs = load_docs(benchmark, "sw", "test", Path("data"))  # doctest: +SKIP
>>> task = make_task(benchmark, "sw", docs)  # doctest: +SKIP
"""

from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks.common import Benchmark, Doc
from langsteer.evaluation.benchmarks.loading import load_docs, load_translations, nearest
from langsteer.evaluation.benchmarks.sib200 import SIB200
from langsteer.evaluation.benchmarks.task import make_task
from langsteer.evaluation.benchmarks.xcopa import XCOPA

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "Doc",
    "get_benchmark",
    "load_docs",
    "load_translations",
    "make_task",
]

BENCHMARKS: dict[str, Benchmark] = {b.name: b for b in (SIB200, XCOPA)}


def get_benchmark(name: str) -> Benchmark:
    """The benchmark of this name; BenchmarkError, with the nearest names, where there is none."""
    try:
        return BENCHMARKS[name]
    except KeyError:
        raise BenchmarkError(
            f"there is no benchmark {name!r}{nearest(name, list(BENCHMARKS))}"
        ) from None
