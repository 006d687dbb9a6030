"""What could help: the halves learn from each other, slopes choose places, exact runs are held out."""

from pathlib import Path

import pytest
import torch

from langsteer.diagnosis import reach as module
from langsteer.diagnosis.reach import Halves, _Mapped, halves_of, reaches
from langsteer.diagnosis.scoring import answer_scores, asked, scale_of
from langsteer.diagnosis.slopes import one_nat_along
from langsteer.model.model import Model
from tests.helpers import make_vector, pairs
from tests.made.questions import item_rows, label_rows, made_task


def random_halves(texts: int = 12, layers: int = 2, size: int = 6) -> Halves:
    generator = torch.Generator().manual_seed(0)
    here = torch.randn(texts, layers, size, generator=generator)
    there = 2 * here + 1
    return Halves(here, there, torch.arange(texts) % 2, own=True)


def test_a_half_is_learned_from_the_other() -> None:
    halves = random_halves()
    tried = halves.sides == 0
    here, there = halves.pairs(1, 0)
    assert torch.equal(here, halves.here[~tried, 1])
    torch.testing.assert_close(halves.offset(1, 0), (there - here).mean(0))
    assert not torch.allclose(halves.offset(1, 0), halves.offset(1, 1))


def test_the_map_from_pairs_is_that_of_the_projection() -> None:
    halves = random_halves()
    matrix, offset = halves.projection(0, 0)
    states = torch.randn(5, 6)
    moved = _Mapped(*halves.pairs(0, 0))(states)
    torch.testing.assert_close(states + moved, states @ matrix.T + offset, atol=1e-4, rtol=1e-4)


def test_without_english_the_corpus_stands_in(llama: Model, tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if k != "english"} for row in item_rows(6)]
    items = made_task(tmp_path, rows).all
    halves, told = halves_of(llama, items, pairs(8))
    assert told == "8 lines of test"
    assert torch.equal(halves.offset(1, 0), halves.offset(1, 1))
    alone, told = halves_of(llama, items, None)
    assert alone.there is None
    assert told == ""


@pytest.mark.parametrize("rows", [item_rows(24), label_rows(24)], ids=["own choices", "the same"])
def test_every_layer_and_kind_is_told(llama: Model, tmp_path: Path, rows: list[dict]) -> None:  # type: ignore[type-arg]
    items = made_task(tmp_path, rows).all
    questions = asked(llama, [item.own for item in items], items)
    (scores,) = answer_scores(llama, questions)
    scale = scale_of(questions)
    found = reaches(llama, items, questions, scores, scale, "sw")
    assert {slope.layer for slope in found.slopes} == {0, 1, 2}
    places = {(s.means, s.positions) for s in found.slopes}
    assert ("map", "generated") not in places
    assert len(places) == 8
    assert {reach.means for reach in found.exact} == {"offset", "map", "labels"}
    assert found.pairs == "the items and their English"
    before = scale.values(scores, questions.right).mean()
    assert all(0 <= before + reach.gain.value <= 100 for reach in found.exact)
    assert found.best is not None
    assert found.best.gain.value == max(reach.gain.value for reach in found.exact)


def test_what_is_learned_from_labels_is_of_the_other_half() -> None:
    sums = torch.randn(2, 2, 3, 6, generator=torch.Generator().manual_seed(1))
    there = module.Slopes(sums, (6, 4), torch.zeros(10, 2, 3))
    told = {(s.means, s.positions): s.nats for s in module._slopes_at(there, random_halves(), 1)}
    even, odd = sums[0, 1, 0] / 6, sums[1, 1, 0] / 4
    assert float(odd @ one_nat_along(odd)) == pytest.approx(1, abs=1e-5)
    won = 6 * float(even @ odd / odd.square().sum()) + 4 * float(even @ odd / even.square().sum())
    assert told["labels", "source"] == pytest.approx(won / 10, abs=1e-5)
    assert not one_nat_along(torch.zeros(6)).any()


def test_a_small_step_along_labels_wins_what_was_told(llama: Model, tmp_path: Path) -> None:
    items = made_task(tmp_path, item_rows(12)).all
    questions = asked(llama, [item.own for item in items], items)
    there = module.slopes(llama, questions)
    step = 1e-2 * one_nat_along(there.mean(1, "prompt"))
    vector = make_vector(llama, values=step, layer=1, positions="prompt")
    before, after = (
        sum(
            float(torch.log_softmax(torch.from_numpy(row), 0)[right])
            for row, right in zip(rows, questions.right, strict=True)
        )
        for rows in answer_scores(llama, questions, [None, vector])
    )
    assert (after - before) / len(items) == pytest.approx(1e-2, rel=0.2)


def test_the_strength_is_chosen_on_the_first_and_told_of_all(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST", 10)
    items = made_task(tmp_path, item_rows(24)).all
    questions = asked(llama, [item.own for item in items], items)
    (scores,) = answer_scores(llama, questions)
    asked_of: list[tuple[int, int]] = []

    def spy(model: Model, part: module.Asked, changes: list[object], label: str) -> object:
        asked_of.append((len(part.right), len(changes)))
        return answer_scores(model, part, changes)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "answer_scores", spy)
    found = reaches(llama, items, questions, scores, scale_of(questions), "sw")
    places = len(found.exact)
    strengths = sum(len(module.STRENGTHS[reach.means]) for reach in found.exact)
    assert asked_of == [(5, strengths), (5, strengths), (7, places), (7, places)]


def test_an_offset_alone_is_tried_the_other_way_round(llama: Model) -> None:
    told = [module.Slope(means, 1, "prompt", -0.5) for means in module.MEANS]
    signs = {means: sign for means, *_, sign in module._tried(llama, told)}
    assert signs == {"offset": -1.0, "map": 1.0, "labels": 1.0}
