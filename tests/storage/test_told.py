"""What a file of text is told to be."""

import json
from pathlib import Path

import pytest

from langsteer.errors import VectorError
from langsteer.steering.folder import load
from langsteer.storage.told import own_kind, text_kind

FOUND = {"corners": {}, "reaches": {}, "verdict": {}, "model": "m"}
TRIALS = '{"about": {"task": "a"}}\n{"key": "done", "seconds": 0, "values": {}}\n'


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (json.dumps(FOUND, indent=2), "a diagnosis (langsteer diagnose)"),
        ('{"recipe": "a", "better": true, "standings": []}', "the results of a search (langsteer"),
        (TRIALS, "the trials of a search (langsteer fit --for)"),
        ('{"format": "langsteer drift", "x": 1}', "of the format 'langsteer drift'"),
    ],
)
def test_langsteers_own(content: str, kind: str, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(content, encoding="utf-8")
    assert (own_kind(file) or "").startswith(kind)
    with pytest.raises(VectorError) as raised:
        load(file)
    assert str(raised.value).startswith(f"{file} is {kind}")
    assert str(raised.value).endswith(", not a safetensors file: name that of a vector")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'{"prompt": "a"}\n{"prompt": "b"}\n', "JSON"),
        (b'{"prompt": ', "JSON"),
        (b"\xef\xbb\xbf[1]", "JSON"),
        ("ä".encode() * 5000, "text"),
        (b"mine", "text"),
        (b"", None),
        (b"\xff\xfe", None),
        (b"\x10\0\0\0\0\0\0\0{}", None),
    ],
)
def test_any_other(content: bytes, kind: str | None, tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(content)
    assert own_kind(file) is None
    assert text_kind(file) == kind


def test_no_file(tmp_path: Path) -> None:
    assert own_kind(tmp_path) is None
    assert text_kind(tmp_path / "none") is None
