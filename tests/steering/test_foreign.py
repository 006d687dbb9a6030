"""Vectors in other tools' files: read as what they are, and refused where they are something else."""

import pickle
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

import langsteer
from langsteer.errors import VectorError
from langsteer.model.model import Model
from langsteer.steering.foreign import read_foreign, read_gguf, read_torch
from langsteer.steering.sequence import ChangeSequence
from tests.helpers import build_model


def written(
    path: Path, tensors: dict[str, Any], hint: str = "llama", kind: str = "controlvector"
) -> Path:
    """A file as repeng writes it."""
    writer = gguf.GGUFWriter(path, kind)
    writer.add_string(f"{kind}.model_hint", hint)
    writer.add_uint32(f"{kind}.layer_count", len(tensors))
    for name, values in tensors.items():
        writer.add_tensor(name, np.asarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def ramp(size: int, start: float = 0.0) -> np.ndarray[Any, Any]:
    return np.arange(start, start + size, dtype=np.float32)


def test_another_tools_control_vector(llama: Model, tmp_path: Path) -> None:
    size = llama.hidden_size
    path = written(tmp_path / "a.gguf", {"direction.3": ramp(size), "direction.1": ramp(size, 5)})
    low, high = read_gguf(path, llama, language="sw")
    assert (low.layer, high.layer) == (1, 3)
    assert np.array_equal(low.values.numpy(), ramp(size, 5))
    assert (low.strength, low.positions, low.language, low.pivot) == (1.0, "all", "sw", "en")
    low.check_fits(llama)
    alone, _ = read_gguf(path)
    assert (alone.language, alone.model["name"]) == ("und", "llama")
    both = langsteer.load(path, llama)
    assert isinstance(both, ChangeSequence)
    assert both.layers == (1, 3)
    ids = llama.batch([[1, 10, 11]])
    with torch.no_grad():
        with low.applied(llama), high.applied(llama):
            expected = llama.network(**ids).logits
        with both.applied(llama):
            assert torch.equal(llama.network(**ids).logits, expected)


def test_float16_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "a.gguf", {"direction.1": ramp(32).astype(np.float16)})
    assert torch.equal(read_gguf(path)[0].values, torch.arange(32.0))


@pytest.mark.parametrize(
    ("tensors", "hint", "message"),
    [
        ({"direction.9": ramp(32)}, "llama", "tiny-llama has 4 layers of size 32"),
        ({"direction.1": ramp(16)}, "llama", "size 16 for layer 1"),
        ({"direction.1": ramp(32)}, "qwen3", "is for qwen3, and tiny-llama is llama"),
        ({"direction.1": ramp(32) * np.nan}, "llama", "layer 1: .*NaN"),
        ({"direction.1": np.ones((2, 32), np.float32)}, "llama", "has one dimension, not 2"),
        ({"other.1": ramp(32)}, "llama", "has a tensor 'other.1'"),
        ({"direction.1": np.arange(32)}, "llama", "direction.1 is I64"),
        ({}, "llama", "no direction in it"),
    ],
)
def test_control_vectors_that_cannot_be_used(
    tensors: Any, hint: str, message: str, llama: Model, tmp_path: Path
) -> None:
    path = written(tmp_path / "a.gguf", tensors, hint)
    with pytest.raises(VectorError, match=message):
        read_gguf(path, llama)


def test_files_that_are_no_control_vectors(tmp_path: Path) -> None:
    with pytest.raises(VectorError, match="there is no file"):
        langsteer.load(tmp_path / "none.gguf")
    with pytest.raises(VectorError, match="it is a GGUF file of llama"):
        read_gguf(written(tmp_path / "m.gguf", {"a": ramp(32)}, kind="llama"))
    whole = written(tmp_path / "a.gguf", {"direction.1": ramp(32)}).read_bytes()
    for content in (b"", b"nothing of the kind", whole[:60], whole[:-40]):
        (tmp_path / "b.gguf").write_bytes(content)
        with pytest.raises(VectorError, match="cut short or not a GGUF file"):
            read_gguf(tmp_path / "b.gguf")


def test_plain_tensors_by_layer(llama: Model, tmp_path: Path) -> None:
    values = torch.arange(32.0)
    forms: list[Any] = [
        {2: values},
        {"layer_activations": {2: values}, "layer_type": "decoder_block"},
        {"layers.2": {"steering_vector": values[None], "action": "add"}},
        {
            "model.layers.2": {
                "steering_vector": values / 2, "action": "add", "steering_coefficient": 2.0,
                "bias": None, "head_index": None,
            }
        },
    ]  # fmt: skip
    for content in forms:
        torch.save(content, tmp_path / "a.pt")
        vector = langsteer.load(tmp_path / "a.pt", llama)
        assert vector.layers == (2,)
        assert torch.equal(vector.tensors()["values"], values)
    assert read_torch(tmp_path / "a.pt", language="tr")[0].language == "tr"
    with pytest.raises(VectorError, match="gpt2 has 4 layers of size 64"):
        read_torch(tmp_path / "a.pt", build_model("gpt2", hidden_size=64))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "no dictionary of vectors"),
        ({}, "no dictionary of vectors"),
        ({"layers.2": torch.ones(4), 2: torch.ones(4)}, "two vectors for one layer"),
        ({"head": torch.ones(4)}, "names no decoder block"),
        ({2: "text"}, "2 has no vector"),
        ({2: {"steering_vector": torch.ones(4), "action": "clamp"}}, "is to clamp; only add"),
        ({2: {"steering_vector": torch.ones(4), "action": "add", "bias": torch.ones(4)}}, "a bias"),
        ({2: torch.ones(2, 4)}, "has one dimension, not 2"),
        ({"layer_activations": {2: torch.ones(4)}, "layer_type": "mlp"}, "not of decoder blocks"),
    ],
)
def test_tensors_that_are_no_vectors(content: Any, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(VectorError, match=message):
        read_foreign(tmp_path / "a.pt")


class Harmful:
    """A Python object in a file: what torch.load would run."""

    def __reduce__(self) -> Any:
        return (print, ("it ran",))


@pytest.mark.filterwarnings("error")
def test_objects_are_never_unpickled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({2: Harmful()}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Harmful()))
    for name in ("a.pt", "b.pt"):
        with pytest.raises(VectorError, match="Python objects are not read"):
            langsteer.load(tmp_path / name)
    assert capsys.readouterr().out == ""
    (tmp_path / "c.pt").write_bytes(b"nothing of the kind")
    with pytest.raises(VectorError, match=r"c\.pt"):
        langsteer.load(tmp_path / "c.pt")
