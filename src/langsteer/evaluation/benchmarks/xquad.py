"""XQuAD's files, and SQuAD's scores (Artetxe et al., arXiv 1910.11856)."""

import re
import string
from collections import Counter
from pathlib import Path
from typing import Any

from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks.common import Doc
from langsteer.evaluation.benchmarks.files import checked, filled, read_text
from langsteer.storage.parsed import parse_json

LAYOUT = "xquad.<code>.json, e.g. xquad.tr.json"


def read(folder: Path, code: str, part: str) -> list[Doc]:
    """The questions of one language's file."""
    path = folder / f"xquad.{code}.json"
    try:
        content = parse_json(read_text(path, LAYOUT))
    except ValueError as error:
        raise BenchmarkError(f"{path} is not JSON ({error})") from error
    rows = []
    for a, article in enumerate(checked(content, {"data": list}, str(path))["data"]):
        place = f"{path}, data[{a}]"
        for p, paragraph in enumerate(checked(article, {"paragraphs": list}, place)["paragraphs"]):
            rows += _questions(paragraph, f"{place}.paragraphs[{p}]")
    return filled(rows, path)


def scores(tag: str) -> dict[str, Any]:
    """The key of a task that is scored with SQuAD's exact match and F1."""
    return {"process_results": _scores}


def _scores(doc: Doc, results: list[str]) -> dict[str, float]:
    """SQuAD's exact match and F1 (Rajpurkar et al., arXiv 1606.05250), 0 to 1.

    As the harness computes them, with a function that transformers no longer has.
    """
    right, given = _normal(doc["answers"]["text"][0]), _normal(results[0])
    if not right or not given:
        return {"exact_match": float(right == given), "f1": float(right == given)}
    shared = sum((Counter(right) & Counter(given)).values())
    return {
        "exact_match": float(right == given),
        "f1": 2 * shared / (len(right) + len(given)),
    }


def _normal(text: str) -> list[str]:
    letters = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", letters).split()


def _questions(paragraph: Any, where: str) -> list[Doc]:
    rows = []
    checked(paragraph, {"context": str, "qas": list}, where)
    for q, item in enumerate(paragraph["qas"]):
        place = f"{where}.qas[{q}]"
        checked(item, {"id": str, "question": str, "answers": list}, place)
        answers = [
            checked(answer, {"text": str, "answer_start": int}, f"{place}.answers")
            for answer in filled(item["answers"], Path(place))
        ]
        rows.append(
            {
                "id": item["id"],
                "context": paragraph["context"],
                "question": item["question"],
                "answers": {
                    "text": [answer["text"] for answer in answers],
                    "answer_start": [answer["answer_start"] for answer in answers],
                },
            }
        )
    return rows
