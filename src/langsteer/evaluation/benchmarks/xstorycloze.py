"""XStoryCloze: the right ending of a story, of two (Lin et al., arXiv 2112.10668)."""

from pathlib import Path
from typing import Any

from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks.common import (
    Benchmark,
    Doc,
    by_tag,
    fetcher,
    harness_config,
    mean_metric,
    numbered,
)
from langsteer.evaluation.benchmarks.files import read_text, table

TITLE, HUB = "XStoryCloze", "juletxara/xstory_cloze"
LAYOUT = "spring2016.val.<code>.tsv.split_20_80_{train,eval}.tsv"
CODES = by_tag(["ar", "en", "es", "eu", "hi", "id", "my", "ru", "sw", "te", "zh"])
PARTS = {"train": "train", "test": "eval"}
SENTENCES = tuple(f"input_sentence_{i}" for i in (1, 2, 3, 4))
ENDINGS = ("sentence_quiz1", "sentence_quiz2")
COLUMNS = ("story_id", *SENTENCES, *ENDINGS, "answer_right_ending")
FIRST_NAMES = (  # the English data set's, which some of the files keep
    "InputStoryid",
    *(f"InputSentence{i}" for i in (1, 2, 3, 4)),
    "RandomFifthSentenceQuiz1",
    "RandomFifthSentenceQuiz2",
    "AnswerRightEnding",
)
ENGLISH_FORM = (
    "Story: {{[input_sentence_1, input_sentence_2, input_sentence_3, input_sentence_4]|join(' ')}}\n"
    "Question: Which ending fits the story?\n"
    "A: {{sentence_quiz1}}\nB: {{sentence_quiz2}}\nAnswer:"
)


def read(folder: Path, tag: str, part: str) -> list[Doc]:
    path = folder / f"spring2016.val.{CODES[tag]}.tsv.split_20_80_{PARTS[part]}.tsv"
    named = FIRST_NAMES if read_text(path, LAYOUT).startswith(FIRST_NAMES[0]) else COLUMNS
    rows = []
    for line, row in table(path, named, LAYOUT, quoted=None):
        doc: Doc = {new: row[old] for new, old in zip(COLUMNS, named, strict=True)}
        if doc["answer_right_ending"] not in ("1", "2"):
            raise BenchmarkError(
                f"{path}, line {line}: {named[-1]!r} is {doc['answer_right_ending']!r}, not 1 or 2"
            )
        rows.append({**doc, "answer_right_ending": int(doc["answer_right_ending"])})
    return numbered(rows, _identify)


def config(tag: str, form: str) -> dict[str, Any]:
    found = harness_config(f"xstorycloze/default_{CODES[tag]}.yaml")
    found |= {"metric_list": mean_metric("acc")}
    if form == "english":
        found |= {"doc_to_text": ENGLISH_FORM, "doc_to_choice": ["A", "B"]}
    return found


def _identify(row: Doc, _: int) -> str:
    return str(row["story_id"])


XSTORYCLOZE = Benchmark(
    name="xstorycloze",
    title=TITLE,
    hub=HUB,
    kind="choice",
    metric="acc",
    codes=CODES,
    source=SENTENCES,
    answers=ENDINGS,
    forms=("native", "english"),
    parts=PARTS,
    layout=LAYOUT,
    read=read,
    fetch=fetcher(TITLE, HUB, CODES, PARTS, LAYOUT, _identify),
    config=config,
    instructions={"en": "Choose the ending that fits the story."},
    target="answer_right_ending",
    folders=("xstorycloze", "xstory_cloze", "XStoryCloze"),
)
