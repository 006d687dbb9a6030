"""What is wrong with the files of a checkpoint, once it would not open.

Libraries say so of a file's content, seldom of the file: a Git LFS pointer is "not JSON", "header too large"
or "from one of:". Here each file is looked at, and the one at fault named.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub
import tokenizers
from safetensors import SafetensorError, safe_open

from langsteer.storage.files import listed
from langsteer.storage.parsed import parse_json
from langsteer.storage.pointers import pointer

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
)
_TOKENS = {"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model"}
_FILES = (
    "config.json",
    "adapter_config.json",
    "generation_config.json",
    "*.index.json",
    "*.safetensors",
    "*.bin",
)


def folder_of(source: str, revision: str | None = None) -> Path | None:
    """The folder that a model is opened from: itself, or where the hub's files lie; None for neither."""
    if os.path.isdir(source):
        return Path(source)
    with contextlib.suppress(Exception):
        return Path(
            huggingface_hub.snapshot_download(source, revision=revision, local_files_only=True)
        )
    return None


def damage_in(folder: Path | None) -> str | None:
    """What is wrong with a file that a model is read from, and what to do; None where nothing is."""
    return _first(folder, (*_FILES, *TOKENIZER_FILES))


def tokenizer_damage_in(folder: Path | None) -> str | None:
    """The same of a tokeniser's files; also that there are none."""
    if folder is None:
        return None
    if not any(path.name in _TOKENS for path in folder.iterdir()):
        return (
            f"{folder} has no tokeniser: copy tokenizer.json and tokenizer_config.json from the "
            "model that it was made from, or save one there with tokenizer.save_pretrained"
        )
    return _first(folder, TOKENIZER_FILES)


def settings_damage_in(folder: Path | None) -> str | None:
    """The same of files that transformers leaves aside in silence where they are damaged."""
    return _first(folder, ("generation_config.json",))


def pointer_or_empty(path: Path) -> str | None:
    """Why a file has no content of its own, where that is so."""
    with path.open("rb") as file:
        empty = not file.read(1)
    return f"{path} is empty: copy or download it again" if empty else pointer(path)


def _first(folder: Path | None, patterns: tuple[str, ...]) -> str | None:
    if folder is None:
        return None
    told = (_damage(path) for pattern in patterns for path in listed(folder, pattern))
    return next((damage for damage in told if damage), None)


def _damage(path: Path) -> str | None:
    try:
        nothing = pointer_or_empty(path)
        if nothing is not None:
            return nothing
        for reason in _unreadable(path):
            return reason
    except OSError as error:
        return f"cannot read {path}: {error.strerror or error}"
    return None


def _unreadable(path: Path) -> Iterator[str]:
    if path.suffix == ".safetensors":
        yield from _failure(path, lambda: safe_open(path, framework="pt").__enter__())
    elif path.suffix == ".json":
        yield from _failure(path, lambda: _object(path))
    if path.name == "tokenizer.json":
        yield from _failure(path, lambda: tokenizers.Tokenizer.from_file(str(path)))


def _object(path: Path) -> None:
    """Raise ValueError where a file is not the object of JSON that it has to be."""
    value = parse_json(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"it holds {str(value)[:40]} and no settings by name")
    if path.name.endswith(".index.json"):
        files = value.get("weight_map")
        if not (
            isinstance(files, dict) and files and all(isinstance(f, str) for f in files.values())
        ):
            raise ValueError("it has no weight_map that says which tensor is in which file")


def _failure(path: Path, read: Callable[[], object]) -> Iterator[str]:
    try:
        read()
    except SafetensorError as error:
        yield f"{path} is cut short or not a safetensors file ({error}): copy or download it again"
    except Exception as error:  # tokenizers raises plain Exceptions
        yield f"{path} is damaged ({error}): copy or download it again"
