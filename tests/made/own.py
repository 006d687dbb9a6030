"""A benchmark of a user's own: one YAML file, and its data."""

from pathlib import Path
from typing import Any

from tests.made.published import json_lines, write

OWN = """
title: Colours
kind: choice
metric: acc
languages: [en, sw]
layout: <code>.jsonl
parts: {test: test}
files:
  path: "{code}.jsonl"
  columns: {text: text, colour: {values: [red, green]}}
source: [text]
target: colour
forms:
  english:
    doc_to_text: "{{text}}\\nIn {language}, the colour is"
    doc_to_choice: [red, green]
    doc_to_target: "{{['red', 'green'].index(colour)}}"
instructions: {en: Name the colour.}
"""


def own_file(folder: Path, name: str = "colours", text: str = OWN) -> Path:
    return write(folder / f"{name}.yaml", text)


def own_data(folder: Path, items: int = 4) -> Path:
    for code in ("en", "sw"):
        rows: list[dict[str, Any]] = [
            {"text": f"the rain {i}", "colour": ("red", "green")[i % 2]} for i in range(items)
        ]
        write(folder / f"{code}.jsonl", json_lines(rows))
    return folder
