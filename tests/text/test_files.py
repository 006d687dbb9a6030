"""Files of text: compressed, marked, cut, and the lines in them."""

import gzip
from pathlib import Path

import pytest

from langsteer.errors import CorpusError, MissingExtraError
from langsteer.text import files as files_module
from langsteer.text.files import cleaned, is_visible, kind_of, plain_name, read_lines, read_text
from langsteer.text.readers import read_corpus
from tests.made.parallel import COMPRESS, PAIRS, corpus, write_tmx

INSIDE = "\u2028 \u2029 \x85 \x0b \x0c \x1c \x1d \x1e"


@pytest.mark.parametrize("suffix", COMPRESS)
def test_compressed_text(tmp_path: Path, suffix: str) -> None:
    for tag, side in (("sw", 0), ("en", 1)):
        text = "\n".join(pair[side] for pair in PAIRS) + "\n"
        (tmp_path / f"a.{tag}.{suffix}").write_bytes(COMPRESS[suffix](text.encode()))
    read = read_corpus(tmp_path / f"a.sw.{suffix}", ["sw"], pivot_file=tmp_path / f"a.en.{suffix}")
    assert read.fingerprint == corpus().fingerprint
    plain = write_tmx(tmp_path / "a.tmx", [{"en": b, "sw": a} for a, b in PAIRS])
    memory = tmp_path / f"b.TMX.{suffix}"
    memory.write_bytes(COMPRESS[suffix](plain.read_bytes()))
    assert read_corpus(memory, ["sw"]).fingerprint == corpus().fingerprint


@pytest.mark.parametrize("suffix", COMPRESS)
def test_several_parts_and_damage(tmp_path: Path, suffix: str) -> None:
    parts = [COMPRESS[suffix](text.encode()) for text in ("one\n" * 500, "two\n")]
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"".join(parts))
    assert read_lines(path) == ("one",) * 500 + ("two",)
    path.write_bytes(parts[0][:-3])
    with pytest.raises(CorpusError, match="compressed, and cut or damaged"):
        read_lines(path)
    path.write_bytes(parts[0][:12] + b"\xff\x00\xff" + parts[0][15:])
    with pytest.raises(CorpusError, match=r"damaged|cannot read|not UTF-8"):
        read_lines(path)


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("zeros", [1, 4, 512, 300_000])
def test_zeros_after_a_frame_are_padding(tmp_path: Path, suffix: str, zeros: int) -> None:
    one, two = (COMPRESS[suffix](text) for text in (b"one\n" * 200_000, b"two\n"))
    path = tmp_path / f"a.tsv.{suffix}"
    path.write_bytes(one + bytes(zeros) + two + bytes(zeros))
    assert read_lines(path) == ("one",) * 200_000 + ("two",)
    path.write_bytes(one + bytes(zeros) + two + b"rest")
    with pytest.raises(CorpusError, match="compressed, and cut or damaged"):
        read_lines(path)


def test_zstd_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    monkeypatch.setattr("sys.version_info", (3, 12))
    (tmp_path / "a.zst").write_bytes(COMPRESS["zst"](b"one\n"))
    with pytest.raises(MissingExtraError, match=r"langsteer\[zst\]"):
        read_lines(tmp_path / "a.zst")


def test_the_bytes_tell_what_is_compressed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(gzip.compress(b"one\n"))
    (tmp_path / "b.gz").write_bytes(b"one\n")
    assert read_lines(tmp_path / "a.txt") == read_lines(tmp_path / "b.gz") == ("one",)
    assert (kind_of("x/A.TMX.gz"), kind_of("a.tsv"), plain_name("dev.swh_Latn.xz")) == (
        ".tmx", ".tsv", "dev.swh_Latn",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (f"a{INSIDE}b\nc".encode(), (f"a{INSIDE}b", "c")),
        ("\ufeffa\r\n\ufeffb\n".encode(), ("a", "b")),
        (b"a\r\nb\r\n\x1a", ("a", "b")),
        (b"a\nb\n\x1a\x1a", ("a", "b")),
        ("ä\nb\n".encode("utf-16"), ("ä", "b")),
        (b"\n\na\n\n", ("", "", "a", "")),
        (b"a\rb\r", ("a", "b")),
        (b"a\rb\nc\n", ("a\rb", "c")),
    ],
)
def test_only_a_line_feed_ends_a_line_where_there_is_one(
    tmp_path: Path, data: bytes, lines: tuple[str, ...]
) -> None:
    (tmp_path / "a").write_bytes(data)
    assert read_lines(tmp_path / "a") == lines


@pytest.mark.parametrize("data", [b"", b"\n \n", b"\xef\xbb\xbf", b"\x1a", b"\xff\xfe"])
def test_empty_files(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(CorpusError, match="is empty"):
        read_text(tmp_path / "a")


@pytest.mark.parametrize("name", ["a.tsv", "a.tmx", "a.jsonl"])
def test_a_git_lfs_pointer(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\nsize 9\n")
    with pytest.raises(CorpusError, match=r"is a Git LFS pointer .*: run `git lfs pull` in"):
        read_corpus(tmp_path / name, ["sw"])


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_encodings_that_do_not_say_what_they_are(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a").write_bytes("Habari za leo\n".encode(encoding))
    with pytest.raises(CorpusError, match=r"full of null bytes.* Save it as UTF-8"):
        read_text(tmp_path / "a")


def test_what_can_be_seen() -> None:
    assert not any(map(is_visible, ["", " \u3000", "\u200b\u200d", "\xad", "\u2800\u3164", "\x00"]))
    assert all(map(is_visible, [".", "۱", "\u200bა", "\U0001f600"]))
    assert cleaned("a\ufeffb\ud800") == "ab\ufffd"


def test_invisible_lines_are_empty(tmp_path: Path) -> None:
    pairs = [*PAIRS, ("\u200b\u200b", "Nothing"), ("Kitu", "\xad"), ("\ufeff", "Mark")]
    for tag, side in (("sw", 0), ("en", 1)):
        (tmp_path / tag).write_text("\n".join(p[side] for p in pairs), "utf-8")
    read = read_corpus(tmp_path / "sw", ["sw"], pivot_file=tmp_path / "en")
    assert (read.fingerprint, read.dropped) == (corpus().fingerprint, {"empty": 3})


def test_nothing_that_is_read_is_cut_by_splitlines() -> None:
    """It also cuts at characters inside sentences; messages of errors may be."""
    source = Path(files_module.__file__).parents[1]
    cutting = [
        f"{path.name}: {line.strip()}"
        for path in sorted(source.rglob("*.py"))
        for line in path.read_text("utf-8").split("\n")
        if ".splitlines(" in line and "error" not in line and "answer" not in line
    ]
    assert cutting == []
