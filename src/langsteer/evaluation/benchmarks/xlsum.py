"""XL-Sum's scores (Hasan et al., arXiv 2106.13822).

ROUGE over words, and over characters in scripts that do not separate words.
"""

import functools
from typing import Any

import regex

from langsteer.errors import MissingExtraError
from langsteer.evaluation.benchmarks.common import Doc, mean_metric

METRICS = ("rougeL", "rouge1", "rouge2")
_TOKEN = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]\p{M}*|[\p{L}\p{M}\p{N}]+"
)


def scores(tag: str) -> dict[str, Any]:
    """The keys of a task that is scored with ROUGE."""
    rouge_scorer()
    return {"process_results": _scores, "metric_list": mean_metric(*METRICS)}


@functools.cache
def rouge_scorer() -> Any:
    """rouge-score's scorer; its own tokenizer drops all but a to z."""
    try:
        from rouge_score import rouge_scorer as rouge
    except ImportError as error:
        raise MissingExtraError("summary scores", "rouge-score", "eval") from error
    return rouge.RougeScorer(list(METRICS), tokenizer=_Words())


class _Words:
    def tokenize(self, text: str) -> list[str]:
        return list(_TOKEN.findall(text.lower()))


def _scores(doc: Doc, results: list[str]) -> dict[str, float]:
    scores = rouge_scorer().score(doc["summary"], results[0].strip())
    return {name: float(scores[name].fmeasure) for name in METRICS}
