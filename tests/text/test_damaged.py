"""Files that are cut, empty, binary, huge or somebody else's: an error of langsteer's, or text."""

import bz2
import gzip
import json
import lzma
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langsteer.errors import LangsteerError
from langsteer.storage.lines import json_lines
from langsteer.text.columns import column_tag, file_tag
from langsteer.text.corpus import ParallelCorpus
from langsteer.text.readers import read_corpus
from langsteer.text.table import table_rows
from tests.made.parallel import PAIRS, write_tmx

SUFFIXES = ("tsv", "jsonl", "json", "tmx", "txt", "tmx.gz", "tsv.xz", "jsonl.zst")
UNHURRIED = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
WORDS = st.sampled_from(
    ["sw", "en", '"sw"', '"en"', "\t", "\n", "\r", '"', "{", "}", "[", "]", ":", ",", "null", "9" * 5000,
     "<tmx>", "<tu>", '<tuv xml:lang="sw">', '<tuv lang="en">', "<seg>", "</seg>", "</tuv>", "</tu>",
     "</tmx>", "<bpt>", "&#xD800;", "&x;", "\\ud800", "\ufeff", "\x1a", "\x00", "\u2028", "Habari"]
)  # fmt: skip
CONTENT = st.one_of(
    st.binary(max_size=200),
    st.lists(WORDS, max_size=40).map(lambda words: "".join(words).encode()),
    st.sampled_from(
        [
            b"\xff\xfe",
            b"\x1f\x8b",
            b"BZh91AY&SY",
            b"\xfd7zXZ\x00",
            b"\x28\xb5\x2f\xfd",
            b"\xff\xfe\x00",
        ]
    ).flatmap(lambda start: st.binary(max_size=60).map(lambda rest: start + rest)),
    st.sampled_from([b"[" * 20_000, b'{"sw":' * 10_000, b"<tu>" * 10_000, b"a" * 200_000]),
)


def read_or_refuse(path: Path) -> ParallelCorpus | None:
    try:
        pivot_file = path if ".txt" in path.name else None
        corpus = read_corpus(path, ["sw"], pivot_file=pivot_file, check=False)
        corpus.fingerprint.encode()
    except LangsteerError:
        return None
    return corpus


@pytest.mark.parametrize("suffix", SUFFIXES)
@UNHURRIED
@given(content=CONTENT)
def test_anything_at_all(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    read_or_refuse(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@UNHURRIED
@given(cut=st.floats(0, 1), bit=st.integers(0, 7), place=st.floats(0, 1), flip=st.booleans())
def test_whole_files_that_were_damaged(
    tmp_path: Path, suffix: str, cut: float, bit: int, place: float, flip: bool
) -> None:
    path = tmp_path / f"a.{suffix}"
    data = bytearray(whole(tmp_path, suffix))
    if flip:
        data[int(place * (len(data) - 1))] ^= 1 << bit
    path.write_bytes(bytes(data[: int(cut * len(data)) + 1]))
    read_or_refuse(path)


def whole(tmp_path: Path, suffix: str) -> bytes:
    rows = [{"sw": a, "en": b} for a, b in PAIRS]
    kind, _, packed = suffix.partition(".")
    content = {
        "tsv": "sw\ten\n" + "\n".join(f'"{a}"\t"{b}, ""x"""' for a, b in PAIRS),
        "jsonl": "\n".join(map(json.dumps, rows)),
        "json": json.dumps(rows),
        "txt": "\n".join(a for a, _ in PAIRS),
        "tmx": write_tmx(tmp_path / "whole.tmx", rows).read_text(),
    }[kind].encode()
    return {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress}.get(packed, bytes)(
        content
    )


@given(st.text(max_size=60))
def test_any_text_has_rows_lines_and_tags(text: str) -> None:
    table_rows(text)
    list(json_lines(text))
    file_tag(text, any_case=True)
    column_tag(text)
