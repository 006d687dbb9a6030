"""What is learned from the items to choose on and their English."""

from pathlib import Path
from typing import Any

import pytest
import torch

from langsteer.diagnosis import find, translated_items
from langsteer.diagnosis.find import find_recipe
from langsteer.diagnosis.fits import Candidate
from langsteer.diagnosis.translated_items import DIFFERENCE, PROJECTED, translated_candidates
from langsteer.model.model import Model
from langsteer.model.tokens import encode
from langsteer.states.capture import sentence_states
from langsteer.steering.projection import Projection
from langsteer.steering.vector import SteeringVector
from tests.helpers import pairs
from tests.made.questions import item_rows, label_rows, made_task


def made(model: Model, folder: Path, rows: list[dict[str, Any]]) -> list[Candidate]:
    task = made_task(folder, rows)
    return translated_candidates(model, task, task.development)


def test_each_half_is_learned_from_the_other(llama: Model, tmp_path: Path) -> None:
    items = made_task(tmp_path, item_rows(80)).development
    own = made(llama, tmp_path, item_rows(80))
    assert len({candidate.name for candidate in own}) == len(own)
    candidate = next(c for c in own if c.name.startswith(f"{DIFFERENCE}:1@source*0.5"))
    assert candidate.halves is not None
    own_texts = [item.own.prompt for item in items]
    english = [item.english.prompt for item in items if item.english is not None]
    here, there = (
        sentence_states(llama, encode(llama, t), [1])[:, 0] for t in (own_texts, english)
    )
    expected = {None: slice(None), 0: slice(1, None, 2), 1: slice(0, None, 2)}
    for side, part in expected.items():
        change = candidate.change if side is None else candidate.halves[side]
        assert isinstance(change, SteeringVector)
        torch.testing.assert_close(change.values, (there - here)[part].mean(0))
        assert change.strength == 0.5
    assert candidate.change.corpus["lines"] == len(items)


def test_a_projection_brings_states_nearer_to_english(llama: Model, tmp_path: Path) -> None:
    items = made_task(tmp_path, item_rows(80)).development
    mapped = [
        c.change for c in made(llama, tmp_path, item_rows(80)) if c.name.startswith(PROJECTED)
    ]
    assert mapped
    texts = [[item.own.prompt for item in items], [i.english.prompt for i in items if i.english]]
    for change in mapped:
        assert isinstance(change, Projection)
        (layer,) = change.layers
        here, there = (sentence_states(llama, encode(llama, t), [layer])[:, 0] for t in texts)
        moved = here @ change.maps[layer].T + change.offsets[layer]
        assert (moved - there).norm() < (here - there).norm()


@pytest.mark.parametrize(
    "rows",
    [
        item_rows(40),
        [{k: v for k, v in row.items() if k != "english"} for row in item_rows(80)],
        [
            row | {"english": {"prompt": row["prompt"], "choices": row["choices"]}}
            for row in item_rows(80)
        ],
    ],
    ids=["too few", "without English", "in English already"],
)
def test_where_there_are_none(llama: Model, tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    assert made(llama, tmp_path, rows) == []


def test_a_search_tries_them_and_goes_on_with_the_same(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cheap_candidates", "learned_candidates", "labelled_candidates"):
        monkeypatch.setattr(find, name, lambda *_: [])
    task = made_task(tmp_path, label_rows(120))
    change, found = find_recipe(llama, task, pairs(12), tmp_path / "search", budget=2)
    tried = [s.candidate for s in found.standings if translated_items.OF_ITEMS in s.candidate]
    assert len(tried) > 4
    again, same = find_recipe(llama, task, pairs(12), tmp_path / "search", budget=2)
    assert same.recipe == found.recipe
    for name, values in change.tensors().items():
        torch.testing.assert_close(again.tensors()[name], values)
