"""Language confusion: is the answer in the language asked for (Marchisio et al., arXiv 2406.20052).

An answer passes by line where every line of five words or more, and of the letters that it takes to tell
a language (see `identify`), is identified as the language asked for. One that passes so, and whose language is not written in Latin letters, passes by word where it has no English
word. Where they look words up, any word of four or more small Latin letters counts as English here.
Answers without a line that is long enough are not judged: their value is not a number.
"""

import math
from pathlib import Path
from typing import Any

import regex

from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks import flores
from langsteer.evaluation.benchmarks.common import Doc, numbered
from langsteer.evaluation.benchmarks.files import filled, table
from langsteer.evaluation.written import same_language
from langsteer.text.identify import identifiable, identify
from langsteer.text.languages import language_name, parse_tag, script_of

TITLE = "Language confusion"
SITE = "https://github.com/for-ai/language-confusion"
LAYOUT = "test_sets/{monolingual,crosslingual}/<source>/<code>.csv, from " + SITE
SOURCES = {
    "monolingual": ("aya", "dolly", "native", "okapi"),
    "crosslingual": ("complex_prompts", "okapi", "sharegpt"),
}
COLUMNS = ("prompt", "source", "language")
LEAST_WORDS = 5
LEAST_CONFIDENCE = 0.3

_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_CHARACTER = regex.compile(_UNSPACED)
_WORD = regex.compile(rf"[[\p{{L}}\p{{M}}\p{{N}}]--{_UNSPACED}]+", flags=regex.VERSION1)
_ENGLISH_WORD = regex.compile(r"(?<!\p{L})[a-z]{4,}(?!\p{L})")


def line_pass(answer: str, language: str) -> float:
    """1.0 where every line that is long enough is in `language`, else 0.0; nan without any."""
    judged = [line for line in answer.splitlines() if _words(line) >= LEAST_WORDS]
    guesses = [guess for guess in identify(judged) if guess is not None] if judged else []
    if not guesses:
        return math.nan
    return float(
        all(
            same_language(f.language, language) and f.confidence > LEAST_CONFIDENCE for f in guesses
        )
    )


def word_pass(answer: str, language: str) -> float:
    """1.0 where an answer that passes by line has no English word; nan where that says nothing."""
    if script_of(language) == "Latn" or line_pass(answer, language) != 1.0:
        return math.nan
    return float(_ENGLISH_WORD.search(answer) is None)


def _words(line: str) -> float:
    """Words in a line; in scripts that do not separate them, two characters are taken for one."""
    return len(_WORD.findall(line)) + len(_CHARACTER.findall(line)) / 2


def scores(tag: str) -> dict[str, Any]:
    """The keys of a task whose answers should be in a language; refused where that is not told."""
    if not identifiable(tag):
        identify([], ("en", "de"))  # says so where lingua is not installed
        raise BenchmarkError(f"{TITLE}: lingua cannot identify {language_name(tag)} ({tag})")

    def process_results(doc: Doc, results: list[str]) -> dict[str, float]:
        answer = results[0].split("\nQ:")[0]
        return {"line_pass": line_pass(answer, tag), "word_pass": word_pass(answer, tag)}

    return {
        "process_results": process_results,
        "metric_list": [
            {"metric": name, "aggregation": "nanmean", "higher_is_better": True}
            for name in ("line_pass", "word_pass")
        ],
    }


def read_monolingual(folder: Path, code: str, part: str) -> list[Doc]:
    return _read(folder, code, "monolingual")


def read_crosslingual(folder: Path, code: str, part: str) -> list[Doc]:
    return _read(folder, code, "crosslingual")


def read_forcing(folder: Path, code: str, part: str) -> list[Doc]:
    """English questions that name no language, to be answered in that of `code`.

    The form of CLaS-Bench (Gurgurov et al., arXiv 2601.08331), on this benchmark's English prompts:
    its own 70 questions, and the model that judges whether an answer is to the point, are not here.
    """
    tag = parse_tag(code)
    return [doc | {"language": tag} for doc in _read(folder, "en", "monolingual")]


def read_flores(folder: Path, code: str, part: str) -> list[Doc]:
    tag = parse_tag(code)
    return _flores_docs(flores.sentences(folder, tag, part), tag)


def fetch_flores(code: str, part: str) -> list[Doc]:
    tag = parse_tag(code)
    return _flores_docs(flores.fetched(tag, part), tag)


def not_on_hub(code: str, part: str) -> list[Doc]:
    raise BenchmarkError(
        f"{TITLE}: the prompts are not on the hub: download {SITE} and use --data DIR with a "
        f"folder that holds {LAYOUT}"
    )


def _read(folder: Path, code: str, kind: str) -> list[Doc]:
    for root in (folder / "test_sets" / kind, folder / kind):
        paths = [root / source / f"{code}.csv" for source in SOURCES[kind]]
        if there := [path for path in paths if path.is_file()]:
            return [doc for path in there for doc in _prompts(path)]
    raise BenchmarkError(f"{folder} has no {kind} prompts in {code!r}: expected {LAYOUT}")


def _prompts(path: Path) -> list[Doc]:
    rows = [
        {field: row[field].strip() for field in COLUMNS}
        for _, row in table(path, COLUMNS, LAYOUT, delimiter=",", quoted=True)
    ]
    return numbered(filled(rows, path), lambda row, place: f"{row['source']}-{place + 1}")


def _flores_docs(sentences: list[str], tag: str) -> list[Doc]:
    return [
        {"id": str(i), "prompt": sentence, "source": "flores", "language": tag}
        for i, sentence in enumerate(sentences, 1)
    ]
