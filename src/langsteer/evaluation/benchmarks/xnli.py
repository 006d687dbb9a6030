"""XNLI: does one sentence follow from another (Conneau et al., arXiv 1809.05053)."""

from pathlib import Path
from typing import Any

from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks.common import (
    Benchmark,
    Doc,
    by_tag,
    fetcher,
    find,
    harness_config,
    mean_metric,
)
from langsteer.evaluation.benchmarks.files import filled, json_lines, table

TITLE, HUB = "XNLI", "facebook/xnli"
LAYOUT = "xnli.dev.tsv and xnli.test.tsv (or .jsonl) of XNLI-1.0"
CODES = by_tag(
    ["ar", "bg", "de", "el", "en", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh"]
)
PARTS = {"train": "train", "development": "validation", "test": "test"}
FILES = {"development": "xnli.dev", "test": "xnli.test"}
COLUMNS = ("language", "gold_label", "sentence1", "sentence2", "pairID")
LABELS = ("entailment", "neutral", "contradiction")


def read(folder: Path, tag: str, part: str) -> list[Doc]:
    if part not in FILES:
        raise BenchmarkError(
            f"XNLI's files have no {part} part (its training text is MultiNLI's): use the hub"
        )
    name = FILES[part]
    path = find(
        folder,
        *(f"{inside}{name}.{end}" for end in ("tsv", "jsonl") for inside in ("", "XNLI-1.0/")),
    )
    if path.suffix == ".jsonl":
        kinds = {name: str for name in COLUMNS if name != "pairID"} | {"pairID": (str, int)}
        rows = list(enumerate(json_lines(path, kinds, LAYOUT), 1))
    else:
        rows = table(path, COLUMNS, LAYOUT)
    docs = [
        _doc(row, f"{path}, line {line}") for line, row in rows if row["language"] == CODES[tag]
    ]
    if not docs:
        raise BenchmarkError(f"{path} has no rows with the language {CODES[tag]!r}")
    return filled(docs, path)


def config(tag: str, form: str) -> dict[str, Any]:
    if form == "native":
        return harness_config(f"xnli/xnli_{CODES[tag]}.yaml")
    english = harness_config("anli/anli_r1.yaml")
    return english | {"doc_to_target": "label", "metric_list": mean_metric("acc")}


def _doc(row: Doc, where: str) -> Doc:
    if row["gold_label"] not in LABELS:
        raise BenchmarkError(
            f"{where}: 'gold_label' is {row['gold_label']!r}, expected one of {', '.join(LABELS)}"
        )
    return {
        "premise": row["sentence1"],
        "hypothesis": row["sentence2"],
        "label": LABELS.index(row["gold_label"]),
        "id": str(row["pairID"]),
    }


XNLI = Benchmark(
    name="xnli",
    title=TITLE,
    hub=HUB,
    kind="choice",
    metric="acc",
    codes=CODES,
    source=("premise", "hypothesis"),
    answers=(),
    forms=("native", "english"),
    parts=PARTS,
    layout=LAYOUT,
    read=read,
    # The hub leaves out the pair's id, which counts from 1 in the order of the rows.
    fetch=fetcher(TITLE, HUB, CODES, PARTS, LAYOUT, lambda _, place: str(place + 1)),
    config=config,
    instructions={
        "en": "Say whether the second sentence follows from the first, contradicts it or neither."
    },
    target="label",
    folders=("xnli", "XNLI-1.0", "XNLI"),
)
