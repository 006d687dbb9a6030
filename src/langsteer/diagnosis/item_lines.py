"""The lines of a file of one's own, and what all such files refuse."""

from pathlib import Path

from langsteer.errors import DiagnosisError
from langsteer.storage.lines import JsonLine
from langsteer.storage.pointers import read_text


def read_file(path: Path) -> str:
    """The text of a file. Raises DiagnosisError where it cannot be read, or is no text."""
    try:
        return read_text(path, "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DiagnosisError(f"{path} is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise DiagnosisError(f"cannot read {path}: {error.strerror}") from error


def check_object(line: JsonLine, path: Path, like: str) -> None:
    """Raise DiagnosisError where a line is no JSON object; `like` shows one that is."""
    if line.error or not isinstance(line.value, dict):
        reason = line.error or f"{type(line.value).__name__}, not an object"
        raise DiagnosisError(f"{path}, line {line.number} is not a JSON object ({reason}): {like}")
