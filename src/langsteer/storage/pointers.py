"""Git LFS pointers: what lies in place of a file where it was not downloaded."""

from pathlib import Path

POINTER = b"version https://git-lfs.github.com/spec/"


def pointer(path: str | Path) -> str | None:
    """That a file is a pointer, and what to do; None where it is none. Raises OSError."""
    with Path(path).open("rb") as file:
        if file.read(len(POINTER)) != POINTER:
            return None
    return (
        f"{path} is a Git LFS pointer in place of the file itself: run `git lfs pull` in "
        f"{Path(path).parent}, or download the file again"
    )
