"""Git LFS pointers: what lies in place of a file where it was not downloaded."""

import errno
from pathlib import Path

POINTER = b"version https://git-lfs.github.com/spec/"


def pointer(path: str | Path) -> str | None:
    """That a file is a pointer, and what to do; None where it is none. Raises OSError."""
    with Path(path).open("rb") as file:
        return f"{path} is {_what(path)}" if file.read(len(POINTER)) == POINTER else None


def read_whole(path: str | Path) -> bytes:
    """The bytes of a file. Raises OSError, also for a pointer, whose `strerror` says what to do."""
    data = Path(path).read_bytes()
    if data.startswith(POINTER):
        raise OSError(errno.ENODATA, f"it is {_what(path)}", str(path))
    return data


def read_text(path: str | Path, encoding: str = "utf-8") -> str:
    """The text of a file, its ends of lines as a line feed. Raises OSError as `read_whole` does, and
    UnicodeDecodeError."""
    text = read_whole(path).decode(encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _what(path: str | Path) -> str:
    return (
        "a Git LFS pointer in place of the file itself: run `git lfs pull` in "
        f"{Path(path).parent}, or download the file again"
    )
