"""What a search chooses among: fitted once, kept, and used in many ways."""

from pathlib import Path

import pytest

from langsteer.diagnosis.fits import (
    Fits,
    averaged_candidates,
    cheap_candidates,
    learned_candidates,
    refined,
    together,
    used,
    written_candidates,
)
from langsteer.diagnosis.trials import Trials
from langsteer.errors import FitError
from langsteer.fitting.learned import STRENGTH
from langsteer.fitting.recipe import parse_recipe
from langsteer.model.model import Model
from langsteer.steering.sequence import ChangeSequence
from langsteer.steering.vector import SteeringVector
from tests.helpers import make_vector, pairs


@pytest.fixture
def fits(llama: Model, tmp_path: Path) -> Fits:
    return Fits(llama, pairs(12), tmp_path, Trials(tmp_path / "trials.jsonl", {}))


def test_the_default_is_what_fit_learns(fits: Fits) -> None:
    default = fits.default()
    assert default.change.positions == "prompt"
    assert default.change.strength == STRENGTH
    assert default.name == f"learned:{default.change.layers[0]}@prompt*{STRENGTH:g}"
    assert fits.longest() > 0
    assert [file.suffix for file in fits.folder.glob("learned*")] == [".safetensors"]


def test_fits_are_kept(fits: Fits, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fits.at_layers("mean_difference", [0, 1])
    monkeypatch.setattr("langsteer.diagnosis.fits.get_method", None)
    again = fits.at_layers("mean_difference", [0, 1])
    assert Fits(fits.model, fits.corpus, fits.folder, fits.trials).longest() == fits.longest() > 0
    assert [c.tensors()["values"].tolist() for c in first] == [
        c.tensors()["values"].tolist() for c in again
    ]


def test_a_kept_fit_of_other_text_or_seed_is_made_again(fits: Fits, llama: Model) -> None:
    (first,) = fits.at_layers("mean_difference", [1])
    seeded = Fits(llama, pairs(12), fits.folder, fits.trials, seed=1)
    assert seeded.at_layers("mean_difference", [1])[0].options["seed"] == 1
    other = Fits(llama, pairs(16), fits.folder, fits.trials)
    (second,) = other.at_layers("mean_difference", [1])
    assert first.corpus != second.corpus


def test_names_are_recipes_that_differ(fits: Fits) -> None:
    candidates = cheap_candidates(fits, lambda: True)
    names = [candidate.name for candidate in candidates]
    assert len(set(names)) == len(names) > 20
    for candidate in candidates:
        (part,) = parse_recipe(candidate.name)
        assert part.layer == candidate.change.layers[0]
        assert part.positions == candidate.change.positions
        assert part.strength == candidate.change.strength
    assert {c.change.positions for c in candidates} == {"source", "prompt", "generated", "all"}
    assert {c.label for c in candidates} == {"mean_difference", "projection"}
    few = cheap_candidates(fits, lambda: False)
    assert {c.label for c in few} == {"mean_difference"}


def test_what_acts_on_what_is_written(fits: Fits, monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = written_candidates(fits)
    assert {c.change.positions for c in candidates} == {"generated"}
    for candidate in candidates:
        parts = parse_recipe(candidate.name)
        assert [part.method for part in parts] == [p.method for p in candidate.change.used_parts]
    clamps = [c for c in candidates if c.change.layers]
    biases = [c for c in candidates if not c.change.layers]
    assert (len(clamps), len(biases)) == (1, 3)
    both = {c.name: c.change for c in refined([clamps[0], *biases])}
    assert f"{clamps[0].name} + {biases[0].name}" in both
    assert f"{clamps[0].name} + {biases[1].name}" in both
    again = [c.change for c in written_candidates(fits)]
    assert again[0].tensors()["values"].equal(clamps[0].change.tensors()["values"])

    def too_small(*args: object) -> None:
        raise FitError("the corpus is too small")

    monkeypatch.setattr("langsteer.diagnosis.answer_candidates.pivot_words", too_small)
    assert [c.name for c in written_candidates(fits)] == [c.name for c in clamps]


def test_learning_stops_where_there_is_no_time(fits: Fits) -> None:
    few = learned_candidates(fits, [1, 0], lambda: False)
    assert {c.change.layers for c in few} == {fits.default().change.layers}
    turns = iter([True, False])
    more = learned_candidates(fits, [1, 0], lambda: next(turns))
    assert {c.change.layers for c in more} == {(2,), (1,)}


def test_averages_of_other_languages(fits: Fits, llama: Model) -> None:
    default = fits.default().change
    others = {
        tag: make_vector(llama, i, language=tag, layer=default.layers[0], positions="prompt")
        for i, tag in enumerate(("de", "tr", "et"))
    }
    found = averaged_candidates(others, "sw", default)
    assert {c.label for c in found} == {"average", "average with own"}
    assert averaged_candidates({"de": others["de"]}, "sw", None) == []
    own = averaged_candidates({"sw": make_vector(llama)}, "sw", None)
    assert [c.change.strength for c in own] == [1.0, 0.5]


def test_around_the_best(llama: Model) -> None:
    reading = used("learned", make_vector(llama), "prompt", 1.0)
    other = used("mean_difference", make_vector(llama, layer=2), "source", 0.5)
    writing = used("mean_difference", make_vector(llama), "generated", -0.5)
    found = {c.name: c.change for c in refined([reading, other, writing])}
    assert found["learned:1@prompt*0.7"].strength == 0.7
    kept = found["learned:1@prompt*1, length kept"]
    assert isinstance(kept, SteeringVector)
    assert kept.keeps_length
    both = found[f"{reading.name} + {writing.name}"]
    assert isinstance(both, ChangeSequence)
    assert [part.strength for part in both.parts] == [1.0, -0.5]
    assert f"{reading.name} + {other.name}" in found
    assert refined([together(reading, writing)]) == []
