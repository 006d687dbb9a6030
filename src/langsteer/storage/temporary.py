"""Temporary files and folders beside the place that they are moved to.

A process that is killed leaves its own behind: whoever writes the same place next takes them away. One that is in use is
locked, so that processes which write the same place at once leave each other's alone.
"""

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where what is left behind stays
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".part"


@contextlib.contextmanager
def temporary_file(folder: Path, name: str) -> Iterator[Path]:
    """An empty file in `folder`, on its way to become `name`; gone afterwards where it was not moved."""
    _remove_left(folder, name)
    handle, path = tempfile.mkstemp(dir=folder, prefix=f".{name}.", suffix=SUFFIX)
    os.close(handle)
    try:
        with _in_use(Path(path)):
            yield Path(path)
    finally:
        Path(path).unlink(missing_ok=True)


@contextlib.contextmanager
def temporary_folder(folder: Path, name: str) -> Iterator[Path]:
    """The same for a folder in `folder`."""
    _remove_left(folder, name)
    path = tempfile.mkdtemp(dir=folder, prefix=f".{name}.", suffix=SUFFIX)
    try:
        with _in_use(Path(path)):
            yield Path(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _remove_left(folder: Path, name: str) -> None:
    """Take away what was on its way to become `name` and no process holds any more."""
    for path in folder.glob(f".{glob.escape(name)}.*{SUFFIX}") if fcntl else ():
        with contextlib.suppress(OSError), _in_use(path):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextlib.contextmanager
def _in_use(path: Path) -> Iterator[None]:
    """Hold a lock on a file or folder. Raises OSError where another holds it."""
    if not fcntl:
        yield
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
