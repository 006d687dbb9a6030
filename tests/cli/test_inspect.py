"""langsteer inspect: what a search says of the change that it has written."""

from pathlib import Path
from typing import Any

import pytest

from langsteer.model.model import Model
from tests.helpers import make_vector, run

UNSURE = {"value": -6.25, "low": -25.0, "high": 12.5}
SURE = {"value": 4.4, "low": 0.6, "high": 8.1}
ITEMS = {"recipe": "a:1@all*1", "task": "items.jsonl", "report_items": 16, "unit": "points"}
ANSWERS = {"task": "answers", "report_lines": 20, "better_than_nothing": False}


@pytest.mark.parametrize(
    ("told", "rows"),
    [
        (
            {**ITEMS, "gain": UNSURE, "better_than_nothing": False},
            [
                "searched on items.jsonl, reported on 16 items",
                "gain there -6.2 [-25.0, +12.5] points: not better than nothing by more than chance",
            ],
        ),
        (
            {**ITEMS, "gain": SURE, "better_than_nothing": True},
            ["gain there +4.4 [+0.6, +8.1] points: better than nothing by more than chance"],
        ),
        (
            {**ITEMS, "gain": UNSURE, "gain_of_languages_together": SURE},
            ["gain of languages together +4.4 [+0.6, +8.1] points: better than nothing by more"],
        ),
        (
            {**ANSWERS, "prompts": "own.txt", "changes": {"right": SURE}},
            [
                "searched on answers, reported on 20 lines of own.txt",
                "answers in it +4.4 [+0.6, +8.1] points: not better than nothing",
            ],
        ),
        ({**ITEMS, "gain": {"value": None}}, ["gain there unknown"]),
    ],
)
def test_what_a_search_says_is_shown(
    told: dict[str, Any],
    rows: list[str],
    llama: Model,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    make_vector(llama, scores={"search": told}).save(tmp_path / "v")
    code, out, err = run(capsys, "inspect", str(tmp_path / "v"))
    assert code == 0, err
    shown = " ".join(out.replace("│", " ").split())
    assert [row for row in rows if row not in shown] == []


def test_a_fitted_vector_was_not_searched_for(
    llama: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_vector(llama).save(tmp_path / "v")
    assert "searched on" not in run(capsys, "inspect", str(tmp_path / "v"))[1]
