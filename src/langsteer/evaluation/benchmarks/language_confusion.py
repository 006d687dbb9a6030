"""Language confusion: is the answer in the language asked for (Marchisio et al., arXiv 2406.20052).

An answer passes by line where every line of five words or more, and of the letters that it takes to tell
a language (see `identify`), is identified as the language asked for. One that passes so, and whose language is not written in Latin letters, passes by word where it has no English
word. Where they look words up, any word of four or more small Latin letters counts as English here.
Answers without a line that is long enough are not judged: their value is not a number.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import regex

from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks import flores
from langsteer.evaluation.benchmarks.common import Benchmark, Doc, by_tag, numbered
from langsteer.evaluation.benchmarks.files import filled, table
from langsteer.evaluation.benchmarks.flores_codes import FLORES
from langsteer.text.identify import comparable, identifiable, identify
from langsteer.text.languages import language_name, script_of, share_script

TITLE = "Language confusion"
SITE = "https://github.com/for-ai/language-confusion"
LAYOUT = "test_sets/{monolingual,crosslingual}/<source>/<code>.csv, from " + SITE
CODES = by_tag(
    ["ar", "de", "en", "es", "fr", "hi", "id", "it", "ja", "ko", "pt", "ru", "tr", "vi", "zh"]
)
SOURCES = {
    "monolingual": ("aya", "dolly", "native", "okapi"),
    "crosslingual": ("complex_prompts", "okapi", "sharegpt"),
}
COLUMNS = ("prompt", "source", "language")
LEAST_WORDS = 5
LEAST_CONFIDENCE = 0.3
TOKENS = 100  # of an answer, as in the paper

_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_CHARACTER = regex.compile(_UNSPACED)
_WORD = regex.compile(rf"[[\p{{L}}\p{{M}}\p{{N}}]--{_UNSPACED}]+", flags=regex.VERSION1)
_ENGLISH_WORD = regex.compile(r"(?<!\p{L})[a-z]{4,}(?!\p{L})")


def line_pass(answer: str, language: str) -> float:
    """1.0 where every line that is long enough is in `language`, else 0.0; nan without any."""
    judged = [line for line in answer.splitlines() if _words(line) >= LEAST_WORDS]
    found = [place for place in identify(judged) if place is not None] if judged else []
    if not found:
        return math.nan
    return float(
        all(_same(f.language, language) and f.confidence > LEAST_CONFIDENCE for f in found)
    )


def word_pass(answer: str, language: str) -> float:
    """1.0 where an answer that passes by line has no English word; nan where that says nothing."""
    if script_of(language) == "Latn" or line_pass(answer, language) != 1.0:
        return math.nan
    return float(_ENGLISH_WORD.search(answer) is None)


def _words(line: str) -> float:
    """Words in a line; in scripts that do not separate them, two characters are taken for one."""
    return len(_WORD.findall(line)) + len(_CHARACTER.findall(line)) / 2


def _same(found: str, language: str) -> bool:
    """Whether it is this language, or one so near that a single line cannot tell them apart."""
    if found == language or not identifiable(found):
        return found == language
    return share_script(found, language) and not comparable(found, language)


def _config(tag: str, doc_to_text: str, until: list[str]) -> dict[str, Any]:
    if not identifiable(tag):
        identify([], ("en", "de"))  # says so where lingua is not installed
        raise BenchmarkError(f"{TITLE}: lingua cannot identify {language_name(tag)} ({tag})")

    def process_results(doc: Doc, results: list[str]) -> dict[str, float]:
        answer = results[0].split("\nQ:")[0]
        return {"line_pass": line_pass(answer, tag), "word_pass": word_pass(answer, tag)}

    return {
        "output_type": "generate_until",
        "doc_to_text": doc_to_text,
        "doc_to_target": "",
        "generation_kwargs": {"until": until, "do_sample": False, "max_gen_toks": TOKENS},
        "process_results": process_results,
        "metric_list": [
            {"metric": name, "aggregation": "nanmean", "higher_is_better": True}
            for name in ("line_pass", "word_pass")
        ],
        "metadata": {"version": 1.0},
    }


def _question(tag: str, form: str) -> dict[str, Any]:
    return _config(tag, "Q: {{prompt}}\nA:", ["\nQ:"])


def _continuation(tag: str, form: str) -> dict[str, Any]:
    if form == "native":
        return _config(tag, "{{prompt}}", [])
    name = language_name(tag)
    return _config(tag, f"Continue this text in {name}.\n\n{{{{prompt}}}}", [])


def _reader(kind: str) -> Callable[[Path, str, str], list[Doc]]:
    def read(folder: Path, tag: str, part: str) -> list[Doc]:
        for root in (folder / "test_sets" / kind, folder / kind):
            paths = [root / source / f"{CODES[tag]}.csv" for source in SOURCES[kind]]
            if found := [path for path in paths if path.is_file()]:
                return [doc for path in found for doc in _prompts(path, kind)]
        raise BenchmarkError(f"{folder} has no {kind} prompts in {CODES[tag]!r}: expected {LAYOUT}")

    return read


def _prompts(path: Path, kind: str) -> list[Doc]:
    rows = [
        {field: row[field].strip() for field in COLUMNS}
        for _, row in table(path, COLUMNS, LAYOUT, delimiter=",", quoted=True)
    ]
    return numbered(filled(rows, path), lambda row, place: f"{row['source']}-{place + 1}")


def _not_on_hub(tag: str, part: str) -> list[Doc]:
    raise BenchmarkError(
        f"{TITLE}: the prompts are not on the hub: download {SITE} and use --data DIR with a "
        f"folder that holds {LAYOUT}"
    )


def _flores_docs(sentences: list[str], tag: str) -> list[Doc]:
    return [
        {"id": str(i), "prompt": sentence, "source": "flores", "language": tag}
        for i, sentence in enumerate(sentences, 1)
    ]


LANGUAGE_CONFUSION = Benchmark(
    name="language_confusion",
    title=TITLE,
    hub="",
    kind="generate",
    metric="line_pass",
    codes=CODES,
    source=("prompt",),
    answers=(),
    forms=("native",),
    parts={"test": "test"},
    layout=LAYOUT,
    read=_reader("monolingual"),
    fetch=_not_on_hub,
    config=_question,
    instructions={"en": "Answer in the language of the question."},
    folders=("language_confusion", "language-confusion"),
)

LANGUAGE_CONFUSION_CROSSLINGUAL = Benchmark(
    name="language_confusion_crosslingual",
    title=f"{TITLE}, asked in English",
    hub="",
    kind="generate",
    metric="line_pass",
    codes={tag: code for tag, code in CODES.items() if tag != "en"},
    source=(),
    answers=(),
    forms=("english",),
    parts={"test": "test"},
    layout=LAYOUT,
    read=_reader("crosslingual"),
    fetch=_not_on_hub,
    config=_question,
    instructions={"en": "Answer in the language that the question asks for."},
    folders=("language_confusion", "language-confusion"),
)

LANGUAGE_CONFUSION_FLORES = Benchmark(
    name="language_confusion_flores",
    title=f"{TITLE}, continuing a FLORES sentence",
    hub=flores.HUB,
    kind="generate",
    metric="line_pass",
    codes=FLORES,
    source=("prompt",),
    answers=(),
    forms=("native", "english"),
    parts=flores.PARTS,
    layout=flores.LAYOUT,
    read=lambda folder, tag, part: _flores_docs(flores.sentences(folder, tag, part), tag),
    fetch=lambda tag, part: _flores_docs(flores.fetched(tag, part), tag),
    config=_continuation,
    instructions={"en": "Continue the text in its own language."},
    folders=flores.FOLDERS,
)
