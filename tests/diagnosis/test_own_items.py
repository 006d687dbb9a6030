"""One's own items: what a file may hold, and every way to get it wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from langsteer.diagnosis import task
from langsteer.diagnosis.own_items import read_own_items
from langsteer.errors import DiagnosisError
from tests.made.questions import item_rows, written

ITEM: dict[str, Any] = {"prompt": "Jua ni", "choices": ["moto", "baridi"], "answer": "moto"}


def read(folder: Path, *rows: Any, english: list[Any] | None = None) -> Any:
    file = written(folder / "items.jsonl", rows)
    other = None if english is None else written(folder / "en.jsonl", english)
    return read_own_items(file, "sw", other)


def test_items_are_read(tmp_path: Path) -> None:
    task = read(tmp_path, *item_rows(20))
    assert len(task.development) == len(task.report) == 10
    assert task.with_choices
    first = next(item for item in task.all if item.id == "q4")
    assert str(first.own.prompt) == "jiwe ya 4 ni"
    assert first.own.answers == (" moto", " mti", " jiwe")
    assert first.right == 1
    assert first.english is not None
    assert first.english.answers == (" fire", " tree", " stone")


def test_the_answer_may_be_its_place_or_its_text(tmp_path: Path) -> None:
    task = read(tmp_path, ITEM | {"id": "a"}, ITEM | {"id": "b", "answer": 1, "prompt": "Maji ni"})
    assert {item.id: item.right for item in task.all} == {"a": 0, "b": 1}


def test_spaces_at_the_end_of_a_prompt_go_to_the_answers(tmp_path: Path) -> None:
    task = read(tmp_path, ITEM | {"prompt": "Jua: "}, ITEM | {"prompt": "Maji", "delimiter": ""})
    prompts = {str(item.own.prompt): item.own.answers for item in task.all}
    assert prompts == {"Jua:": (" moto", " baridi"), "Maji": ("moto", "baridi")}


def test_the_text_in_the_language_is_told_from_the_template(tmp_path: Path) -> None:
    other = ITEM | {"prompt": "Text: maji\nTopic:", "text": "maji"}
    task = read(tmp_path, ITEM, other)
    pieces = {item.own.prompt.pieces for item in task.all}
    assert pieces == {("", "Jua ni"), ("Text: ", "maji", "\nTopic:")}


def test_references(tmp_path: Path) -> None:
    rows = [{"prompt": f"Swali {i}", "reference": f"jibu {i}"} for i in range(4)]
    task = read(tmp_path, *rows)
    assert not task.with_choices
    assert {item.own.answers for item in task.all} == {(f" jibu {i}",) for i in range(4)}


def test_english_in_a_file_of_its_own(tmp_path: Path) -> None:
    rows = item_rows(6)
    english = [row.pop("english") for row in rows]
    task = read(tmp_path, *rows, english=english)
    assert all(item.english is not None for item in task.all)


def test_the_split_is_the_same_again_and_keeps_what_is_alike_together(tmp_path: Path) -> None:
    rows = [row | {"id": f"{row['id']}-{turn}"} for row in item_rows(20) for turn in (0, 1)]
    task, again = read(tmp_path, *rows), read(tmp_path, *reversed(rows))
    assert {item.id for item in task.development} == {item.id for item in again.development}
    prompts = [{str(item.own.prompt) for item in part} for part in (task.development, task.report)]
    assert prompts[0].isdisjoint(prompts[1])
    assert "20 to choose on and 20 to report on" in task.split


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "a"}, "no answers"),
        ({"choices": ["a", "b"], "answer": 0}, "no 'prompt'"),
        ({**ITEM, "prompt": " "}, "'prompt' is ' '"),
        ({"prompt": "a", "choices": ["b", "c"]}, "no 'answer'"),
        ({**ITEM, "answer": "maji"}, "is not one of the choices"),
        ({**ITEM, "answer": 2}, "from 0 to 1"),
        ({**ITEM, "answer": True}, "is not one of the choices"),
        ({**ITEM, "choices": ["moto", " moto"]}, "is there twice"),
        ({**ITEM, "choices": ["moto"]}, "two texts or more"),
        ({**ITEM, "choices": ["moto", ""]}, "is no text"),
        ({**ITEM, "choices": "moto"}, "two texts or more"),
        ({**ITEM, "reference": "moto"}, "not both"),
        ({"prompt": "a", "reference": "b", "answer": 0}, "belongs to 'choices'"),
        ({"prompt": "a", "reference": ""}, "'reference' is ''"),
        ({**ITEM, "text": "maji"}, "must be a part of 'prompt'"),
        ({**ITEM, "delimiter": 1}, "not a text"),
        ({**ITEM, "chioces": []}, "no field 'chioces'; there are prompt"),
        ({**ITEM, "english": "The sun is"}, "an object with 'prompt'"),
        ({**ITEM, "english": {"prompt": "a", "choices": ["b", "c", "d"]}}, "3 choices, and the item has 2"),
        ({**ITEM, "english": {"prompt": "a", "reference": "b"}}, "has reference, and the item choices"),
        ({**ITEM, "english": {"prompt": "a", "answer": 1}}, "another choice is right"),
        ({**ITEM, "english": {"promt": "a"}}, "no field 'promt'"),
        ({**ITEM, "english": {"prompt": "a"}}, "line 2 has no 'english', and 1 of 2 items have it"),
        ({"prompt": "a", "reference": "b"}, "some items have choices and some a reference"),
        ({**ITEM, "id": "2"}, "the id '2' is there twice, in lines 1 and 2: give each its own"),
        ({**ITEM, "prompt": "a\ud800"}, r"line 1 has half of a character \(.ud800, a lone surrogate\)"),
        ({**ITEM, "english": {"prompt": "\udfff"}}, "line 1 has half of a character"),
        ({**ITEM, "id": [0]}, r"line 1: 'id' is \[0\], not a name"),
        ([1], "is not a JSON object"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(DiagnosisError, match=message) as raised:
        read(tmp_path, row, ITEM | {"prompt": "Maji ni"})
    assert "\n" not in str(raised.value)


def test_an_array_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "items.jsonl"
    for indent in (None, 1):
        file.write_text(json.dumps(item_rows(3), indent=indent), encoding="utf-8")
        with pytest.raises(DiagnosisError, match="is one JSON array: write one object a line"):
            read_own_items(file, "sw")


def test_items_that_are_english_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(task, "announce", said.append)
    file = tmp_path / "items.jsonl"
    rows = item_rows(4)
    for row, told in (
        (rows, False),
        ([r | {"prompt": r["english"]["prompt"]} for r in rows], True),
    ):
        file.write_text("\n".join(map(json.dumps, row)), encoding="utf-8")
        task.read_task(str(file), "sw")
        same = "4 of 4 items ask the same in Swahili and in English"
        assert any(same in line for line in said) == told


def test_english_that_does_not_match(tmp_path: Path) -> None:
    rows = item_rows(6)
    english = [row.pop("english") | {"id": row["id"]} for row in rows]
    with pytest.raises(DiagnosisError, match=r"has 5 items and .* has 6"):
        read(tmp_path, *rows, english=english[:5])
    with pytest.raises(DiagnosisError, match="same order"):
        read(tmp_path, *rows, english=english[::-1])
    with pytest.raises(DiagnosisError, match="has its own English"):
        read(tmp_path, *item_rows(6), english=english)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DiagnosisError, match="No such file"):
        read_own_items(tmp_path / "no.jsonl", "sw")
    file = tmp_path / "items.jsonl"
    for text, message in (
        (b"", "no items"),
        (b'{"prompt": \n', "line 1 is not a JSON object"),
        (b'{"prompt": "a"}\n\n{"prompt": "\xe9"}', "line 3 has an invalid byte. Save it as UTF-8"),
        (
            b'{"prompt": "a", "reference": "b"}\n',
            "has one item, and two are the least: write one a",
        ),
        (
            b'{"prompt": "a", "reference": "b"}\n' * 9,
            r"items.jsonl cannot be cut in two.*\(items: 9, different prompts: 1\)",
        ),
    ):
        file.write_bytes(text)
        with pytest.raises(DiagnosisError, match=message):
            read_own_items(file, "sw")


def test_utf_16_is_read_too(tmp_path: Path) -> None:
    file = written(tmp_path / "items.jsonl", item_rows(6))
    text = file.read_text(encoding="utf-8")
    expected = read_own_items(file, "sw")
    file.write_bytes(("\ufeff" + text.replace("\n", "\r\n")).encode("utf-16-be"))
    assert read_own_items(file, "sw") == expected
