"""Files written whole or not at all."""

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from langsteer.errors import SaveError
from langsteer.storage.temporary import temporary_file, temporary_folder


def listed(folder: Path, *patterns: str) -> list[Path]:
    """What in a folder has a name of these patterns, in order, but for what is hidden: macOS leaves a
    `._sw.safetensors` beside each `sw.safetensors`.
    """
    paths = {path for pattern in patterns for path in folder.glob(pattern)}
    return sorted(path for path in paths if not path.name.startswith("."))


def write_whole(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary file beside `path`, then move it into place in one step.

    Raises SaveError, leaving whatever stood at `path` untouched, where the folder cannot be
    written or the disk is full.
    """
    path = Path(path)
    with contextlib.ExitStack() as stack, save_errors(path):
        _refuse_device(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = stack.enter_context(temporary_file(path.parent, path.name))
        write(part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.chmod(0o666 & ~_umask())
        part.replace(path)
    return path


def write_folder(folder: str | Path, fill: Callable[[Path], object]) -> Path:
    """Let `fill` fill a temporary folder beside `folder`, then move it into place in one step.

    Raises SaveError, leaving nothing behind, where it cannot be written or there is something.
    """
    folder = Path(folder)
    there = f"cannot write {folder}: it is there already. Name another folder."
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise SaveError(there)
    with contextlib.ExitStack() as stack, save_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = stack.enter_context(temporary_folder(folder.parent, folder.name))
        fill(part)
        part.chmod(0o777 & ~_umask())
        try:
            part.replace(folder)
        except OSError as error:  # another has written one there meanwhile
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise SaveError(there) from error
            raise
    return folder


@contextlib.contextmanager
def save_errors(
    path: str | Path, advice: str = "name a folder that you can write to"
) -> Iterator[None]:
    """Inside, what goes wrong with writing `path` is a SaveError."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        if isinstance(error, FileExistsError | NotADirectoryError) and (file := _file_in(path)):
            raise SaveError(
                f"cannot write {path}: {file} is a file, and a folder is needed there. Nothing was "
                f"changed; {advice}."
            ) from error
        reason = getattr(error, "strerror", None) or str(error)
        space = "free some space or " if _is_full(error) else ""
        raise SaveError(
            f"cannot write {path}: {reason}. Nothing was changed; {space}{advice}."
        ) from error


def _is_full(error: Exception) -> bool:
    """Whether something could not be written because a disk, or somebody's share of it, is full."""
    numbers = (errno.ENOSPC, errno.EDQUOT)
    named = any(f"(os error {number})" in str(error) for number in numbers)  # as Rust says it
    return named or getattr(error, "errno", None) in numbers


def _file_in(path: str | Path) -> Path | None:
    """What is no folder of a path and what it leads through, if anything."""
    places = (Path(path), *Path(path).parents)
    return next((place for place in places if place.exists() and not place.is_dir()), None)


def check_writable(path: str | Path, *, folder: bool | None = False) -> None:
    """Raise SaveError where a file at `path` could not be written, before work is put into it.

    With `folder`, where no files could be written into a folder there; None is for either. Nothing
    is left behind, and no folder is made.
    """
    path = Path(path)
    with save_errors(path):
        there = os.path.lexists(path) and path.exists()
        if there and folder is False and path.is_dir():
            raise SaveError(f"cannot write {path}: it is a folder. Name a file in it.")
        if there and folder and not path.is_dir():
            raise SaveError(f"cannot write {path}: it is a file. Name a folder.")
        _refuse_device(path)
        place = path if there and path.is_dir() else _nearest(path)
        tempfile.TemporaryFile(dir=place).close()


def check_replaceable(
    path: str | Path, refusal: Callable[[Path], str | None], overwrite: bool = False
) -> None:
    """Raise SaveError where something is at `path` that is not to be replaced, unless `overwrite`.

    `refusal` says of a file that is there what it is that forbids that, such as "is no vector"; None
    where it may be replaced.
    """
    path = Path(path)
    if overwrite or not path.exists():
        return
    if (reason := refusal(path)) is not None:
        kind = "folder" if path.is_dir() else "file"
        raise SaveError(
            f"{path} is there already and {reason}: name another {kind}, or overwrite it "
            "(overwrite=True, --overwrite)"
        )


def check_own_folder(
    folder: str | Path, names: Sequence[str], is_own: Callable[[Path], bool], writer: str
) -> None:
    """Raise SaveError where one of the files `names` is in a folder that is not the `writer`'s own.

    `is_own` tells that by what is in the folder.
    """
    folder = Path(folder)
    there = next((name for name in names if os.path.lexists(folder / name)), None)
    if there is not None and not is_own(folder):
        raise SaveError(
            f"{folder / there} is there already, and {writer} has not written it: name another "
            "folder, or move it away"
        )


def _nearest(path: Path) -> Path:
    """The nearest of the folders that a path leads through that is there. Raises OSError for a file."""
    place = next(parent for parent in path.absolute().parents if parent.exists())
    if not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place))
    return place


def _refuse_device(path: Path) -> None:
    """Raise SaveError for what is there and neither a file nor a folder: it would be replaced."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise SaveError(f"cannot write {path}: it is a device or a pipe. Name a file.")


def write_together(folder: str | Path, contents: Mapping[str, bytes | str]) -> list[Path]:
    """Write files, by their path in `folder`, all or none; text as UTF-8.

    They are all written beside their places before the first is moved there. Raises SaveError,
    leaving whatever stood in the folder untouched.
    """
    folder = Path(folder)
    with contextlib.ExitStack() as stack, save_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        waiting = stack.enter_context(temporary_folder(folder, "together"))
        moves = []
        for name, content in contents.items():
            part, place = waiting / name, folder / name
            part.parent.mkdir(parents=True, exist_ok=True)
            place.parent.mkdir(parents=True, exist_ok=True)
            data = content.encode() if isinstance(content, str) else content
            write_whole(part, partial(Path.write_bytes, data=data))
            moves.append((part, place))
        for part, place in moves:
            part.replace(place)
    return [place for _, place in moves]


def write_text(path: str | Path, text: str) -> Path:
    """Write `text` as UTF-8, whole or not at all."""
    return write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_json(path: str | Path, value: Any) -> Path:
    """Write `value` as indented JSON, whole or not at all."""
    return write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
