"""The parallel text that the methods of a comparison fit on, which holds nothing that is asked."""

import functools
from collections.abc import Sequence

from langsteer.errors import CompareError, CorpusError
from langsteer.evaluation.benchmarks import Benchmark, Doc
from langsteer.evaluation.harness.spans import texts_of
from langsteer.text.corpus import ParallelCorpus, plain
from langsteer.text.readers import read_corpus


def fit_corpus(path: str, lines: int | None, *languages: str) -> ParallelCorpus:
    """Checked parallel text of languages and English; with `lines`, that many, spread evenly."""
    return _read_corpus(path, languages).some(lines)


@functools.lru_cache(maxsize=64)
def _read_corpus(path: str, languages: tuple[str, ...]) -> ParallelCorpus:
    return read_corpus(path, list(languages))


def has_text(path: str, language: str) -> bool:
    """Whether there is text of a language to fit on."""
    try:
        return bool(fit_corpus(path, None, language))
    except CorpusError:
        return False


def check_apart(benchmark: Benchmark, docs: Sequence[Doc], corpus: ParallelCorpus) -> None:
    """Raise CompareError where a text that is asked stands in the text to fit on."""
    fitted = {plain(line) for lines in corpus.texts.values() for line in lines}
    for doc in docs:
        if any(plain(text) in fitted for text in texts_of(doc, benchmark.source)):
            raise CompareError(
                f"{corpus.name} holds text of {benchmark.title} (item {doc['id']}): fit on other "
                "text than is reported on"
            )
