"""SIB-200: the topic of a sentence, one of seven (Adelani et al., arXiv 2309.07445)."""

from pathlib import Path
from typing import Any

from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks import prompts
from langsteer.evaluation.benchmarks.common import Benchmark, Doc, fetcher, mean_metric, numbered
from langsteer.evaluation.benchmarks.files import number, table
from langsteer.evaluation.benchmarks.flores_codes import FLORES

TITLE, HUB = "SIB-200", "Davlan/sib200"
LAYOUT = "sib200/<code>/{train,dev,test}.tsv, e.g. sib200/swh_Latn/test.tsv"
TOPICS = (
    "science/technology",
    "travel",
    "politics",
    "sports",
    "health",
    "entertainment",
    "geography",
)
FILES = {"train": "train.tsv", "development": "dev.tsv", "test": "test.tsv"}
PARTS = {"train": "train", "development": "validation", "test": "test"}


def read(folder: Path, tag: str, part: str) -> list[Doc]:
    path = folder / FLORES[tag] / FILES[part]
    rows = []
    for line, row in table(path, ("index_id", "category", "text"), LAYOUT, quoted=True):
        where = f"{path}, line {line}"
        if row["category"] not in TOPICS:
            raise BenchmarkError(
                f"{where}: the category is {row['category']!r}, expected one of {', '.join(TOPICS)}"
            )
        rows.append({**row, "index_id": number(row["index_id"], where, "index_id")})
    return numbered(rows, _identify)


def config(tag: str, form: str) -> dict[str, Any]:
    text = prompts.native("sib200")[tag if form == "native" else "en"]
    return {
        "output_type": "multiple_choice",
        "doc_to_text": text["prompt"],
        "doc_to_choice": text["topics"],
        "doc_to_target": _topic,
        "target_delimiter": text["delimiter"],
        "metric_list": mean_metric("acc"),
        "metadata": {"version": 1.0},
    }


def _topic(doc: Doc) -> int:
    return TOPICS.index(doc["category"])


def _identify(row: Doc, _: int) -> str:
    return str(row["index_id"])


SIB200 = Benchmark(
    name="sib200",
    title=TITLE,
    hub=HUB,
    kind="choice",
    metric="acc",
    codes=FLORES,
    source=("text",),
    answers=(),
    forms=("english", "native"),
    parts=PARTS,
    layout=LAYOUT,
    read=read,
    fetch=fetcher(TITLE, HUB, FLORES, PARTS, LAYOUT, _identify),
    config=config,
    instructions=prompts.instructions("sib200"),
    target="category",
    native=frozenset(prompts.native("sib200")),
    folders=("sib200",),
)
