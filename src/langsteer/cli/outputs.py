"""What a command refuses to write over: what it is told to read."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from langsteer.errors import SaveError, VectorError
from langsteer.storage.told import own_kind

FILES = (
    "on",
    "task",
    "english",
    "prompts",
    "corpus",
    "pivot_file",
    "data",
    "benchmarks",
    "vectors",
    "files",
    "own",
    "template",
    "tuned_lens",
    "check",
    "model",
    "model_argument",
    "base",
    "tuned",
)
MODELS = ("model", "model_argument", "base", "tuned")
FOLDERS = (*MODELS, "corpus", "data", "benchmarks")  # may be folders of others' files


def check_no_input(output: str | Path, params: Sequence[Any], values: Mapping[str, Any]) -> None:
    """Raise SaveError where the output is what an option reads: the file or the model's folder itself, or a file in
    such a folder that langsteer has not written. Links are followed.
    """
    output = Path(output)
    if not os.path.exists(output):  # which, unlike Path.exists, stands names that no file can have
        return
    for param in params:
        for source in _paths(values.get(param.name)) if param.name in FILES else ():
            if _is_read(output, source, param.name):
                option = param.opts[0] if param.opts[0].startswith("-") else "the command"
                raise SaveError(
                    f"cannot write {output}: {option} reads it, and it would be lost. Name another output."
                )


def _paths(value: Any) -> Iterator[Path]:
    """The paths that an option names and that are there; NAME=PATH names one too."""
    for each in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(each, (str, Path)):
            for text in {str(each), str(each).rpartition("=")[2]}:
                path = Path(os.path.expanduser(text))
                if os.path.exists(path):
                    yield path


def _is_read(output: Path, source: Path, name: str) -> bool:
    if str(source) in _short_names(name):
        return False
    if output.samefile(source):
        return source.is_file() or name in MODELS
    inside = source.resolve() in output.resolve().parents
    return inside and name in FOLDERS and output.is_file() and not _is_own(output)


def _short_names(name: str) -> Sequence[str]:
    """What an option's values are where they are no paths, even if a file is called so."""
    if name in MODELS:
        from langsteer.model.converted import PACKAGED

        return tuple(PACKAGED)
    return ("builtin",) if name in ("corpus", "data") else ()


def _is_own(file: Path) -> bool:
    """Whether langsteer wrote a file, of the kinds that say so."""
    if file.suffix == ".gguf" or own_kind(file) is not None:
        return True
    from langsteer.storage.tensors import format_of

    try:
        return str(format_of(file)).startswith("langsteer ")
    except VectorError:
        return False
