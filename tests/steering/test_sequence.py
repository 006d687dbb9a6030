"""Changes of several parts: one after another, each at its own place, in one file."""

from pathlib import Path

import pytest
import torch

from langsteer import load
from langsteer.errors import VectorError
from langsteer.model.model import Model
from langsteer.steering.low_rank import LowRank
from langsteer.steering.projection import Projection
from langsteer.steering.sequence import ChangeSequence, states_part
from langsteer.steering.vector import SteeringVector
from tests.helpers import ARCHITECTURES, batch, make_bias, make_vector, real_tokens, tiny


def owner(model: Model) -> dict[str, object]:
    return {"name": model.name, "fingerprint": model.fingerprint}


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) / 5


def make_projection(model: Model, layer: int = 2) -> Projection:
    maps, offsets = {layer: random(1, 32, 32)}, {layer: random(2, 32)}
    return Projection(maps, offsets, "sw", "en", owner(model), 0.5, positions="all")


def make_low_rank(model: Model, layer: int = 1) -> LowRank:
    numbers = random(3, 32), random(4, 32, 3), random(5, 3, 32)
    return LowRank(*numbers, layer, "sw", "en", owner(model), positions="prompt", loss=(2.0, 1.0))


@torch.inference_mode()
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_parts_act_one_after_another(architecture: str) -> None:
    """As the contexts of the parts, nested, do; also at one layer."""
    model = tiny(architecture)
    inputs = batch(model, "left")
    parts = (make_vector(model, layer=1), make_projection(model, 1), make_low_rank(model, 2))
    with ChangeSequence(parts).applied(model):
        together = model.network(**inputs).logits
    with parts[0].applied(model), parts[1].applied(model), parts[2].applied(model):
        assert torch.equal(model.network(**inputs).logits, together)
    with parts[1].applied(model), parts[0].applied(model), parts[2].applied(model):
        assert not torch.equal(model.network(**inputs).logits, together)


@torch.inference_mode()
def test_each_part_has_its_own_positions(llama: Model) -> None:
    inputs = batch(llama, "left", (5, 5))
    mask = torch.zeros_like(inputs["input_ids"], dtype=torch.bool)
    mask[:, 1:3] = True
    source = make_vector(llama, 0, layer=0, positions="source")
    generated = make_vector(llama, 1, layer=3, positions="generated")
    sequence = ChangeSequence((source, generated))
    assert sequence.positions is None
    with source.applied(llama, mask=mask):
        read = llama.network(**inputs).logits
    with sequence.applied(llama, mask=mask):
        assert torch.equal(llama.network(**inputs).logits, read)
        written = llama.network.generate(**_ids(inputs), max_new_tokens=6, do_sample=False)
    with source.applied(llama, mask=mask), generated.applied(llama, mask=mask):
        alone = llama.network.generate(**_ids(inputs), max_new_tokens=6, do_sample=False)
    assert torch.equal(written, alone)
    with source.applied(llama, mask=mask):
        plain = llama.network.generate(**_ids(inputs), max_new_tokens=6, do_sample=False)
    assert not torch.equal(written, plain)


@torch.inference_mode()
def test_strength_and_positions_of_all_parts(llama: Model) -> None:
    inputs = batch(llama, "left")
    vector = make_vector(llama)
    sequence = ChangeSequence((vector, make_low_rank(llama)), strength=0.5)
    with vector.applied(llama, strength=0.5), make_low_rank(llama).applied(llama, strength=0.5):
        half = llama.network(**inputs).logits
    with sequence.applied(llama):
        assert torch.equal(llama.network(**inputs).logits, half)
    with sequence.applied(llama, strength=0.0):
        steered = llama.network(**inputs).logits
    assert torch.equal(
        steered[real_tokens(inputs)], llama.network(**inputs).logits[real_tokens(inputs)]
    )
    assert sequence.at("source").positions == "source"


@pytest.mark.parametrize("name", ["vector", "projection", "low_rank", "sequence"])
def test_a_file_says_what_it_is(name: str, llama: Model, tmp_path: Path) -> None:
    vector, projection, low_rank = (
        make_vector(llama), make_projection(llama), make_low_rank(llama)
    )  # fmt: skip
    sequence = ChangeSequence((vector, projection, low_rank), 0.7, {"recipe": "a"}, {"best": 1.0})
    change = {
        "vector": vector,
        "projection": projection,
        "low_rank": low_rank,
        "sequence": sequence,
    }[name]
    loaded = load(change.save(tmp_path / "c.safetensors"), llama)
    assert type(loaded) is type(change)
    assert loaded.describe() == change.describe()
    assert set(loaded.tensors()) == set(change.tensors())
    for key, numbers in change.tensors().items():
        assert torch.equal(loaded.tensors()[key], numbers)
    with pytest.raises(VectorError, match="architecture is llama there and gpt2 here"):
        load(tmp_path / "c.safetensors", tiny("gpt2"))
    if name != "vector":
        with pytest.raises(VectorError, match=f"it is a {change.kind.format}"):
            SteeringVector.load(tmp_path / "c.safetensors")


def test_parts_that_do_not_belong_together(llama: Model) -> None:
    vector = make_vector(llama)
    with pytest.raises(VectorError, match="one language, and these have sw and tr"):
        ChangeSequence((vector, make_vector(llama, language="tr")))
    with pytest.raises(VectorError, match="one model, and these have tiny-llama and tiny-gpt2"):
        ChangeSequence((vector, make_vector(tiny("gpt2"))))
    with pytest.raises(VectorError, match="at least one change"):
        ChangeSequence(())
    with pytest.raises(VectorError, match="of single changes"):
        ChangeSequence((ChangeSequence((vector,)),))


def test_bad_numbers(llama: Model) -> None:
    with pytest.raises(VectorError, match="low-rank map has values"):
        LowRank(random(0, 32), random(0, 32, 2), random(0, 3, 32), 1, "sw", "en", owner(llama))
    nan = torch.full((2, 32), float("nan"))
    with pytest.raises(VectorError, match="low-rank map holds NaN"):
        LowRank(random(0, 32), random(0, 32, 2), nan, 1, "sw", "en", owner(llama))
    with pytest.raises(VectorError, match="strength must be a finite number"):
        make_projection(llama).with_strength(float("inf"))


def _ids(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: inputs[key] for key in ("input_ids", "attention_mask")}


@torch.inference_mode()
def test_a_sequence_among_changes_acts_as_it_does_alone(llama: Model) -> None:
    inputs = batch(llama, "left")
    inner = ChangeSequence((make_vector(llama, layer=0), make_low_rank(llama)), strength=0.5)
    last = make_vector(llama, 1, layer=2)
    whole = ChangeSequence.of([inner, last], options={"recipe": "both"})
    assert [part.strength for part in whole.parts] == [0.5, 0.5, 1.0]
    with inner.applied(llama), last.applied(llama):
        apart = llama.network(**inputs).logits
    with whole.applied(llama):
        assert torch.equal(llama.network(**inputs).logits, apart)


def test_a_method_of_several_parts_is_named_once(llama: Model) -> None:
    parts = (make_vector(llama, layer=0), make_vector(llama, layer=1))
    assert ChangeSequence(parts).method == "test + test"
    assert ChangeSequence(parts, options={"method": "whole"}).method == "whole"


def test_what_acts_on_states() -> None:
    llama = tiny("llama")
    vector, bias = make_vector(llama, strength=2.0), make_bias(llama, "sw")
    assert states_part(vector) is vector
    assert states_part(bias) is None
    assert states_part(ChangeSequence((bias, bias))) is None
    whole = ChangeSequence((vector, bias), strength=0.5)
    part = states_part(whole)
    assert part is not None
    assert [type(own) for own in part.parts] == [SteeringVector]
    assert part.used_parts[0].strength == 1.0
    assert states_part(ChangeSequence((vector,))) is not None
    moved = whole.at("all")
    assert [own.positions for own in moved.parts] == ["all", "generated"]
