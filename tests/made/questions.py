"""Invented items of a task, in letters that the tiny tokeniser has."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from langsteer.diagnosis.items import TaskItems
from langsteer.diagnosis.own_items import read_own_items

WORDS = ("jua", "bahari", "moto", "mti", "jiwe", "baridi", "nyota", "mto", "ndege", "samaki")
ENGLISH = ("sun", "sea", "fire", "tree", "stone", "cold", "star", "river", "bird", "fish")


def item_rows(count: int, choices: int = 3) -> list[dict[str, Any]]:
    """Items with choices of their own, and their English."""
    rows = []
    for i in range(count):
        places = [(3 * i + step) % 10 for step in range(choices)]
        rows.append(
            {
                "id": f"q{i}",
                "prompt": f"{WORDS[i % 10]} ya {i} ni",
                "choices": [WORDS[place] for place in places],
                "answer": i % choices,
                "english": {
                    "prompt": f"the {ENGLISH[i % 10]} of {i} is",
                    "choices": [ENGLISH[place] for place in places],
                },
            }
        )
    return rows


def label_rows(count: int) -> list[dict[str, Any]]:
    """Items that all have the same two choices, in English; what is right stands in the text."""
    return [
        {
            "id": f"q{i}",
            "prompt": f"{WORDS[i % 10]} {i} {'aaa' if i % 2 else 'zzz'}:",
            "text": WORDS[i % 10],
            "choices": ["a", "b"],
            "answer": "ab"[i % 2],
            "english": {"prompt": f"{ENGLISH[i % 10]} {i} {'aaa' if i % 2 else 'zzz'}:"},
        }
        for i in range(count)
    ]


def written(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def made_task(folder: Path, rows: Iterable[Mapping[str, Any]]) -> TaskItems:
    return read_own_items(written(folder / "items.jsonl", rows), "sw")
