"""Vectors by language, and the rows of what they add."""

from pathlib import Path

import pytest
import torch

from langsteer.engines.vllm.catalogue import NONE, make_catalogue, read_catalogue, row_digest
from langsteer.engines.vllm.steering import Prompt, bias_of, steering_of
from langsteer.engines.vllm.word import Word
from langsteer.errors import VectorError
from langsteer.steering.logit_bias import request_bias
from langsteer.steering.projection import Projection
from langsteer.steering.sequence import ChangeSequence
from langsteer.steering.vector import SteeringVector
from tests.helpers import make_bias, make_vector, tiny


def vector(seed: int = 0, **changes: object) -> SteeringVector:
    return make_vector(tiny("llama"), seed, **changes)


def test_a_vector_is_one_row_at_the_kinds_it_acts_on() -> None:
    made = vector(positions="source", strength=2.0)
    catalogue = make_catalogue({"sw": made})
    entry = catalogue.entries["sw"]
    row = row_digest({1: made.values})
    assert entry.strength == 2.0
    assert dict(entry.rows) == {
        None: (NONE, row, NONE),
        "source": (NONE, row, NONE),
        "prompt": (row, row, NONE),
        "generated": (NONE, NONE, row),
        "all": (row, row, row),
    }
    assert catalogue.places == {NONE: 0, row: 1}
    assert torch.equal(catalogue.table(1), torch.stack([torch.zeros(32), made.values]))
    assert catalogue.layers == (1,)


def test_parts_that_act_together_are_added_up() -> None:
    reading = vector(1, positions="prompt", layer=1, strength=2.0)
    writing = vector(2, positions="generated", layer=1, strength=-1.0)
    deep = vector(3, positions="all", layer=3)
    catalogue = make_catalogue({"sw": ChangeSequence((reading, writing, deep), strength=0.5)})
    entry = catalogue.entries["sw"]
    template, source, generated = entry.rows[None]
    assert template == source != generated
    assert entry.strength == 0.5
    tables = {layer: catalogue.table(layer) for layer in catalogue.layers}
    places = catalogue.places
    assert torch.equal(tables[1][places[source]], 2 * reading.values)
    assert torch.equal(tables[1][places[generated]], -writing.values)
    assert torch.equal(tables[3][places[source]], deep.values)
    together = entry.rows["all"][0]
    assert torch.equal(tables[1][places[together]], 2 * reading.values - writing.values)


def test_a_row_is_known_by_its_numbers_and_layer_alone() -> None:
    values = vector().values
    same = make_catalogue({"sw": vector(), "tr": vector(language="tr", strength=3.0)})
    assert len(same.rows) == 2
    assert row_digest({1: values}) != row_digest({2: values})
    assert row_digest({1: values}) != row_digest({1: values * 1.0001})
    assert row_digest({1: values, 2: torch.zeros(32)}) == row_digest({1: values})
    assert row_digest({1: torch.zeros(32)}) == row_digest({}) == NONE


def test_the_digest_of_all_says_whether_anything_differs(tmp_path: Path) -> None:
    vector().save(tmp_path / "sw.safetensors")
    digest = read_catalogue(tmp_path).digest
    assert read_catalogue([tmp_path / "sw.safetensors"]).digest == digest
    for changed in (vector(strength=2.0), vector(5), vector(layer=2), vector(positions="prompt")):
        assert make_catalogue({"sw": changed}).digest != digest


def test_what_is_no_vector_is_refused() -> None:
    about = vector().model
    maps, offsets = {1: torch.eye(32)}, {1: torch.zeros(32)}
    projection = Projection(maps, offsets, "sw", "en", about)
    with pytest.raises(VectorError, match="that of sw is a projection: leave it out"):
        make_catalogue({"sw": projection})
    with pytest.raises(VectorError, match="that of sw has a part that is a projection"):
        make_catalogue({"sw": ChangeSequence((vector(), projection))})
    with pytest.raises(VectorError, match="there is no vector to serve"):
        make_catalogue({})


def test_a_vector_that_keeps_lengths_is_refused() -> None:
    with pytest.raises(VectorError, match="keeps the length of each state"):
        make_catalogue({"sw": vector(keeps_length=True)})


def test_a_bias_is_no_row_and_travels_with_a_request() -> None:
    bias = make_bias(tiny("llama"), "sw", strength=0.5)
    with_vector = make_catalogue({"sw": ChangeSequence((vector(), bias), strength=2.0)})
    alone = make_catalogue({"sw": bias})
    without = make_catalogue({"sw": ChangeSequence((vector(),), strength=2.0)})
    assert with_vector.places == without.places
    assert alone.places == {NONE: 0}
    assert len({c.digest for c in (with_vector, alone, without)}) == 3
    word, half = Word("sw"), Word("sw", strength=1.0)
    assert bias_of(word, without) == bias_of(Word("en"), alone) == bias_of(Word(None), alone) == {}
    for catalogue, scale in ((with_vector, 2.0), (alone, 1.0)):
        told = bias_of(word, catalogue)
        assert told == request_bias(scale * 0.5 * bias.values)
        assert len(told) == int((bias.values != 0).sum()) > 0
    assert bias_of(half, alone) == request_bias(bias.values)
    assert steering_of(word, alone, Prompt([1, 2])) is None
