"""Items of a task: their parts, and their wording."""

from pathlib import Path

import pytest

from langsteer.diagnosis.items import in_order, shuffled_in_two, wording
from langsteer.errors import DiagnosisError
from tests.made.questions import item_rows, made_task


def test_a_wording_keeps_its_text_and_loses_its_last_spaces() -> None:
    made = wording(["Text: ", "jua", " is ", ""], ["x"])
    assert made.prompt.pieces == ("Text: ", "jua", " is")  # type: ignore[union-attr]
    assert made.answers == (" x",)


def test_fewer_items_are_of_both_parts(tmp_path: Path) -> None:
    task = made_task(tmp_path, item_rows(40))
    few = task.limited(10)
    assert few.development == task.development[:5]
    assert few.report == task.report[:5]
    assert task.limited(100) is task
    assert few.fingerprint != task.fingerprint


def test_the_order_is_that_of_ids_alone(tmp_path: Path) -> None:
    items = made_task(tmp_path, item_rows(30)).all
    assert in_order(items) == in_order(items[::-1])
    assert in_order(items) != in_order(items, seed=1)


def test_items_that_all_ask_the_same(tmp_path: Path) -> None:
    item = made_task(tmp_path, item_rows(4)).all[0]
    with pytest.raises(
        DiagnosisError, match=r"^a cannot be cut in two.*items: 2, different prompts: 1"
    ):
        shuffled_in_two([item, item], source="a")
