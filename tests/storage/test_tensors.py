import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from langsteer.errors import VectorError
from langsteer.storage.tensors import FileKind, read_tensors, write_tensors

KIND = FileKind("langsteer example", 2, "example")


def test_tensors_and_record_come_back(tmp_path: Path) -> None:
    values = torch.arange(6.0).reshape(2, 3).T  # not contiguous
    record = {"name": "ä", "parts": [1, {"x": None}]}
    path = write_tensors(tmp_path / "a", KIND, {"values": values.bfloat16()}, record)
    tensors, read = read_tensors(path, KIND)
    assert read == record
    assert tensors["values"].dtype == torch.float32
    assert torch.equal(tensors["values"], values)


def test_tensors_that_are_the_same(tmp_path: Path) -> None:
    values = torch.arange(6.0)
    path = write_tensors(tmp_path / "a", KIND, {"x": values, "y": values, "z": values[2:]}, {})
    tensors, _ = read_tensors(path, KIND)
    assert torch.equal(tensors["x"], tensors["y"])
    assert torch.equal(tensors["z"], values[2:])


def test_no_byte_changes_unnoticed(tmp_path: Path) -> None:
    """Each byte of a file, with one bit or several flipped: it is refused, or says the same."""
    record = {"strength": 0.5, "language": "sw", "options": {"layers": [1, 12]}}
    path = write_tensors(
        tmp_path / "a", KIND, {"x": torch.arange(5.0), "s": torch.ones(())}, record
    )
    whole, refused = path.read_bytes(), 0
    for place in range(len(whole)):
        for mask in (1, 0xFF):
            damaged = bytearray(whole)
            damaged[place] ^= mask
            path.write_bytes(damaged)
            try:
                tensors, read = read_tensors(path, KIND)
            except VectorError:
                refused += 1
                continue
            assert {key: read[key] for key in record} == record, (place, mask)
            assert torch.equal(tensors["x"], torch.arange(5.0)), (place, mask)
            assert torch.equal(tensors["s"], torch.ones(())), (place, mask)
    assert refused > 0.9 * 2 * len(whole)


def test_a_checksum(tmp_path: Path) -> None:
    path = write_tensors(tmp_path / "a", KIND, {"x": torch.zeros(40)}, {"strength": 1})
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(VectorError, match=r"a is damaged: .*checksum differs.*: copy or download"):
        read_tensors(path, KIND)
    metadata = {"format": '"langsteer example"', "format_version": "1", "strength": "1"}
    save_file({"x": torch.zeros(40)}, path, metadata=metadata)
    assert read_tensors(path, KIND)[1] == {"strength": 1}, "of before there was one"


def test_an_older_version_is_read_and_a_newer_is_not(tmp_path: Path) -> None:
    older, newer = FileKind(KIND.format, 1, "example"), FileKind(KIND.format, 3, "example")
    assert read_tensors(write_tensors(tmp_path / "a", older, {}, {"x": 1}), KIND)[1] == {"x": 1}
    with pytest.raises(VectorError, match=r"format version 3; this langsteer reads up to 2"):
        read_tensors(write_tensors(tmp_path / "b", newer, {}, {}), KIND)


def test_what_is_something_else(tmp_path: Path) -> None:
    other = write_tensors(tmp_path / "a", FileKind("langsteer other", 1, "other"), {}, {})
    with pytest.raises(VectorError, match="not a langsteer example file: it is a langsteer other"):
        read_tensors(other, KIND)
    save_file({"x": torch.zeros(1)}, tmp_path / "plain")
    with pytest.raises(VectorError, match=r"plain is not a langsteer example file$"):
        read_tensors(tmp_path / "plain", KIND)
    save_file({"x": torch.zeros(1)}, tmp_path / "foreign", metadata={"format": "pt"})
    with pytest.raises(VectorError, match="is not a langsteer example file"):
        read_tensors(tmp_path / "foreign", KIND)


def test_what_is_damaged_or_not_there(tmp_path: Path) -> None:
    path = write_tensors(tmp_path / "a", KIND, {"x": torch.zeros(40)}, {})
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(VectorError, match="a is truncated or not a safetensors file"):
        read_tensors(path, KIND)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(VectorError, match=r"a is a Git LFS pointer .*: run `git lfs pull` in"):
        read_tensors(path, KIND)
    with pytest.raises(VectorError, match="there is no example file"):
        read_tensors(tmp_path / "nothing", KIND)


def test_a_record_is_json(tmp_path: Path) -> None:
    path = write_tensors(tmp_path / "a", KIND, {}, {"x": 0.1})
    assert json.loads(json.dumps(read_tensors(path, KIND)[1])) == {"x": 0.1}
