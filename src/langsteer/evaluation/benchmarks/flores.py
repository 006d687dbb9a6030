"""FLORES-200: translation to and from English (NLLB Team, arXiv 2207.04672).

Scored with chrF++ and spBLEU (Goyal et al., arXiv 2106.03193), of the corpus and of each sentence.
"""

import functools
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from langsteer.errors import BenchmarkError, MissingExtraError
from langsteer.evaluation.benchmarks.common import Benchmark, Doc, harness_config, hub_rows
from langsteer.evaluation.benchmarks.files import lines
from langsteer.evaluation.benchmarks.flores_codes import FLORES
from langsteer.text.languages import language_name

TITLE, HUB = "FLORES-200", "facebook/flores"
LAYOUT = "flores200/{dev,devtest}/<code>.{dev,devtest}, e.g. flores200/dev/swh_Latn.dev"
PARTS = {"development": "dev", "test": "devtest"}
FOLDERS = ("flores200", "flores", "flores200_dataset")
SPBLEU_TOKENIZER = "flores200"


def sentences(folder: Path, tag: str, part: str) -> list[str]:
    """The lines of one language in the published folder."""
    split = PARTS[part]
    path = folder / split / f"{FLORES[tag]}.{split}"
    found = [line.strip() for _, line in lines(path, LAYOUT)]
    for number, line in enumerate(found, 1):
        if not line:
            raise BenchmarkError(f"{path}, line {number}: empty, expected a sentence")
    return found


def fetched(tag: str, part: str) -> list[str]:
    """The same from the hub."""
    rows = hub_rows(TITLE, HUB, FLORES[tag], PARTS[part], LAYOUT)
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


def _reader(to_english: bool) -> Callable[[Path, str, str], list[Doc]]:
    def read(folder: Path, tag: str, part: str) -> list[Doc]:
        pair = sentences(folder, tag, part), sentences(folder, "en", part)
        return _docs(*(pair if to_english else pair[::-1]), f"{TITLE} ({tag})")

    return read


def _fetcher(to_english: bool) -> Callable[[str, str], list[Doc]]:
    def fetch(tag: str, part: str) -> list[Doc]:
        pair = fetched(tag, part), fetched("en", part)
        return _docs(*(pair if to_english else pair[::-1]), f"{TITLE} ({tag})")

    return fetch


def _configurer(to_english: bool) -> Callable[[str, str], dict[str, Any]]:
    def config(tag: str, form: str) -> dict[str, Any]:
        """The harness's Spanish task with another language's name."""
        pair = language_name(tag), "English"
        source, target = pair if to_english else pair[::-1]
        return harness_config("spanish_bench/flores_es/flores_es-en.yaml") | {
            "doc_to_text": f"{source} sentence: {{{{text}}}}\n{target} sentence:",
            "doc_to_target": "{{reference}}",
            **scored(),
        }

    return config


def scored() -> dict[str, Any]:
    """The keys of a task that is scored with chrF++ and, where its tokenizer is here, spBLEU."""
    found: dict[str, tuple[Any, Any]] = {"chrf++": ("chrf++", _sentence_chrf)}
    if _bleu() is not None:
        found["spbleu"] = (_corpus_spbleu, _sentence_spbleu)

    def process_results(doc: Doc, results: list[str]) -> dict[str, Any]:
        pair = doc["reference"], results[0].strip()
        values: dict[str, Any] = {}
        for name, (_, of_sentence) in found.items():
            values |= {name: pair, f"sentence_{name}": of_sentence(*pair)}
        return values

    metrics = []
    for name, (of_corpus, _) in found.items():
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


def _sentence_chrf(reference: str, answer: str) -> float:
    return float(_sacrebleu().sentence_chrf(answer, [reference], word_order=2).score)


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


def _benchmark(to_english: bool) -> Benchmark:
    return Benchmark(
        name="flores_to_english" if to_english else "flores_from_english",
        title=f"{TITLE}, {'to' if to_english else 'from'} English",
        hub=HUB,
        kind="generate",
        metric="chrf++",
        codes={tag: code for tag, code in FLORES.items() if tag != "en"},
        source=("text",) if to_english else (),
        answers=(),
        forms=("english",),
        parts=PARTS,
        layout=LAYOUT,
        read=_reader(to_english),
        fetch=_fetcher(to_english),
        config=_configurer(to_english),
        instructions={
            "en": "Translate the sentence to English."
            if to_english
            else "Translate the English sentence."
        },
        folders=FOLDERS,
        item_metric="sentence_chrf++",
    )


FLORES_TO_ENGLISH = _benchmark(True)
FLORES_FROM_ENGLISH = _benchmark(False)
