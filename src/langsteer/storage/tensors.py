"""Tensors and a record of what they are, in one safetensors file: nothing is ever unpickled."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from langsteer.errors import VectorError
from langsteer.storage.files import write_whole
from langsteer.storage.parsed import parse_json
from langsteer.storage.pointers import pointer
from langsteer.storage.told import text_kind

CHECKSUM = "sha256"  # in a file's metadata; files of earlier versions have none


@dataclass(frozen=True)
class FileKind:
    """What a file says that it is, the newest version that is read, and what people call it."""

    format: str
    version: int
    name: str


def write_tensors(
    path: str | Path, kind: FileKind, tensors: Mapping[str, Tensor], record: Mapping[str, Any]
) -> Path:
    """Write tensors as float32 and a record of JSON values, with a checksum of both, whole or not
    at all. Raises SaveError.
    """
    whole = {**record, "format": kind.format, "format_version": kind.version}
    metadata = {key: json.dumps(value, ensure_ascii=False) for key, value in whole.items()}
    plain = {  # copies, as what shares its numbers with another cannot be written
        name: tensor.detach().to("cpu", torch.float32, copy=True).contiguous()
        for name, tensor in tensors.items()
    }
    metadata[CHECKSUM] = json.dumps(checksum(plain, metadata))
    return write_whole(path, lambda part: save_file(plain, part, metadata=metadata))


def checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 over names, types, shapes and bytes of tensors, and over metadata but a checksum."""
    told = sorted((key, value) for key, value in metadata.items() if key != CHECKSUM)
    digest = hashlib.sha256(json.dumps(told).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        numbers: Any = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
        digest.update(numbers)
    return digest.hexdigest()


def format_of(path: str | Path) -> str | None:
    """What a safetensors file says that it is; None where it does not.

    Raises VectorError where it is missing or damaged.
    """
    if Path(path).is_dir():
        raise VectorError(f"{path} is a folder: name a vector file in it")
    if not Path(path).is_file():
        raise VectorError(f"there is no vector file {path}")
    with _opened(path) as file:
        written = (file.metadata() or {}).get("format", "null")
    try:
        named = parse_json(written)
    except ValueError:
        return None
    return named if isinstance(named, str) else None


def read_tensors(path: str | Path, kind: FileKind) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and record of a file of this kind.

    A checksum is compared where the file has one. Raises VectorError where it is missing, damaged,
    newer than this langsteer, or something else.
    """
    path = Path(path)
    if not path.is_file():
        raise VectorError(f"there is no {kind.name} file {path}")
    with _opened(path) as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    try:
        record: dict[str, Any] = {key: parse_json(value) for key, value in metadata.items()}
    except ValueError as error:
        raise VectorError(f"{path} is not a langsteer {kind.name} file") from error
    written = record.pop("format", None)
    if written != kind.format:
        other = f": it is a {written}" if str(written).startswith("langsteer ") else ""
        raise VectorError(f"{path} is not a langsteer {kind.name} file{other}")
    version = record.pop("format_version", None)
    if not isinstance(version, int) or version > kind.version:
        raise VectorError(
            f"{path} has format version {version}; this langsteer reads up to {kind.version}: "
            "pip install --upgrade langsteer"
        )
    if record.pop(CHECKSUM, None) not in (None, checksum(tensors, metadata)):
        raise VectorError(
            f"{path} is damaged: it holds something else than was written (its checksum differs): "
            "copy or download it again"
        )
    return tensors, record


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    """A safetensors file; what goes wrong with reading it is a VectorError."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        damaged = f"{path} is truncated or not a safetensors file: {error}"
        with contextlib.suppress(OSError):
            damaged = pointer(path) or _no_tensors(path) or damaged
        raise VectorError(damaged) from error


def _no_tensors(path: str | Path) -> str | None:
    """That a file is text, and what it says; None where it may be damaged tensors."""
    kind = text_kind(path)
    return kind and f"{path} is {kind}, not a safetensors file: name that of a vector"
