"""Load the items of a benchmark, from the hub or from a folder, and check them."""

import difflib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks.common import Benchmark, Doc
from langsteer.text.languages import language_name, parse_tag


def load_docs(
    benchmark: Benchmark, language: str, part: str, data: Path | None = None
) -> list[Doc]:
    """The items of one part in one language, in the publisher's order.

    An item's `id` is the same in every language; those outside the test part begin with the part's
    name, so that no two items of a benchmark share one.

    `data` is a folder that holds the published files, the data set's own or the one above it;
    None for the Hugging Face Hub. Raises BenchmarkError for a language or part that the benchmark
    lacks, and for files that are missing, damaged or at odds with the English ones beside them.
    """
    language = _known(benchmark, language, part)
    if data is None:
        docs = _checked(benchmark, benchmark.fetch(language, part), language)
        return _named_by_part(docs, part)
    folder = _folder(benchmark, Path(data))
    docs = _checked(benchmark, benchmark.read(folder, language, part), language)
    if benchmark.target is not None and language != "en" and "en" in benchmark.codes:
        _check_targets(benchmark, docs, language, _english(benchmark, folder, part))
    return _named_by_part(docs, part)


def load_translations(
    benchmark: Benchmark, language: str, part: str, data: Path | None = None
) -> list[Doc]:
    """The same items as the publisher translated them to English.

    Raises BenchmarkError where the benchmark has no such file.
    """
    if benchmark.translated is None:
        raise BenchmarkError(f"{benchmark.title} is published without translations to English")
    language = _known(benchmark, language, part)
    folder = None if data is None else _folder(benchmark, Path(data))
    docs = _checked(benchmark, benchmark.translated(folder, language, part), language)
    return _named_by_part(docs, part)


def nearest(name: str, names: Sequence[str]) -> str:
    """`; did you mean ...?`, or the whole list where nothing is near."""
    near = difflib.get_close_matches(name.lower(), names, 3, 0.5)
    if near:
        return f"; did you mean {' or '.join(map(repr, near))}?"
    return f"; there are {', '.join(names)}"


def _named_by_part(docs: list[Doc], part: str) -> list[Doc]:
    if part == "test":
        return docs
    return [{**doc, "id": f"{part}-{doc['id']}"} for doc in docs]


def _known(benchmark: Benchmark, language: str, part: str) -> str:
    tag = parse_tag(language)
    if tag not in benchmark.codes:
        raise BenchmarkError(
            f"{benchmark.title} has no {language_name(tag)} ({tag}): it has "
            f"{', '.join(sorted(benchmark.codes))}"
        )
    if part not in benchmark.parts:
        raise BenchmarkError(
            f"{benchmark.title} has no part {part!r}: it has {', '.join(benchmark.parts)}"
        )
    return tag


def _folder(benchmark: Benchmark, data: Path) -> Path:
    if not data.is_dir():
        raise BenchmarkError(f"there is no folder {data}: expected one with {benchmark.layout}")
    return next((data / name for name in benchmark.folders if (data / name).is_dir()), data)


def _checked(benchmark: Benchmark, docs: list[Doc], language: str) -> list[Doc]:
    where = f"{benchmark.title} ({language})"
    twice = [name for name, count in Counter(doc["id"] for doc in docs).items() if count > 1]
    if twice:
        raise BenchmarkError(f"{where}: item {twice[0]} comes twice")
    for doc in docs:
        for field in (*benchmark.source, *benchmark.answers):
            if field not in doc:
                raise BenchmarkError(
                    f"{where}, item {doc['id']}: no field {field!r}; it has {', '.join(doc)}"
                )
        check_filled(benchmark, doc, where)
    return docs


def check_filled(benchmark: Benchmark, doc: Doc, where: str) -> None:
    """Refuse an item without any text, or with an empty answer choice."""
    place = f"{where}, item {doc['id']}"
    for field in benchmark.answers:
        if not str(doc[field]).strip():
            raise BenchmarkError(f"{place}: the answer choice {field!r} is empty")
    if benchmark.source and not any(str(doc[field]).strip() for field in benchmark.source):
        raise BenchmarkError(f"{place}: the text ({', '.join(benchmark.source)}) is empty")


def _english(benchmark: Benchmark, folder: Path, part: str) -> list[Doc]:
    try:
        return benchmark.read(folder, "en", part)
    except BenchmarkError:
        return []


def _check_targets(
    benchmark: Benchmark, docs: list[Doc], language: str, english: list[Doc]
) -> None:
    field = str(benchmark.target)
    right = {doc["id"]: doc[field] for doc in english}
    for doc in docs:
        if doc["id"] in right and doc[field] != right[doc["id"]]:
            raise BenchmarkError(
                f"{benchmark.title} ({language}), item {doc['id']}: {field!r} is {doc[field]!r} "
                f"but {right[doc['id']]!r} in English: are the files from different versions?"
            )
