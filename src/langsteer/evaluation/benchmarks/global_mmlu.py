"""Global-MMLU: MMLU's questions in 42 languages (Singh et al., arXiv 2412.03304)."""

import importlib
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
    numbered,
)
from langsteer.evaluation.benchmarks.files import checked, filled, table

TITLE, HUB = "Global-MMLU", "CohereForAI/Global-MMLU"
LAYOUT = "<code>/{dev,test}-00000-of-00001.parquet or <code>/{dev,test}.csv, e.g. sw/test.csv"
_CODES = """
    am ar bn cs de el en es fa fil fr ha he hi id ig it ja ko ky lt mg ms ne nl ny pl pt ro ru si
    sn so sr sv sw te tr uk vi yo zh
"""
CODES = by_tag(_CODES.split())
PARTS = {"development": "dev", "test": "test"}
OPTIONS = ("option_a", "option_b", "option_c", "option_d")
FIELDS = ("sample_id", "subject", "question", *OPTIONS, "answer")


def read(folder: Path, tag: str, part: str) -> list[Doc]:
    code, split = CODES[tag], PARTS[part]
    parquet = sorted((folder / code).glob(f"{split}-*.parquet"))
    if parquet:
        rows = [row for path in parquet for row in _parquet(path)]
        return _docs(rows, parquet[0])
    path = find(folder, f"{code}/{split}.csv", f"{code}_{split}.csv")
    return _docs(table(path, FIELDS, LAYOUT, delimiter=",", quoted=True), path)


def fetch(tag: str, part: str) -> list[Doc]:
    rows = hub_rows(TITLE, HUB, CODES[tag], PARTS[part], LAYOUT)
    return _docs(list(enumerate(rows, 1)), Path(HUB) / CODES[tag])


def config(tag: str, form: str) -> dict[str, Any]:
    found = harness_config(f"global_mmlu/full/{CODES[tag]}/_{CODES[tag]}_template_yaml")
    return found | {"doc_to_target": "{{['A', 'B', 'C', 'D'].index(answer)}}"}


def _parquet(path: Path) -> list[tuple[int, Doc]]:
    try:
        rows = importlib.import_module("pyarrow.parquet").read_table(path).to_pylist()
    except Exception as error:  # pyarrow's own kinds
        reason = str(error).strip().splitlines()[0]
        raise BenchmarkError(f"{path} is not a Parquet file ({reason})") from error
    return list(enumerate(filled(rows, path), 1))


def _docs(rows: list[tuple[int, Doc]], path: Path) -> list[Doc]:
    docs = []
    for line, row in rows:
        where = f"{path}, line {line}"
        texts = {**row, **{field: row.get(field) or "" for field in OPTIONS if field in row}}
        checked(texts, dict.fromkeys(FIELDS, str), where)
        if texts["answer"] not in ("A", "B", "C", "D"):
            raise BenchmarkError(f"{where}: 'answer' is {texts['answer']!r}, not A, B, C or D")
        docs.append(texts)
    return numbered(docs, lambda row, _: str(row["sample_id"]))


GLOBAL_MMLU = Benchmark(
    name="global_mmlu",
    title=TITLE,
    hub=HUB,
    kind="choice",
    metric="acc",
    codes=CODES,
    source=("question", *OPTIONS),
    answers=(),
    forms=("english",),
    parts=PARTS,
    layout=LAYOUT,
    read=read,
    fetch=fetch,
    config=config,
    instructions={"en": "Choose the right answer to the question."},
    target="answer",
    folders=("global_mmlu", "Global-MMLU", "global-mmlu"),
)
