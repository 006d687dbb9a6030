"""FLORES-200: translation to and from English (NLLB Team, arXiv 2207.04672).

Scored with chrF++ and spBLEU (Goyal et al., arXiv 2106.03193), of the corpus and of each sentence.
"""

import functools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langsteer.errors import BenchmarkError, MissingExtraError
from langsteer.evaluation.benchmarks.common import Doc, rows_on_hub
from langsteer.evaluation.benchmarks.files import lines
from langsteer.evaluation.benchmarks.flores_codes import FLORES
from langsteer.evaluation.written import sentence_chrf
from langsteer.text.languages import parse_tag

TITLE, HUB = "FLORES-200", "facebook/flores"
LAYOUT = "flores200/{dev,devtest}/<code>.{dev,devtest}, e.g. flores200/dev/swh_Latn.dev"
PARTS = {"development": "dev", "test": "devtest"}
SPBLEU_TOKENIZER = "flores200"


def sentences(folder: Path, tag: str, part: str) -> list[str]:
    """The lines of one language in the published folder."""
    split = PARTS[part]
    path = folder / split / f"{FLORES[tag]}.{split}"
    texts = [line.strip() for _, line in lines(path, LAYOUT)]
    for number, line in enumerate(texts, 1):
        if not line:
            raise BenchmarkError(f"{path}, line {number}: empty, expected a sentence")
    return texts


def fetched(tag: str, part: str) -> list[str]:
    """The same from the hub."""
    rows = rows_on_hub(TITLE, HUB, FLORES[tag], PARTS[part], LAYOUT)
    return [str(row["sentence"]) for row in rows]


def _docs(source: Sequence[str], reference: Sequence[str], where: str) -> list[Doc]:
    if len(source) != len(reference):
        raise BenchmarkError(
            f"{where}: {len(source)} lines against {len(reference)}: the files are not parallel"
        )
    return [
        {"id": str(i), "text": text, "reference": right}
        for i, (text, right) in enumerate(zip(source, reference, strict=True), 1)
    ]


def read_to_english(folder: Path, code: str, part: str) -> list[Doc]:
    return _read(folder, parse_tag(code), "en", part)


def read_from_english(folder: Path, code: str, part: str) -> list[Doc]:
    return _read(folder, "en", parse_tag(code), part)


def _read(folder: Path, source: str, target: str, part: str) -> list[Doc]:
    texts = sentences(folder, source, part), sentences(folder, target, part)
    return _docs(*texts, f"{TITLE} ({source if target == 'en' else target})")


def fetch_to_english(code: str, part: str) -> list[Doc]:
    return _fetch(parse_tag(code), "en", part)


def fetch_from_english(code: str, part: str) -> list[Doc]:
    return _fetch("en", parse_tag(code), part)


def _fetch(source: str, target: str, part: str) -> list[Doc]:
    texts = fetched(source, part), fetched(target, part)
    return _docs(*texts, f"{TITLE} ({source if target == 'en' else target})")


def scores(tag: str) -> dict[str, Any]:
    """The keys of a task that is scored with chrF++ and, where its tokenizer is here, spBLEU."""
    measures: dict[str, tuple[Any, Any]] = {"chrf++": ("chrf++", sentence_chrf)}
    if _bleu() is not None:
        measures["spbleu"] = (_corpus_spbleu, _sentence_spbleu)

    def process_results(doc: Doc, results: list[str]) -> dict[str, Any]:
        pair = doc["reference"], results[0].strip()
        values: dict[str, Any] = {}
        for name, (_, of_sentence) in measures.items():
            values |= {name: pair, f"sentence_{name}": of_sentence(*pair)}
        return values

    metrics = []
    for name, (of_corpus, _) in measures.items():
        metrics += [
            {"metric": name, "aggregation": of_corpus, "higher_is_better": True},
            {"metric": f"sentence_{name}", "aggregation": "mean", "higher_is_better": True},
        ]
    return {"process_results": process_results, "metric_list": metrics}


def _sacrebleu() -> Any:
    try:
        import sacrebleu
    except ImportError as error:
        raise MissingExtraError("translation scores", "sacrebleu", "eval") from error
    return sacrebleu


@functools.cache
def _bleu() -> Any:
    """sacrebleu's BLEU over FLORES-200's pieces; None where their model cannot be had."""
    sacrebleu = _sacrebleu()
    try:
        return sacrebleu.BLEU(tokenize=SPBLEU_TOKENIZER, effective_order=True)
    except (Exception, SystemExit) as error:  # sacrebleu leaves the program on a bad download
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        warnings.warn(
            f"spBLEU is left out: its tokenizer could not be loaded ({reason})", stacklevel=2
        )
        return None


def _sentence_spbleu(reference: str, answer: str) -> float:
    return float(_bleu().sentence_score(answer, [reference]).score)


def _corpus_spbleu(items: Sequence[tuple[str, str]]) -> float:
    references, answers = zip(*items, strict=True)
    corpus = _sacrebleu().BLEU(tokenize=SPBLEU_TOKENIZER)
    return float(corpus.corpus_score(list(answers), [list(references)]).score)
