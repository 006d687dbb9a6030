import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from langsteer.errors import CellError
from langsteer.evaluation.comparison.cells import (
    Cell,
    Cost,
    Failure,
    Item,
    cell_path,
    existing_cell,
    failure_path,
    read_cell,
    read_results,
    write_cell,
    write_failure,
)

CELL = Cell(
    model="org/tiny",
    benchmark="sib200",
    language="sw",
    method="few_shot+learned",
    method_title="Few-shot, steered",
    form="english",
    part="test",
    kind="choice",
    metric="acc",
    items=(Item("a", 0, (-1.0, -2.25)), Item("b", 1, (-3.0, -0.5))),
    chosen_on=frozenset({"dev1"}),
    settings={"layer": 8, "strengths": [0.5, 1.0]},
    harness={"acc": 1.0},
    cost=Cost(tokens=12, seconds=1.5, peak_bytes=10**9, training_seconds=3.0),
    versions={"langsteer": "0.1.0"},
)
ANSWERS = (Item("a", "42", value=1.0, answer="42"), Item("b", "7", value=0.5, answer="habari"))
GENERATED = replace(CELL, method="direct", kind="generate", metric="chrf", items=ANSWERS)


@pytest.mark.parametrize("cell", [CELL, GENERATED])
def test_a_cell_is_read_as_it_was_written(tmp_path: Path, cell: Cell) -> None:
    path = write_cell(tmp_path, cell)
    assert path == cell_path(tmp_path, *cell.key)
    assert path.relative_to(tmp_path).parts[:4] == ("cells", "org--tiny", "sib200", "sw")
    assert read_cell(path) == cell
    assert json.loads(path.read_text())["format_version"] == 1
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_cell_takes_one_line_an_item(tmp_path: Path) -> None:
    lines = write_cell(tmp_path, CELL).read_text().splitlines()
    assert '  {"id": "a", "target": 0, "scores": [-1.0, -2.25]},' in lines


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"items": ()}, "no items"),
        ({"items": (CELL.items[0], CELL.items[0])}, "'a' is there twice"),
        ({"items": (Item("a", 2, (-1.0, -2.0)),)}, "not one of its choices"),
        ({"items": (Item("a", None, (-1.0, -2.0)),)}, "not one of its choices"),
        ({"items": (Item("a", 0, (-1.0,)),)}, "fewer than two scores"),
        ({"items": (Item("a", 0, (-1.0, float("nan"))),)}, "not a finite number"),
        ({"kind": "generate"}, "no finite value"),
        ({"kind": "other"}, "neither 'choice' nor 'generate'"),
        ({"language": "swh_Latn"}, "not 'sw'"),
        ({"language": "nowhere-at-all"}, "no language"),
    ],
)
def test_a_cell_that_contradicts_itself_is_refused(change: Any, message: str) -> None:
    with pytest.raises(CellError, match=message):
        replace(CELL, **change)


def test_a_cell_that_reports_on_what_it_was_chosen_with_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CellError, match=r"sw / few_shot\+learned: refused: 1 of the items .*\(b\)"):
        replace(CELL, chosen_on=frozenset({"b", "dev1"}))
    path = write_cell(tmp_path, CELL)
    path.write_text(path.read_text().replace('"dev1"', '"a"'))
    with pytest.raises(CellError, match=r"few_shot\+learned\.json.*refused"):
        read_cell(path)
    assert "refused" in read_results(tmp_path).damaged[0].error


def test_a_failure_is_open_until_its_cell_is_made(tmp_path: Path) -> None:
    failure = Failure(*CELL.key, error="out of memory")
    path = write_failure(tmp_path, failure)
    assert path == failure_path(tmp_path, *CELL.key)
    assert read_results(tmp_path).failures == (failure,)
    write_cell(tmp_path, CELL)
    assert not path.exists()
    assert read_results(tmp_path).failures == ()
    write_failure(tmp_path, failure)
    assert read_results(tmp_path).failures == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ('{"format": "langs', "is not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "is not a cell"),
        ('{"format": "langsteer cell", "format_version": 2}', "format version 2"),
        ('{"format": "langsteer cell", "format_version": 1}', "lacks 'model'"),
        (None, "damaged"),
    ],
)
def test_a_damaged_file_is_told_and_left_out(
    tmp_path: Path, text: str | None, message: str
) -> None:
    write_cell(tmp_path, CELL)
    path = write_cell(tmp_path, GENERATED)
    path.write_text(path.read_text().replace("0.5", '"much"') if text is None else text)
    with pytest.raises(CellError, match=message):
        read_cell(path)
    found = read_results(tmp_path)
    assert found.cells == (CELL,)
    assert found.damaged[0].file == "cells/org--tiny/sib200/sw/direct.json"
    assert message in found.damaged[0].error


@pytest.mark.parametrize(
    ("steps", "value", "message"),
    [
        (["model"], 3, "model is '3'"),
        (["kind"], "other", "kind is 'other'"),
        (["items"], {}, "items is '{}'"),
        (["items", 1], "b", "items.1 is 'b'"),
        (["items", 1, "id"], None, "items.1.id is 'None'"),
        (["items", 1, "scores", 0], "low", "items.1.scores.0 is 'low'"),
        (["items", 1, "scores"], 0.5, "items.1.scores is '0.5'"),
        (["chosen_on"], [1], "chosen_on.0 is '1'"),
        (["cost", "tokens"], 0.5, "cost.tokens is '0.5'"),
        (["harness", "acc"], None, "harness.acc is 'None'"),
        (["settings"], [], "settings is '[]'"),
    ],
)
def test_a_damaged_place_is_named(
    tmp_path: Path, steps: list[Any], value: Any, message: str
) -> None:
    path = write_cell(tmp_path, CELL)
    inner = values = json.loads(path.read_text())
    for step in steps[:-1]:
        inner = inner[step]
    inner[steps[-1]] = value
    path.write_text(json.dumps(values))
    with pytest.raises(CellError) as caught:
        read_cell(path)
    told = f"{path} is damaged ({message}): delete it and make it again"
    assert str(caught.value) == told


def test_what_a_cell_may_lack(tmp_path: Path) -> None:
    path = write_cell(tmp_path, CELL)
    values = json.loads(path.read_text()) | {"later": 1}
    for name in ("method_title", "chosen_on", "settings", "harness", "cost", "versions"):
        del values[name]
    path.write_text(json.dumps(values))
    bare = replace(CELL, method_title=CELL.method, chosen_on=frozenset(), settings={}, harness={})
    assert read_cell(path) == replace(bare, cost=Cost(), versions={})
    del values["items"][1]["id"]
    path.write_text(json.dumps(values))
    with pytest.raises(CellError, match=r"lacks 'items\.1\.id': delete it and make it again"):
        read_cell(path)


@pytest.mark.parametrize(
    ("text", "message"), [("{}", "lacks 'model': delete it"), ("[]", "is not a JSON object")]
)
def test_a_damaged_failure_is_told(tmp_path: Path, text: str, message: str) -> None:
    write_cell(tmp_path, GENERATED)
    write_failure(tmp_path, Failure(*CELL.key, error="out of memory")).write_text(text)
    results = read_results(tmp_path)
    assert results.failures == ()
    assert message in results.damaged[0].error


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = write_cell(tmp_path, CELL)
    path.write_bytes(b"\xff\xfe\x00")
    assert "is not JSON" in read_results(tmp_path).damaged[0].error


def test_two_files_of_one_cell(tmp_path: Path) -> None:
    path = write_cell(tmp_path, CELL)
    (path.parent / "other.json").write_text(path.read_text())
    found = read_results(tmp_path)
    assert found.cells == (CELL,)
    assert "second file" in found.damaged[0].error


def test_a_folder_without_results(tmp_path: Path) -> None:
    with pytest.raises(CellError, match="not a results folder"):
        read_results(tmp_path)


def test_names_stay_inside_the_folder(tmp_path: Path) -> None:
    path = cell_path(tmp_path, "../../up", "b", "sw", "direct")
    assert path.resolve().is_relative_to(tmp_path / "cells")


def test_a_cell_may_be_packed(tmp_path: Path) -> None:
    path = write_cell(tmp_path, CELL)
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert existing_cell(tmp_path, *CELL.key) == path
    path.unlink()
    assert existing_cell(tmp_path, *CELL.key) == packed
    assert read_cell(packed) == CELL
    assert read_results(tmp_path).cells == (CELL,)
    packed.write_bytes(packed.read_bytes()[:-20])
    assert "is damaged" in read_results(tmp_path).damaged[0].error
    assert write_cell(tmp_path, CELL) == path
    assert existing_cell(tmp_path, *CELL.key) == path
    assert not packed.exists()
