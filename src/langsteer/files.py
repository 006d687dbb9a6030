"""Files written whole or not at all."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langsteer.errors import SaveError


def write_whole(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary file beside `path`, then move it into place in one step.

    Raises SaveError, leaving whatever stood at `path` untouched, where the folder cannot be
    written or the disk is full.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except Exception as error:
        if isinstance(error, OSError) or type(error).__name__ == "SafetensorError":
            reason = getattr(error, "strerror", None) or str(error)
            raise SaveError(
                f"cannot write {path}: {reason}. Nothing was changed; free some space or name "
                "a folder that you can write to."
            ) from error
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return path


def check_writable(path: str | Path) -> None:
    """Raise SaveError where a file at `path` could not be written, before work is put into it."""
    path = Path(path)
    if path.is_dir():
        raise SaveError(f"cannot write {path}: it is a folder. Name a file in it.")
    probe = path.with_name(f".{path.name}.probe")
    try:
        write_whole(probe, lambda part: part.write_bytes(b""))
    except SaveError as error:
        raise SaveError(str(error).replace(str(probe), str(path))) from error
    probe.unlink()


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
