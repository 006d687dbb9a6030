"""Control vectors in GGUF: what stands in them, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from langsteer.errors import ExportError, SaveError
from langsteer.export.formats import export
from langsteer.export.gguf import WITHOUT_CONTROL_VECTORS
from langsteer.model.model import Model
from langsteer.steering.foreign import architecture_name, read_gguf
from langsteer.steering.low_rank import LowRank
from langsteer.steering.projection import Projection
from langsteer.steering.sequence import ChangeSequence
from tests.helpers import make_vector


def contents(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    reader = gguf.GGUFReader(path)
    fields = {key: field.contents() for key, field in reader.fields.items()}
    return fields, {t.name: (t.tensor_type, np.array(t.data)) for t in reader.tensors}


def test_the_file_holds_strength_times_values(llama: Model, tmp_path: Path) -> None:
    vector = make_vector(llama, strength=0.3)
    fields, tensors = contents(export(vector, "gguf", tmp_path / "sw.gguf")["sw"])
    assert fields["general.architecture"] == "controlvector"
    assert fields["controlvector.model_hint"] == "llama"
    assert fields["controlvector.layer_count"] == 1
    assert (fields["langsteer.language"], fields["langsteer.positions"]) == ("sw", "all")
    assert "langsteer.everywhere" not in fields
    kind, values = tensors["direction.1"]
    assert list(tensors) == ["direction.1"]
    assert kind == gguf.GGMLQuantizationType.F32
    assert values.tobytes() == (0.3 * vector.values).numpy().tobytes()
    assert [path.name for path in tmp_path.iterdir()] == ["sw.gguf"]


def test_a_vector_comes_back(llama: Model, tmp_path: Path) -> None:
    vector = make_vector(llama, strength=0.3, state_norm=2.0, loss=(3.0, 2.0), options={"rate": 1})
    path = export(vector, "gguf", tmp_path / "sw.gguf")["sw"]
    (back,) = read_gguf(path, llama)
    assert torch.equal(back.values, 0.3 * vector.values)
    assert (back.strength, back.positions, back.layer) == (1.0, "all", 1)
    for name in ("language", "pivot", "model", "method", "state_norm", "loss", "version"):
        assert getattr(back, name) == getattr(vector, name)
    assert back.options == {"rate": 1, "exported": {"strength": 0.3, "positions": "all"}}
    assert back.relative_strength == pytest.approx(vector.relative_strength)
    ids = llama.batch([[1, 10, 11, 12]])
    with torch.no_grad():
        with vector.applied(llama):
            expected = llama.network(**ids).logits
        with back.applied(llama):
            assert torch.equal(llama.network(**ids).logits, expected)


def test_what_was_for_some_tokens_is_refused_or_noted(llama: Model, tmp_path: Path) -> None:
    vector = make_vector(llama, positions="source")
    with pytest.raises(ExportError, match=r"positions 'source', and a control vector .*everywhere"):
        export(vector, "gguf", tmp_path / "sw.gguf")
    assert not list(tmp_path.iterdir())
    path = export(vector, "gguf", tmp_path / "sw.gguf", everywhere=True)["sw"]
    fields, _ = contents(path)
    assert fields["langsteer.positions"] == "source"
    assert "positions source; in this file on every token" in fields["langsteer.everywhere"]
    (back,) = read_gguf(path)
    assert back.options["exported"] == {"strength": 1.0, "positions": "source"}


def test_several_layers_are_one_file(llama: Model, tmp_path: Path) -> None:
    vectors = [make_vector(llama, seed, layer=seed, strength=seed) for seed in (3, 1)]
    both = export(vectors, "gguf", tmp_path / "a.gguf")["sw"]
    one = export(ChangeSequence(tuple(vectors), strength=2.0), "gguf", tmp_path / "b.gguf")["sw"]
    fields, tensors = contents(both)
    assert fields["controlvector.layer_count"] == 2
    for vector in vectors:
        values = vector.strength * vector.values
        assert np.array_equal(tensors[f"direction.{vector.layer}"][1], values.numpy())
        doubled = contents(one)[1][f"direction.{vector.layer}"][1]
        assert np.array_equal(doubled, (2 * values).numpy())
    assert [back.layer for back in read_gguf(both)] == [1, 3]
    with pytest.raises(ExportError, match="two of sw for layer 1"):
        export([vectors[1], vectors[1]], "gguf", tmp_path / "c.gguf")


def test_layers_that_llama_cpp_would_leave_out(llama: Model, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="does not act on layer 0: the first is 1"):
        export(make_vector(llama, layer=0), "gguf", tmp_path / "x")
    full = {"name": "tiny", "fingerprint": llama.fingerprint}
    with pytest.raises(ExportError, match="tiny has no layer 4: its layers are 0 to 3"):
        export(replace(make_vector(llama, layer=4), model=full), "gguf", tmp_path / "x")


@pytest.mark.parametrize("architecture", ["phimoe", "mamba2", "hunyuan_v1_dense", "granitemoe"])
def test_models_without_control_vectors(architecture: str, llama: Model, tmp_path: Path) -> None:
    model = {"name": "m", "fingerprint": {**llama.fingerprint, "architecture": architecture}}
    with pytest.raises(ExportError, match=f"does not apply control vectors to {architecture}"):
        export(replace(make_vector(llama), model=model), "gguf", tmp_path / "x")
    assert architecture_name("gemma3_text") == "gemma3" not in WITHOUT_CONTROL_VECTORS


def test_maps_are_refused(llama: Model, tmp_path: Path) -> None:
    size, owner = llama.hidden_size, {"name": llama.name, "fingerprint": llama.fingerprint}
    projection = Projection(
        {1: torch.eye(size)}, {1: torch.zeros(size)}, "sw", "en", owner, positions="all"
    )
    low_rank = LowRank(
        torch.ones(size), torch.ones(size, 2), torch.ones(2, size), 1, "sw", "en", owner
    )
    sequence = ChangeSequence((make_vector(llama), projection))
    for change, kind in (
        (projection, "projection"),
        (low_rank, "low-rank map"),
        (sequence, "projection"),
    ):
        with pytest.raises(
            ExportError, match=f"That of sw is a {kind}, which depends on the token"
        ):
            export(change, "gguf", tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_a_file_is_whole_or_as_it_was(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = export(make_vector(llama), "gguf", tmp_path / "sw.gguf")["sw"]
    before = path.read_bytes()

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensors_to_file", full)
    with pytest.raises(SaveError, match="No space left"):
        export(make_vector(llama, 1), "gguf", path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
