"""Benchmarks in many languages, asked through the lm-evaluation-harness.

>>> benchmark = get_benchmark("sib200")
>>> from pathlib import Path
>>> docs = load_docs(benchmark, "sw", "test", Path("data"))  # doctest: +SKIP
>>> task = make_task(benchmark, "sw", docs)  # doctest: +SKIP

Each is a YAML file in `tasks`; `get_benchmark(name, files)` knows one's own files too.
"""

from langsteer.evaluation.benchmarks.common import Benchmark, Doc
from langsteer.evaluation.benchmarks.loading import load_docs, load_translations
from langsteer.evaluation.benchmarks.registry import BENCHMARKS, get_benchmark, registry
from langsteer.evaluation.benchmarks.task import make_task

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "Doc",
    "get_benchmark",
    "load_docs",
    "load_translations",
    "make_task",
    "registry",
]
