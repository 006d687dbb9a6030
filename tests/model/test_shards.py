"""GGUF files that are split are joined; what is not all there is refused."""

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from langsteer.errors import ModelError
from langsteer.model.opening import load_model
from langsteer.model.shards import join, parts_of
from tests.helpers import build_network
from tests.made.gguf_files import write_gguf

COUNT = 4


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LANGSTEER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    write_gguf(build_network("llama"), tmp_path / "tiny.gguf", split_max_tensors=10)
    return sorted(tmp_path.glob("tiny-*.gguf"))


def test_what_was_split_is_joined(parts: list[Path], tmp_path: Path) -> None:
    assert len(parts) == COUNT
    whole = write_gguf(build_network("llama"), tmp_path / "whole.gguf")
    assert parts_of(whole) == [whole]
    assert parts_of(parts[2]) == parts
    join(parts, tmp_path / "joined.gguf")
    assert (tmp_path / "joined.gguf").read_bytes() == whole.read_bytes()


@torch.inference_mode()
@pytest.mark.parametrize("named", [0, 2])
def test_any_part_opens_the_model(parts: list[Path], named: int, cache: Path) -> None:
    ids = torch.arange(3, 60)[None]
    wanted = build_network("llama")(ids).logits
    model = load_model(parts[named])
    torch.testing.assert_close(model.network(ids).logits, wanted, atol=1e-6, rtol=1e-5)
    assert not list(cache.rglob("*.gguf"))


@pytest.mark.parametrize("gone", [0, 1, 3])
def test_a_part_that_is_not_there(parts: list[Path], gone: int) -> None:
    parts[gone].unlink()
    named = parts[1] if gone == 0 else parts[0]
    with pytest.raises(ModelError, match=f"one of 4 parts.*{parts[gone].name}"):
        load_model(named)


def test_one_part_under_another_name(parts: list[Path], tmp_path: Path, cache: Path) -> None:
    """Its tensors are all that there is: what lacks is named, and nothing is made up."""
    alone = parts[0].rename(tmp_path / "alone.GGUF")
    with pytest.raises(ModelError, match=r"alone\.GGUF lacks .*model\.layers\.\d.*at random"):
        load_model(alone)
    assert not [p for p in cache.rglob("*") if p.is_dir() and p.name != "models"]


def test_a_damaged_part(parts: list[Path], cache: Path) -> None:
    parts[2].write_bytes(parts[2].read_bytes()[:40])
    with pytest.raises(ModelError, match=r"tiny-00001-of-00004\.gguf.*cut short"):
        load_model(parts[0])
    parts[2].write_bytes(b"")
    with pytest.raises(ModelError, match=r"tiny-00003-of-00004\.gguf is empty"):
        load_model(parts[0])
    assert not list(cache.rglob("*.gguf"))


def test_fields_of_every_kind(tmp_path: Path) -> None:
    """What describes a model is copied as it is."""
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_string("general.name", "Ĥello")
    writer.add_bool("a.flag", True)
    writer.add_float32("a.float", 0.5)
    writer.add_uint64("a.large", 2**40)
    writer.add_array("a.texts", ["Ġ", "", "x"])
    writer.add_array("a.numbers", [1, -2, 3])
    writer.add_tensor("x", np.arange(3, dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    join([tmp_path / "a.gguf"], tmp_path / "b.gguf")
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
