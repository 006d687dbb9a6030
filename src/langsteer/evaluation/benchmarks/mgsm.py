"""MGSM: grade-school mathematics, answered with a number (Shi et al., arXiv 2210.03057)."""

import ast
import re
from pathlib import Path
from typing import Any

from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks import prompts
from langsteer.evaluation.benchmarks.common import (
    Benchmark,
    Doc,
    by_tag,
    fetcher,
    harness_config,
    numbered,
)
from langsteer.evaluation.benchmarks.files import number, read_text, table

TITLE, HUB = "MGSM", "juletxara/mgsm"
LAYOUT = "mgsm/mgsm_<code>.tsv, and exemplars.py for the 8 worked examples"
CODES = by_tag(["bn", "de", "en", "es", "fr", "ja", "ru", "sw", "te", "th", "zh"])
PARTS = {"train": "train", "test": "test"}

# The worked examples begin with the word for "question" in their language.
_LABEL = re.compile(r"^\s*[^:：\d]{1,20}[:：]\s*")


def read(folder: Path, tag: str, part: str) -> list[Doc]:
    if part == "train":
        return _exemplars(folder / "exemplars.py", CODES[tag])
    path = folder / f"mgsm_{CODES[tag]}.tsv"
    rows = [
        _doc(row["question"], None, number(row["answer"], f"{path}, line {line}", "answer"))
        for line, row in table(path, ("question", "answer"), LAYOUT, header=False)
    ]
    return numbered(rows, _identify)


def config(tag: str, form: str) -> dict[str, Any]:
    """The harness's direct form; `english` puts its English words around the question."""
    if form == "native":
        return harness_config(f"mgsm/direct/mgsm_direct_{CODES[tag]}.yaml")
    return harness_config("mgsm/direct/mgsm_direct_en.yaml") | {"doc_to_text": _english}


def _english(doc: Doc) -> str:
    question = doc["question"]
    if doc["answer"] is not None:
        question = _LABEL.sub("", question)
    return f"Question: {question}\nAnswer:"


def _exemplars(path: Path, code: str) -> list[Doc]:
    """The worked examples as their authors publish them: a Python file of literals, parsed only."""
    if not path.is_file():
        raise BenchmarkError(
            f"MGSM's 8 worked examples are in exemplars.py, which is not in {path.parent}: put it "
            "there, or use the hub"
        )
    try:
        values = _literals(read_text(path, LAYOUT))
        answers, shown = values["EXEMPLAR_NUMBER_ANSWERS"], values["MGSM_EXEMPLARS"][code]
        rows = [
            _doc(str(shown[str(i)]["q"]), str(shown[str(i)]["a"]), int(answer))
            for i, answer in enumerate(answers, 1)
        ]
    except (SyntaxError, ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(
            f"{path} is not MGSM's: expected EXEMPLAR_NUMBER_ANSWERS and MGSM_EXEMPLARS[{code!r}]"
            "[number] with q and a"
        ) from error
    return numbered(rows, _identify)


def _literals(text: str) -> dict[str, Any]:
    return {
        target.id: ast.literal_eval(statement.value)
        for statement in ast.parse(text).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }


def _doc(question: str, answer: str | None, answer_number: int) -> Doc:
    return {"question": question, "answer": answer, "answer_number": answer_number}


def _identify(_: Doc, place: int) -> str:
    return str(place + 1)


MGSM = Benchmark(
    name="mgsm",
    title=TITLE,
    hub=HUB,
    kind="generate",
    metric="exact_match",
    codes=CODES,
    source=("question",),
    answers=(),
    forms=("native", "english"),
    parts=PARTS,
    layout=LAYOUT,
    read=read,
    fetch=fetcher(TITLE, HUB, CODES, PARTS, LAYOUT, _identify),
    config=config,
    instructions=prompts.instructions("mgsm"),
    target="answer_number",
    folders=("mgsm",),
    filter="flexible-extract",
)
