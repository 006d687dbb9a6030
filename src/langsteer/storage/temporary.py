"""Temporary files and folders beside the place that they are moved to.

A process that is killed leaves its own behind: whoever writes the same place next takes them away. One that is in use is
locked, so that processes which write the same place at once leave each other's alone.
"""

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where what is left behind stays
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".part"


def temporary_file(folder: Path, name: str) -> contextlib.AbstractContextManager[Path]:
    """An empty file in `folder`, on its way to become `name`; gone afterwards where it was not moved."""

    def make(prefix: str) -> str:
        handle, path = tempfile.mkstemp(SUFFIX, prefix, folder)
        os.close(handle)
        return path

    return _temporary(folder, name, make)


def temporary_folder(folder: Path, name: str) -> contextlib.AbstractContextManager[Path]:
    """The same for a folder in `folder`."""
    return _temporary(folder, name, lambda prefix: tempfile.mkdtemp(SUFFIX, prefix, folder))


@contextlib.contextmanager
def _temporary(folder: Path, name: str, make: Callable[[str], str]) -> Iterator[Path]:
    _remove_left(folder, name)
    path = Path(make(f".{name}."))
    try:
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # some disks that machines share have no locks
                stack.enter_context(_in_use(path))
            yield path
    finally:
        _remove(path)


def _remove_left(folder: Path, name: str) -> None:
    """Take away what was on its way to become `name` and no process holds any more."""
    for path in folder.glob(f".{glob.escape(name)}.*{SUFFIX}") if fcntl else ():
        with contextlib.suppress(OSError), _in_use(path):
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _in_use(path: Path) -> Iterator[None]:
    """Hold a lock on a file or folder. Raises OSError where another holds it, or there are no locks."""
    if not fcntl:
        yield
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
