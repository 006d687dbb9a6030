"""Benchmarks in many languages, asked through the lm-evaluation-harness.

>>> benchmark = get_benchmark("sib200")
>>> from pathlib import Path
>>> docs = load_docs(benchmark, "sw", "test", Path("data"))  # doctest: +SKIP
>>> task = make_task(benchmark, "sw", docs)  # doctest: +SKIP
"""

from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks.belebele import BELEBELE
from langsteer.evaluation.benchmarks.common import Benchmark, Doc
from langsteer.evaluation.benchmarks.flores import FLORES_FROM_ENGLISH, FLORES_TO_ENGLISH
from langsteer.evaluation.benchmarks.global_mmlu import GLOBAL_MMLU
from langsteer.evaluation.benchmarks.language_confusion import (
    LANGUAGE_CONFUSION,
    LANGUAGE_CONFUSION_CROSSLINGUAL,
    LANGUAGE_CONFUSION_FLORES,
)
from langsteer.evaluation.benchmarks.loading import load_docs, load_translations, nearest
from langsteer.evaluation.benchmarks.mgsm import MGSM
from langsteer.evaluation.benchmarks.pawsx import PAWSX
from langsteer.evaluation.benchmarks.sib200 import SIB200
from langsteer.evaluation.benchmarks.task import make_task
from langsteer.evaluation.benchmarks.xcopa import XCOPA
from langsteer.evaluation.benchmarks.xlsum import XLSUM
from langsteer.evaluation.benchmarks.xnli import XNLI
from langsteer.evaluation.benchmarks.xquad import XQUAD
from langsteer.evaluation.benchmarks.xstorycloze import XSTORYCLOZE

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "Doc",
    "get_benchmark",
    "load_docs",
    "load_translations",
    "make_task",
]

_ALL = (
    SIB200,
    XCOPA,
    XNLI,
    PAWSX,
    XSTORYCLOZE,
    BELEBELE,
    GLOBAL_MMLU,
    MGSM,
    XQUAD,
    FLORES_TO_ENGLISH,
    FLORES_FROM_ENGLISH,
    XLSUM,
    LANGUAGE_CONFUSION,
    LANGUAGE_CONFUSION_CROSSLINGUAL,
    LANGUAGE_CONFUSION_FLORES,
)
BENCHMARKS: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in _ALL}


def get_benchmark(name: str) -> Benchmark:
    """The benchmark of this name; BenchmarkError, with the nearest names, where there is none."""
    try:
        return BENCHMARKS[name]
    except KeyError:
        raise BenchmarkError(
            f"there is no benchmark {name!r}{nearest(name, list(BENCHMARKS))}"
        ) from None
