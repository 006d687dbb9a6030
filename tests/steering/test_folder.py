from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from langsteer.errors import VectorError
from langsteer.model.model import Model
from langsteer.steering.folder import changes_by_language, load, load_vectors, read_changes
from langsteer.steering.low_rank import LowRank
from tests.helpers import make_vector


def low_rank(model: Model) -> LowRank:
    about = {"name": model.name, "fingerprint": model.fingerprint}
    return LowRank(torch.ones(32), torch.ones(32, 2), torch.ones(2, 32), 1, "tr", "en", about)


def test_kinds_lie_in_one_folder(llama: Model, tmp_path: Path) -> None:
    make_vector(llama).save(tmp_path / "sw.safetensors")
    low_rank(llama).save(tmp_path / "tr.safetensors")
    assert {tag: c.kind.name for tag, c in read_changes(tmp_path).items()} == {
        "sw": "vector",
        "tr": "low-rank map",
    }
    with pytest.raises(VectorError, match="that of tr is a low-rank map"):
        load_vectors([tmp_path])


def test_what_a_system_leaves_beside_files_is_left_aside(llama: Model, tmp_path: Path) -> None:
    make_vector(llama, 1, language="sw").save(tmp_path / "sw.safetensors")
    (tmp_path / "._sw.safetensors").write_bytes(b"\x00\x05\x16\x07")
    assert list(read_changes(tmp_path)) == ["sw"]
    assert load(tmp_path).language == "sw"


def test_whatever_names_changes(llama: Model, tmp_path: Path) -> None:
    vector, other = make_vector(llama), low_rank(llama)
    path = vector.save(tmp_path / "sw.safetensors")
    assert changes_by_language(None) == {}
    assert changes_by_language(vector) == {"sw": vector}
    assert list(changes_by_language(path)) == ["sw"]
    assert list(changes_by_language([path, other])) == ["sw", "tr"]
    with pytest.raises(VectorError, match="one of several vectors for sw"):
        changes_by_language([vector, path])


def test_what_is_not_a_change(llama: Model, tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    with pytest.raises(VectorError, match="there is no vector file"):
        load(file)
    save_file({"weight": torch.zeros(2)}, file, metadata={"format": "pt"})
    with pytest.raises(VectorError, match="it does not say what it is"):
        load(file)
    file.write_bytes(b"no tensors\0")
    with pytest.raises(VectorError, match="truncated or not a safetensors file"):
        load(file)
