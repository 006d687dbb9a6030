"""PAWS-X: do two sentences mean the same (Yang et al., arXiv 1908.11828)."""

from pathlib import Path
from typing import Any

from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks.common import (
    Benchmark,
    Doc,
    by_tag,
    find,
    harness_config,
    hub_rows,
    mean_metric,
    numbered,
)
from langsteer.evaluation.benchmarks.files import filled, table

TITLE, HUB = "PAWS-X", "google-research-datasets/paws-x"
LAYOUT = "x-final/<code>/{translated_train,dev_2k,test_2k}.tsv, e.g. x-final/de/test_2k.tsv"
CODES = by_tag(["de", "en", "es", "fr", "ja", "ko", "zh"])
PARTS = {"train": "train", "development": "validation", "test": "test"}
FILES = {"train": "translated_train.tsv", "development": "dev_2k.tsv", "test": "test_2k.tsv"}
COLUMNS = ("id", "sentence1", "sentence2", "label")
UNTRANSLATED = ("", "NS")


def read(folder: Path, tag: str, part: str) -> list[Doc]:
    name = "train.tsv" if (tag, part) == ("en", "train") else FILES[part]
    inside = f"{CODES[tag]}/{name}"
    path = find(folder, f"x-final/{inside}", inside)
    rows = []
    for line, row in table(path, COLUMNS, LAYOUT):
        if row["label"] not in ("0", "1"):
            raise BenchmarkError(f"{path}, line {line}: 'label' is {row['label']!r}, not 0 or 1")
        rows.append({**row, "label": int(row["label"])})
    return filled(_docs(rows), path)


def fetch(tag: str, part: str) -> list[Doc]:
    return _docs(hub_rows(TITLE, HUB, CODES[tag], PARTS[part], LAYOUT))


def config(tag: str, form: str) -> dict[str, Any]:
    if form == "native":
        return harness_config(f"paws-x/paws_{CODES[tag]}.yaml")
    return harness_config("glue/mrpc/default.yaml") | {"metric_list": mean_metric("acc")}


def _docs(rows: list[Doc]) -> list[Doc]:
    """The pairs that the translators translated."""
    kept = [
        row
        for row in rows
        if row["sentence1"] not in UNTRANSLATED and row["sentence2"] not in UNTRANSLATED
    ]
    return numbered(kept, lambda row, _: str(row["id"]))


PAWSX = Benchmark(
    name="pawsx",
    title=TITLE,
    hub=HUB,
    kind="choice",
    metric="acc",
    codes=CODES,
    source=("sentence1", "sentence2"),
    answers=(),
    forms=("native", "english"),
    parts=PARTS,
    layout=LAYOUT,
    read=read,
    fetch=fetch,
    config=config,
    instructions={"en": "Say whether the two sentences mean the same thing."},
    target="label",
    folders=("pawsx", "paws-x", "paws_x", "PAWS-X"),
)
