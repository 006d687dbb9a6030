"""JSON lines: numbered, blank ones left out, damaged ones told."""

from pathlib import Path

import pytest

from langsteer.storage.lines import JsonLine, json_lines, read_json_lines, write_json_lines


def test_lines_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [{"text": "a\u2028b\x85 \r\n"}, [1, None], "ü"]
    path = write_json_lines(tmp_path / "a.jsonl", rows)
    assert [line.value for line in read_json_lines(path)] == rows
    assert [line.number for line in read_json_lines(path)] == [1, 2, 3]
    assert "ü" in path.read_text(encoding="utf-8")


def test_blank_and_damaged_lines() -> None:
    lines = list(json_lines('\n{"a": 1}\r\n  \n{"a": \nnull'))
    assert lines[0] == JsonLine(2, {"a": 1})
    assert (lines[1].number, lines[1].value) == (4, None)
    assert "Expecting value" in lines[1].error
    assert lines[2] == JsonLine(5)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none"):
        read_json_lines(tmp_path / "none.jsonl")
    (tmp_path / "bytes").write_bytes(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        read_json_lines(tmp_path / "bytes")
