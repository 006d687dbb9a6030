"""XL-Sum: the first lines of a news article from the rest (Hasan et al., arXiv 2106.13822).

Scored with ROUGE over words, and over characters in scripts that do not separate words.
"""

import functools
import re
from pathlib import Path
from typing import Any

import regex

from langsteer.errors import MissingExtraError
from langsteer.evaluation.benchmarks.common import (
    Benchmark,
    Doc,
    harness_config,
    hub_rows,
    mean_metric,
    numbered,
)
from langsteer.evaluation.benchmarks.files import json_lines

TITLE, HUB = "XL-Sum", "csebuetnlp/xlsum"
LAYOUT = "<language>_{train,val,test}.jsonl, e.g. swahili_test.jsonl"
CODES = {
    "am": "amharic", "ar": "arabic", "az": "azerbaijani", "bn": "bengali", "my": "burmese",
    "zh-Hans": "chinese_simplified", "zh-Hant": "chinese_traditional", "en": "english",
    "fr": "french", "gu": "gujarati", "ha": "hausa", "hi": "hindi", "ig": "igbo",
    "id": "indonesian", "ja": "japanese", "rn": "kirundi", "ko": "korean", "ky": "kyrgyz",
    "mr": "marathi", "ne": "nepali", "om": "oromo", "ps": "pashto", "fa": "persian",
    "pcm": "pidgin", "pt": "portuguese", "pa": "punjabi", "ru": "russian",
    "gd": "scottish_gaelic", "sr": "serbian_cyrillic", "sr-Latn": "serbian_latin",
    "si": "sinhala", "so": "somali", "es": "spanish", "sw": "swahili", "ta": "tamil",
    "te": "telugu", "th": "thai", "ti": "tigrinya", "tr": "turkish", "uk": "ukrainian",
    "ur": "urdu", "uz": "uzbek", "vi": "vietnamese", "cy": "welsh", "yo": "yoruba",
}  # fmt: skip
PARTS = {"train": "train", "development": "validation", "test": "test"}
FILES = {"train": "train", "development": "val", "test": "test"}
FIELDS = dict.fromkeys(("id", "url", "title", "summary", "text"), str)
METRICS = ("rougeL", "rouge1", "rouge2")
_TOKEN = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]\p{M}*|[\p{L}\p{M}\p{N}]+"
)


def read(folder: Path, tag: str, part: str) -> list[Doc]:
    path = folder / f"{CODES[tag]}_{FILES[part]}.jsonl"
    return _docs(json_lines(path, FIELDS, LAYOUT))


def fetch(tag: str, part: str) -> list[Doc]:
    return _docs(hub_rows(TITLE, HUB, CODES[tag], PARTS[part], LAYOUT))


def config(tag: str, form: str) -> dict[str, Any]:
    """The harness's form for Spanish, and the same in English words."""
    rouge_scorer()
    found = harness_config("spanish_bench/xlsum_es.yaml", without=("process_docs", "metric_list"))
    if form == "english":
        found |= {"doc_to_text": "Text: {{text}}\nSummary:"}
    return found | {"process_results": _scores, "metric_list": mean_metric(*METRICS)}


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
    found = rouge_scorer().score(doc["summary"], results[0].strip())
    return {name: float(found[name].fmeasure) for name in METRICS}


def _docs(rows: list[Doc]) -> list[Doc]:
    """Without repeated spaces, as the harness reads them."""
    plain = [
        row | {key: re.sub(" +", " ", row[key]) for key in ("text", "summary")} for row in rows
    ]
    return numbered(plain, lambda row, _: str(row["id"]))


XLSUM = Benchmark(
    name="xlsum",
    title=TITLE,
    hub=HUB,
    kind="generate",
    metric="rougeL",
    codes=CODES,
    source=("text",),
    answers=(),
    forms=("english", "native"),
    parts=PARTS,
    layout=LAYOUT,
    read=read,
    fetch=fetch,
    config=config,
    instructions={"en": "Summarise the text in one sentence, in its own language."},
    native=frozenset({"es"}),
    folders=("xlsum", "XLSum_complete_v2.0", "XL-Sum"),
)
