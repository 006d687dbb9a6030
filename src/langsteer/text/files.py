"""Files of text: lines and streams, compressed or not, in UTF-8 (or UTF-16, where they say so).

A compressed file is told by its first bytes, what it holds by the name without `.gz`, `.bz2`, `.xz` or `.zst`.
"""

import bz2
import codecs
import contextlib
import importlib
import io
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import regex

from langsteer.errors import CorpusError
from langsteer.extras import need
from langsteer.storage.pointers import pointer

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")

_GZIP, _XZ, _ZSTD = b"\x1f\x8b", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"
_WITH_HEADER = 16 + zlib.MAX_WBITS  # zlib's word for the format of gzip
_PIECE = 1 << 18  # bytes
_BZIP2 = regex.compile(rb"BZh[1-9]1AY&SY")
_DOS_END = "\x1a"
_MARK = "\ufeff"  # a byte-order mark, where files were joined
_SURROGATE = regex.compile(r"\p{Cs}")
_VISIBLE = regex.compile(r"[^\p{Z}\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\u2800]")


def plain_name(path: str | Path) -> str:
    """The name of a file without the suffix of what it was compressed with."""
    name = Path(path).name
    return name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in COMPRESSED else name


def kind_of(path: str | Path) -> str:
    """What a file holds, by its name: `.tmx` of `memory.TMX.gz`."""
    return Path(plain_name(path)).suffix.lower()


def is_visible(text: str) -> bool:
    """Whether there is anything to see: not only spaces, marks and characters without width."""
    return _VISIBLE.search(text) is not None


def cleaned(text: str) -> str:
    """A text without byte-order marks inside, and with U+FFFD for half characters of UTF-16."""
    return _SURROGATE.sub("\ufffd", text.replace(_MARK, ""))


@contextlib.contextmanager
def open_bytes(path: str | Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, decompressed as they are read.

    Raises CorpusError, also out of the `with` block, where it cannot be read or is damaged, and
    MissingExtraError for zstd without a package that reads it.
    """
    try:
        if (nothing := pointer(path)) is not None:
            raise CorpusError(nothing)
        with Path(path).open("rb") as file:
            start = file.read(10)
            file.seek(0)
            yield _decompressed(file, start)
    except EOFError as error:
        raise CorpusError(f"{path} is compressed, and cut or damaged: {error}") from error
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror or error}") from error


def _decompressed(file: IO[bytes], start: bytes) -> IO[bytes]:
    if start.startswith(_GZIP):
        frames = _Frames(file, lambda: zlib.decompressobj(_WITH_HEADER), zlib.error)
    elif _BZIP2.match(start):
        frames = _Frames(file, bz2.BZ2Decompressor, OSError)
    elif start.startswith(_XZ):
        frames = _Frames(file, lzma.LZMADecompressor, lzma.LZMAError)
    elif start.startswith(_ZSTD):
        frames = _Frames(file, *_zstd())
    else:
        return file
    return io.BufferedReader(frames)


class _Frames(io.RawIOBase):
    """What a file holds that is one compressed frame or several, with zeros after each or none.

    `new` makes what decompresses a frame. Raises EOFError where the last frame is cut, or what
    stands after a frame is none.
    """

    def __init__(self, file: IO[bytes], new: Callable[[], Any], error: type[Exception]) -> None:
        self._file, self._new, self._error = file, new, error
        self._frame: Any = None
        self._read, self._ready = b"", b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and self._advance():
            pass
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def _advance(self) -> bool:
        """Decompress a piece; False at the end."""
        data, self._read = self._read or self._file.read(_PIECE), b""
        if not data:
            if self._frame is not None:
                raise EOFError("it ends inside a frame")
            return False
        if self._frame is None:
            data = data.lstrip(b"\0")
            if not data:
                return True
            self._frame = self._new()
        try:
            self._ready = self._frame.decompress(data)
        except self._error as fault:
            raise EOFError(str(fault)) from fault
        if self._frame.eof:
            self._read, self._frame = self._frame.unused_data, None
        return True


def _zstd() -> tuple[Any, type[Exception]]:
    """What makes a decompressor of a frame, and what it raises: Python's own from 3.14 on."""
    if sys.version_info >= (3, 14):
        own: Any = importlib.import_module("compression.zstd")
        return own.ZstdDecompressor, own.ZstdError
    package = need("zstandard", "zst", "reading a file compressed with zstd")
    return package.ZstdDecompressor().decompressobj, package.ZstdError


def read_text(path: str | Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 with a byte-order mark, without marks and DOS' end
    of file. Raises CorpusError where it is missing, empty or not in that.
    """
    return _read(path).replace(_MARK, "")


def read_lines(path: str | Path) -> tuple[str, ...]:
    """The lines of a file; see `read_text`.

    Only a line feed ends a line: str.splitlines would also cut at characters inside sentences.
    """
    lines = _read(path).removesuffix("\n").split("\n")
    return tuple(line.removesuffix("\r").replace(_MARK, "") for line in lines)


def _read(path: str | Path) -> str:
    with open_bytes(path) as file:
        text = decoded(file.read(), path)
    if not text.replace(_MARK, "").strip():
        raise CorpusError(f"{path} is empty")
    return text if "\n" in text else text.replace("\r", "\n")  # as files of old Macs end lines


def decoded(data: bytes, path: str | Path) -> str:
    """Text in UTF-8, or in UTF-16 with a byte-order mark, without DOS' end of file. Raises CorpusError, which
    names the line, where it is not in that.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding, name = "utf-16", "UTF-16, as its first bytes say"
    else:
        encoding, name = "utf-8", "UTF-8"
    try:
        text = data.decode(encoding).rstrip(_DOS_END)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise CorpusError(
            f"{path} is not {name}: line {line} has an invalid byte. Save it as UTF-8"
        ) from error
    if text.count("\0") > len(text) / 4:  # half of UTF-16 in Latin script, and more of UTF-32
        raise CorpusError(
            f"{path} is not {name}: it is full of null bytes, as UTF-16 without a byte-order mark "
            "and UTF-32 are. Save it as UTF-8"
        )
    return text
