"""XCOPA: which of two sentences is the cause or effect of a third (Ponti et al., arXiv 2005.00333).

The `question` field (cause or effect) is wrong in some of the published files. It is the same as in
English COPA, of which XCOPA is a translation, and is taken from there.
"""

import warnings
from pathlib import Path
from xml.etree import ElementTree

from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks.common import Doc, find, numbered, rows_on_hub
from langsteer.evaluation.benchmarks.files import filled, json_lines, read_text

TITLE, HUB = "XCOPA", "cambridgeltl/xcopa"
ENGLISH_HUB = "pkavumba/balanced-copa"  # has the labels of COPA's test items
LAYOUT = (
    "xcopa/data/<code>/{val,test}.<code>.jsonl, and English COPA in copa_en/copa-{dev,test}.xml"
)
PARTS = {"development": "validation", "test": "test"}
FILES = {"development": "val", "test": "test"}
ENGLISH_FILES = {"development": "copa-dev.xml", "test": "copa-test.xml"}
FIRST_ID = {"development": 401, "test": 501}  # COPA's id of XCOPA's idx 0
ITEMS = {"development": 100, "test": 500}
FIELDS = {
    "premise": str,
    "choice1": str,
    "choice2": str,
    "question": str,
    "label": int,
    "idx": int,
}
QUESTIONS = ("cause", "effect")


def read(folder: Path, code: str, part: str) -> list[Doc]:
    if code == "en":
        return _read_english(folder, part)
    docs = _read_file(folder, "data", code, part)
    return _with_questions(docs, _english_beside(folder, part), code)


def fetch(code: str, part: str) -> list[Doc]:
    if code == "en":
        return _fetch_english(part)
    docs = _named(rows_on_hub(TITLE, HUB, code, PARTS[part], LAYOUT))
    return _with_questions(docs, _english_or_none(part), code)


def translated(folder: Path | None, code: str, part: str) -> list[Doc]:
    """Google Translate's English, which the authors published as a baseline."""
    if code in ("qu", "en"):
        raise BenchmarkError(f"XCOPA has no translations to English from {code!r}")
    if folder is None:
        docs = _named(rows_on_hub(TITLE, HUB, f"translation-{code}", PARTS[part], LAYOUT))
        return _with_questions(docs, _english_or_none(part), code)
    docs = _read_file(folder, "data-gmt", code, part)
    return _with_questions(docs, _english_beside(folder, part), code)


def _read_file(folder: Path, kind: str, code: str, part: str) -> list[Doc]:
    name = f"{FILES[part]}.{code}.jsonl"
    inside = find(folder, f"{kind}/{code}/{name}", f"{code}/{name}")
    if kind == "data-gmt":  # only under its own name: the other holds the originals
        inside = find(folder, f"{kind}/{code}/{name}", f"../{kind}/{code}/{name}")
    rows = json_lines(inside, FIELDS, LAYOUT)
    for number, row in enumerate(rows, 1):
        _check(row, f"{inside}, line {number}")
    return _named(rows)


def _check(row: Doc, where: str) -> None:
    if row["question"] not in QUESTIONS:
        raise BenchmarkError(f"{where}: 'question' is {row['question']!r}, not cause or effect")
    if row["label"] not in (0, 1):
        raise BenchmarkError(f"{where}: 'label' is {row['label']!r}, not 0 or 1")


def _english_folder(folder: Path) -> Path:
    places = ("copa_en", "../copa_en", "../../copa_en", ".")
    return next((folder / p for p in places if (folder / p / "copa-test.xml").is_file()), folder)


def _read_english(folder: Path, part: str) -> list[Doc]:
    path = _english_folder(folder) / ENGLISH_FILES[part]
    try:
        root = ElementTree.fromstring(read_text(path, LAYOUT))
    except ElementTree.ParseError as error:
        raise BenchmarkError(f"{path}, line {error.position[0]}: not XML ({error})") from error
    rows = []
    for item in root.iter("item"):
        row = _english_row(item, path)
        if FIRST_ID[part] <= row["id"] < FIRST_ID[part] + ITEMS[part]:
            rows.append(row)
    return _english_docs(filled(rows, path), part)


def _english_row(item: ElementTree.Element, path: Path) -> Doc:
    where = f"{path}, item {item.get('id')!r}"
    texts = [item.findtext(name) for name in ("p", "a1", "a2")]
    try:
        row = {
            "id": int(item.attrib["id"]),
            "question": item.attrib["asks-for"],
            "label": int(item.attrib["most-plausible-alternative"]) - 1,
        }
    except (KeyError, ValueError):
        raise BenchmarkError(
            f"{where}: expected the attributes id, asks-for and most-plausible-alternative"
        ) from None
    if not all(texts):
        raise BenchmarkError(f"{where}: expected text in p, a1 and a2")
    row |= dict(zip(("premise", "choice1", "choice2"), texts, strict=True))
    _check(row, where)
    return row


def _fetch_english(part: str) -> list[Doc]:
    split = "train" if part == "development" else "test"
    rows = rows_on_hub("English COPA", ENGLISH_HUB, None, split, LAYOUT)
    last = FIRST_ID[part] + ITEMS[part]
    return _english_docs(
        [row for row in rows if FIRST_ID[part] <= row["id"] < last and not row["mirrored"]], part
    )


def _english_docs(rows: list[Doc], part: str) -> list[Doc]:
    rows = sorted(rows, key=lambda row: row["id"])
    return _named(
        [
            {field: row[field] for field in FIELDS if field != "idx"}
            | {"idx": row["id"] - FIRST_ID[part], "changed": False}
            for row in rows
        ]
    )


def _english_beside(folder: Path, part: str) -> list[Doc] | None:
    if (_english_folder(folder) / ENGLISH_FILES[part]).is_file():
        return _read_english(folder, part)
    return None


def _english_or_none(part: str) -> list[Doc] | None:
    try:
        return _fetch_english(part)
    except BenchmarkError:
        return None


def _with_questions(docs: list[Doc], english: list[Doc] | None, code: str) -> list[Doc]:
    if english is None:
        warnings.warn(
            f"XCOPA ({code}): 'question' is taken from its own file, where some are wrong: put "
            "English COPA (copa-dev.xml, copa-test.xml) in a folder copa_en beside it",
            stacklevel=2,
        )
        return docs
    questions = {doc["id"]: doc["question"] for doc in english}
    return [{**doc, "question": questions.get(doc["id"], doc["question"])} for doc in docs]


def _named(rows: list[Doc]) -> list[Doc]:
    return numbered(rows, lambda row, _: str(row["idx"]))
