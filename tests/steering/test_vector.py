import errno
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from langsteer.errors import SaveError, VectorError
from langsteer.model.model import Model
from langsteer.steering.folder import load_vectors, read_vectors
from langsteer.steering.vector import SteeringVector
from langsteer.storage import files
from tests.helpers import make_vector, tiny


def test_save_and_load(llama: Model, tmp_path: Path) -> None:
    vector = make_vector(
        llama, strength=0.5, loss=(2.0, 1.5), scores={"divergence": 0.1}, options={"seed": 3}
    )
    loaded = SteeringVector.load(vector.save(tmp_path / "a" / "v.safetensors"), llama)
    assert torch.equal(loaded.values, vector.values)
    for name in (
        "layer",
        "strength",
        "positions",
        "language",
        "model",
        "options",
        "scores",
        "loss",
    ):
        assert getattr(loaded, name) == getattr(vector, name)
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["v.safetensors"]


def test_damaged_and_foreign_files(llama: Model, tmp_path: Path) -> None:
    path = make_vector(llama).save(tmp_path / "v.safetensors")
    data = path.read_bytes()
    for size in (0, 5, 100, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(VectorError, match="truncated"):
            SteeringVector.load(path)
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(VectorError, match="not a langsteer vector file"):
        SteeringVector.load(path)
    with pytest.raises(VectorError, match="there is no vector file"):
        SteeringVector.load(tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "value"),
    [("language", "5"), ("pivot", "[1]"), ("method", "5"), ("state_norm", '"x"')],
)
def test_values_of_another_type(llama: Model, tmp_path: Path, name: str, value: str) -> None:
    path = make_vector(llama).save(tmp_path / "a.safetensors")
    with safe_open(path, framework="pt") as file:
        record = file.metadata() | {name: value}
    del record["sha256"]
    save_file(load_file(path), path, metadata=record)
    with pytest.raises(VectorError, match=f"a.safetensors is damaged: its {name} is"):
        SteeringVector.load(path)


def test_numbers_that_are_not_finite(llama: Model) -> None:
    with pytest.raises(VectorError, match="NaN or infinity"):
        make_vector(llama, values=torch.tensor([1.0, float("nan")]))


def test_loading_onto_another_model(llama: Model, tmp_path: Path) -> None:
    path = make_vector(llama).save(tmp_path / "v.safetensors")
    with pytest.raises(VectorError, match="architecture is llama there and gpt2 here"):
        SteeringVector.load(path, tiny("gpt2"))


def test_a_full_disk_loses_nothing(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_vector(llama, strength=0.25).save(tmp_path / "v.safetensors")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(SaveError, match="No space left on device"):
        make_vector(llama).save(path)
    assert SteeringVector.load(path).strength == 0.25
    assert [p.name for p in tmp_path.iterdir()] == ["v.safetensors"]


def test_a_folder_that_cannot_be_written(llama: Model, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SaveError, match="cannot write"):
        make_vector(llama).save(tmp_path / "file" / "v.safetensors")


def test_vectors_of_files_and_folders(llama: Model, tmp_path: Path) -> None:
    with pytest.raises(VectorError, match=r"no vector file \(\*\.safetensors\) in"):
        load_vectors([tmp_path])
    vector = make_vector(llama)
    path = vector.save(tmp_path / "sw.safetensors")
    (tmp_path / "router.safetensors").write_bytes(b"never read")
    found = load_vectors([vector, path, tmp_path])
    assert found[0] is vector
    assert [torch.equal(v.values, vector.values) for v in found] == [True] * 3
    assert list(read_vectors(tmp_path)) == [vector.language]
    with pytest.raises(VectorError, match="is one of several vectors"):
        read_vectors(path, path)


def test_a_vector_that_keeps_lengths_turns_states(llama: Model, tmp_path: Path) -> None:
    vector = make_vector(llama, keeps_length=True, strength=2.0)
    (item,) = vector.interventions()
    states = torch.randn(2, 3, llama.hidden_size, generator=torch.Generator().manual_seed(1))
    turned = item.change(states)
    torch.testing.assert_close(turned.norm(dim=-1), states.norm(dim=-1))
    added = states + 2.0 * vector.values
    cosine = torch.nn.functional.cosine_similarity(turned, added, dim=-1)
    torch.testing.assert_close(cosine, torch.ones(2, 3))
    assert SteeringVector.load(vector.save(tmp_path / "v.safetensors")).keeps_length
