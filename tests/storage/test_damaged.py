"""Files that are cut, binary, deep, or somebody else's: an error of langsteer's, or nothing."""

import contextlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langsteer.errors import AnalysisError, LangsteerError
from langsteer.storage.kept import read_record
from langsteer.storage.lines import json_lines
from langsteer.storage.records import built, read_json
from langsteer.storage.tensors import FileKind, format_of, read_tensors, write_tensors


@dataclass(frozen=True)
class Tree:
    name: str
    steered: bool
    leaves: dict[str, tuple[float, ...]]
    strength: float | None
    rows: tuple[tuple[float, int], ...] = ()


KIND = FileKind("langsteer test", 1, "test")
DEEP, LONG = b"[" * 50_000, b'{"strength": ' + b"9" * 5000 + b"}"
UNHURRIED = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.just(10**400),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
CONTENT = st.one_of(
    st.binary(max_size=100),
    JSON.map(lambda v: json.dumps(v).encode()),
    st.sampled_from([DEEP, LONG, b""]),
)


@UNHURRIED
@given(content=CONTENT)
def test_json_of_any_kind(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    assert isinstance(read_record(path), dict)
    list(json_lines(content.decode("utf-8", "replace")))
    with contextlib.suppress(AnalysisError):
        read_json(path)


@given(value=JSON)
def test_records_of_any_values(value: object) -> None:
    whole = {"name": "x", "steered": True, "leaves": {}, "strength": value, "rows": value}
    for record in (value, whole, {**whole, "strength": 1.0, "leaves": {"a": value}}):
        with contextlib.suppress(AnalysisError):
            built(Tree, record, "tree")


@UNHURRIED
@given(data=st.data())
def test_tensor_files_that_were_damaged(tmp_path: Path, data: st.DataObject) -> None:
    path = write_tensors(tmp_path / "a", KIND, {"x": torch.ones(3)}, {"name": "x"})
    whole = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(0, 255))
    path.write_bytes(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    for read in (format_of, lambda file: read_tensors(file, KIND)):
        with contextlib.suppress(LangsteerError):
            read(path)


@UNHURRIED
@given(content=st.sampled_from([DEEP, LONG, b"\xff"]) | st.binary(max_size=40))
def test_metadata_of_any_kind(tmp_path: Path, content: bytes) -> None:
    text = content.decode("latin-1")
    header = json.dumps({"__metadata__": {"format": text, "other": text}}).encode()
    path = tmp_path / "a"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    for read in (format_of, lambda file: read_tensors(file, KIND)):
        with contextlib.suppress(LangsteerError):
            read(path)
