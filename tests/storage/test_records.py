"""Records of plain numbers: through JSON and back, and what is told of those that are damaged."""

import copy
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langsteer.errors import AnalysisError
from langsteer.storage.records import FiledRecord, RecordFile


@dataclass(frozen=True)
class Leaf:
    curve: tuple[float, ...]
    point: tuple[float, float]
    count: int = 0


@dataclass(frozen=True)
class Tree(FiledRecord):
    FILE: ClassVar[RecordFile] = RecordFile("tree", 1, "tree.json", "grow")

    name: str
    steered: bool
    leaves: dict[str, Leaf]
    strength: float | None
    rows: tuple[tuple[Leaf, ...], ...] = ()
    other: Leaf | None = None
    options: dict[str, Any] = field(default_factory=dict)


floats = st.floats(allow_infinity=False)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
leaves = st.builds(
    Leaf,
    st.lists(floats, max_size=3).map(tuple),
    st.tuples(floats, floats),
    st.integers(),
)
trees = st.builds(
    Tree,
    st.text(),
    st.booleans(),
    st.dictionaries(st.text(), leaves, max_size=3),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.lists(leaves, max_size=2).map(tuple), max_size=2).map(tuple),
    st.none() | leaves,
    st.dictionaries(st.text(), plain, max_size=3),
)
TREE = Tree(
    "oak", True, {"sw": Leaf((1.0, math.nan), (0.5, 2.0), 3)}, None, ((Leaf((), (0.0, 0.0)),),)
)


@given(trees)
def test_any_record_survives_its_json(tree: Tree) -> None:
    text = json.dumps(tree.as_json(), allow_nan=False)
    again = Tree.from_json(json.loads(text))
    assert json.dumps(again.as_json()) == text
    assert repr(again) == repr(tree)  # NaN is not equal to NaN


def test_a_number_that_does_not_exist_is_null_in_the_file(tmp_path: Path) -> None:
    path = TREE.write(tmp_path)
    assert json.loads(path.read_text())["leaves"]["sw"]["curve"] == [1.0, None]
    curve = Tree.read(tmp_path).leaves["sw"].curve
    assert curve[0] == 1.0
    assert math.isnan(curve[1])
    assert Tree.read(path).strength is None


def test_whole_numbers_do_for_floats_and_more_keys_for_later_versions() -> None:
    values = TREE.as_json() | {"strength": 2, "later": [1]}
    strength = Tree.from_json(values).strength
    assert (strength, type(strength)) == (2.0, float)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("name", 3, "results.name is damaged: '3'"),
        ("name", None, "results.name is damaged: 'None'"),
        ("steered", 1, "results.steered is damaged: '1'"),
        ("strength", True, "results.strength is damaged: 'True'"),
        ("strength", "0.5", "results.strength is damaged: '0.5'"),
        ("leaves", [], "results.leaves is damaged: '[]'"),
        ("leaves.sw", None, "results.leaves.sw is damaged: not an object"),
        ("leaves.sw.curve", "abc", "results.leaves.sw.curve is damaged: 'abc'"),
        ("leaves.sw.curve", {"0": 1.0}, "results.leaves.sw.curve is damaged: \"{'0': 1.0}\""),
        ("leaves.sw.curve.1", "x", "results.leaves.sw.curve[1] is damaged: 'x'"),
        ("leaves.sw.point", [1.0], "results.leaves.sw.point is damaged: '[1.0]'"),
        ("leaves.sw.point", [1, 2, 3], "results.leaves.sw.point is damaged: '[1, 2, 3]'"),
        ("leaves.sw.point.0", [], "results.leaves.sw.point[0] is damaged: '[]'"),
        ("leaves.sw.count", 3.0, "results.leaves.sw.count is damaged: '3.0'"),
        ("leaves.sw.count", False, "results.leaves.sw.count is damaged: 'False'"),
        ("rows.0.0.count", "3", "results.rows[0][0].count is damaged: '3'"),
        ("rows.0", {}, "results.rows[0] is damaged: '{}'"),
        ("other", [1], "results.other is damaged: not an object"),
        ("other", {"curve": []}, "results.other is damaged: it has no point"),
        ("options", "x" * 50, f"results.options is damaged: {'x' * 40!r}"),
    ],
)
def test_a_damaged_place_is_named(place: str, value: Any, message: str, tmp_path: Path) -> None:
    values = TREE.as_json()
    *steps, last = (int(step) if step.isdigit() else step for step in place.split("."))
    inner: Any = values
    for step in steps:
        inner = inner[step]
    inner[last] = value
    path = tmp_path / "tree.json"
    path.write_text(json.dumps(values))
    with pytest.raises(AnalysisError) as caught:
        Tree.read(path)
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize("name", ["name", "leaves", "strength", "other", "options"])
def test_a_field_that_is_missing_is_named_though_it_has_a_default(name: str) -> None:
    values = TREE.as_json()
    del values[name]
    with pytest.raises(AnalysisError, match=f"^results is damaged: it has no {name}$"):
        Tree.from_json(values)


@given(st.sampled_from(["name", "steered", "leaves", "strength", "rows", "other"]), plain)
def test_whatever_stands_there_is_read_as_it_is_or_refused(name: str, value: Any) -> None:
    values = copy.deepcopy(TREE.as_json()) | {name: value}
    try:
        read = Tree.from_json(values).as_json()[name]
    except AnalysisError as error:
        refused = str(error)
    else:
        assert read == value
        return
    assert f"results.{name}" in refused
