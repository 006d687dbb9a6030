"""The file of the harness's `steered` model: its names of blocks, and what the harness makes of it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from langsteer.errors import ExportError, VectorError
from langsteer.export.formats import export
from langsteer.export.lm_eval import blocks_path
from langsteer.model.model import Model
from langsteer.steering.foreign import read_torch
from tests.helpers import ARCHITECTURES, build_model, make_vector, tiny


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_hookpoint_is_the_block_in_the_base_model(architecture: str, tmp_path: Path) -> None:
    """Worked out from the architecture alone, and from the model."""
    model = tiny(architecture)
    vector = make_vector(model, layer=2)
    alone = export(vector, "lm-eval", tmp_path / "a.pt")["sw"]
    given = export(vector, "lm-eval", tmp_path / "b.pt", model=model)["sw"]
    (name,) = torch.load(alone, weights_only=True)
    assert model.network.base_model.get_submodule(name) is model.blocks[2]
    assert alone.read_bytes() == given.read_bytes()


def test_the_file(llama: Model, tmp_path: Path) -> None:
    vectors = [make_vector(llama, seed, layer=seed, strength=0.5) for seed in (0, 2)]
    path = export(vectors, "lm-eval", tmp_path / "sw.pt")["sw"]
    content = torch.load(path, weights_only=True)
    assert list(content) == ["layers.0", "layers.2"]
    for vector in vectors:
        entry = content[f"layers.{vector.layer}"]
        assert set(entry) == {"steering_vector", "action", "steering_coefficient"}
        assert (entry["action"], entry["steering_coefficient"]) == ("add", 0.5)
        assert torch.equal(entry["steering_vector"], vector.values[None])
    for vector, back in zip(vectors, read_torch(path, llama, language="sw"), strict=True):
        assert torch.equal(back.values, 0.5 * vector.values)
        assert (back.layer, back.language, back.positions) == (vector.layer, "sw", "all")
        back.check_fits(llama)


def test_the_harness_steers_as_we_do(llama: Model, tmp_path: Path) -> None:
    steered = pytest.importorskip("lm_eval.models.hf_steered")
    vector = make_vector(llama, strength=0.5)
    path = export(vector, "lm-eval", tmp_path / "sw.pt")["sw"]
    ((name, entry),) = torch.load(path, weights_only=True).items()
    added = entry["steering_vector"] * entry["steering_coefficient"]
    hooks = {name: lambda acts: steered.SteeredModel.add(acts, vector=added, head_index=None)}
    ids = {"input_ids": torch.tensor([[10, 11, 12]])}  # without the token that is never steered
    with torch.no_grad():
        with steered.steer(llama.network, hooks):
            theirs = llama.network(**ids).logits
        with vector.applied(llama):
            torch.testing.assert_close(llama.network(**ids).logits, theirs, rtol=1e-6, atol=1e-6)


def test_what_is_refused(llama: Model, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="positions 'prompt'"):
        export(make_vector(llama, positions="prompt"), "lm-eval", tmp_path / "x.pt")
    export(make_vector(llama, positions="prompt"), "lm-eval", tmp_path / "x.pt", everywhere=True)
    odd = {"name": "m", "fingerprint": {**llama.fingerprint, "architecture": "odd"}}
    with pytest.raises(ExportError, match=r"architecture 'odd': pass model="):
        export(replace(make_vector(llama), model=odd), "lm-eval", tmp_path / "y.pt")
    with pytest.raises(VectorError, match="does not fit"):
        export(make_vector(llama), "lm-eval", tmp_path / "y.pt", model=build_model("gpt2"))
    with pytest.raises(ExportError, match="cannot find the 9 decoder blocks"):
        blocks_path(llama.network, 9)
    assert not (tmp_path / "y.pt").exists()
