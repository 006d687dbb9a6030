"""Git LFS pointers in place of what anybody gives: each reader says what they are, and what to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from langsteer.diagnosis.own_items import read_own_items
from langsteer.errors import LangsteerError
from langsteer.evaluation.benchmarks.definition import read_benchmark
from langsteer.evaluation.comparison.cells import read_cell
from langsteer.evaluation.comparison.configuration import read_comparison
from langsteer.storage.pointers import read_text
from langsteer.storage.records import read_json
from langsteer.text.readers import read_corpus
from langsteer.tuning.data import read_instructions

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 12\n"


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a.yaml", read_comparison),
        ("a.yaml", read_benchmark),
        ("a.jsonl", lambda path: read_own_items(path, "sw")),
        ("a.jsonl", read_instructions),
        ("a.tsv", lambda path: read_corpus(path, ["sw"])),
        ("a.json", read_cell),
        ("a.json", read_json),
    ],
)
def test_a_pointer_is_told(tmp_path: Path, name: str, read: Callable[[Path], Any]) -> None:
    path = tmp_path / name
    path.write_text(POINTER)
    with pytest.raises(LangsteerError, match=rf"{name}.* is a Git LFS pointer.*`git lfs pull`"):
        read(path)


def test_what_is_none_is_read_with_any_ends_of_lines(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("\ufeffä\r\nb\rc\n".encode())
    assert read_text(tmp_path / "a", "utf-8-sig") == "ä\nb\nc\n"
