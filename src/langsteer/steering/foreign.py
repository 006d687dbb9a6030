"""Vectors in the files of other tools, read: control vectors in GGUF, and PyTorch's files of plain tensors.

llama.cpp and repeng write GGUF, the lm-evaluation-harness and steering-vectors `.pt`. All of them number
decoder blocks from 0 and add to a block's output at every token. A PyTorch file is read as tensors alone: what
would run code is refused.
"""

import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from langsteer.errors import VectorError
from langsteer.model.opening import as_model
from langsteer.steering.change import Change, known_fields
from langsteer.steering.sequence import ChangeSequence
from langsteer.steering.vector import SteeringVector
from langsteer.storage.parsed import parse_json

ARCHITECTURE = "controlvector"  # of a GGUF file, whose tensors are `direction.<block>`
HINT_KEY = f"{ARCHITECTURE}.model_hint"
RECORD_KEY = "langsteer.vectors"  # what langsteer knows of each direction, as JSON
SUFFIXES = (".gguf", ".pt", ".pth")
UNKNOWN = "und"  # BCP 47: a language that was not determined

_DIRECTION = re.compile(r"direction\.(\d+)")
_HOOKPOINT = re.compile(r"(?:.*\.)?(\d+)")
_BROKEN = (OSError, ValueError, IndexError, KeyError, OverflowError, UnicodeDecodeError)


def read_foreign(
    path: str | Path, model: Any = None, *, language: str | None = None, pivot: str = "en"
) -> Change:
    """The change in a file of another tool: a vector, or a sequence of those of several layers.

    Arguments and errors are those of `read_gguf`.
    """
    read = read_gguf if Path(path).suffix == ".gguf" else read_torch
    vectors = read(path, model, language=language, pivot=pivot)
    return vectors[0] if len(vectors) == 1 else ChangeSequence(vectors)


def read_gguf(
    path: str | Path, model: Any = None, *, language: str | None = None, pivot: str = "en"
) -> tuple[SteeringVector, ...]:
    """The directions of a control vector file, in the order of their layers, at positions `all`.

    A file that langsteer wrote says what they are; another's are of the language `und` unless
    `language` says which. With `model`, they are checked against it and become its own; without,
    their model is what the file hints at. Raises VectorError where the file is missing, damaged,
    no control vector, or of another model.
    """
    import gguf

    path = _existing(path)
    try:
        reader = gguf.GGUFReader(path)
        named = {key: reader.fields[key].contents() for key in reader.fields}
        tensors = {tensor.name: (tensor.tensor_type, tensor.data) for tensor in reader.tensors}
    except _BROKEN as error:
        raise VectorError(f"{path} is cut short or not a GGUF file: {error}") from error
    if named.get("general.architecture") != ARCHITECTURE:
        kind = named.get("general.architecture")
        raise VectorError(f"{path} is not a control vector: it is a GGUF file of {kind}")
    directions: dict[int, Tensor] = {}
    for name, (kind, data) in tensors.items():
        matched = _DIRECTION.fullmatch(name)
        if matched is None:
            raise VectorError(f"{path} has a tensor {name!r}, and not only direction.<layer>")
        if kind not in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16):
            raise VectorError(f"{path}: {name} is {kind.name}; float32 and float16 are read")
        directions[int(matched[1])] = torch.from_numpy(data.astype("float32"))
    own = _records(path, named.get(RECORD_KEY))
    return _vectors(
        path, directions, named.get(HINT_KEY), "gguf", own, model, language=language, pivot=pivot
    )


def read_torch(
    path: str | Path, model: Any = None, *, language: str | None = None, pivot: str = "en"
) -> tuple[SteeringVector, ...]:
    """The vectors of a PyTorch file, in the order of their layers, at positions `all`.

    It holds what the harness's `steered` model reads, with the action `add`; or
    `layer_activations` as steering-vectors has them: a vector for each number of a layer.
    Arguments and errors are those of `read_gguf`.
    """
    path = _existing(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch asks to be told of unusual pickles
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise VectorError(
            f"{path} is not a file of plain tensors, and Python objects are not read, for they can "
            "run code: save a dictionary of tensors by layer, such as `layer_activations`"
        ) from error
    except Exception as error:  # a damaged file can fail the reader in any way
        raise VectorError(f"{path} is cut short or not a PyTorch file: {error}") from error
    if isinstance(content, Mapping) and isinstance(content.get("layer_activations"), Mapping):
        if content.get("layer_type", "decoder_block") != "decoder_block":
            raise VectorError(f"{path} is not of decoder blocks but of {content['layer_type']}")
        content = content["layer_activations"]
    if not isinstance(content, Mapping) or not content:
        raise VectorError(f"{path} holds no dictionary of vectors by layer")
    directions = dict(_direction(path, key, value) for key, value in content.items())
    if len(directions) < len(content):
        raise VectorError(f"{path} holds two vectors for one layer")
    return _vectors(path, directions, None, "torch", {}, model, language=language, pivot=pivot)


def _direction(path: Path, key: Any, value: Any) -> tuple[int, Tensor]:
    """The layer and the vector of an entry, in either form."""
    if isinstance(key, int) and not isinstance(key, bool):
        layer = key
    else:
        matched = _HOOKPOINT.fullmatch(key) if isinstance(key, str) else None
        if matched is None:
            raise VectorError(f"{path}: {key!r} names no decoder block, such as layers.8")
        layer = int(matched[1])
    if isinstance(value, Mapping):
        for name in ("bias", "head_index"):
            if value.get(name) is not None:
                raise VectorError(f"{path}: {key} has a {name}, which no steering vector has")
        if value.get("action") != "add":
            raise VectorError(f"{path}: {key} is to {value.get('action')}; only add is read")
        factor = value.get("steering_coefficient", 1.0)
        value = value.get("steering_vector")
        if isinstance(value, Tensor) and isinstance(factor, int | float):
            value = value.float() * factor
    if not isinstance(value, Tensor):
        raise VectorError(f"{path}: {key} has no vector")
    return layer, value.float().reshape(-1) if value.shape[:-1].numel() == 1 else value.float()


def _vectors(
    path: Path,
    directions: Mapping[int, Tensor],
    hint: Any,
    method: str,
    records: Mapping[int, Mapping[str, Any]],
    model: Any,
    *,
    language: str | None,
    pivot: str,
) -> tuple[SteeringVector, ...]:
    """The vectors of a file at the strength that is in their numbers, each checked on its own."""
    if not directions:
        raise VectorError(f"{path} has no direction in it")
    vectors = []
    for layer, values in sorted(directions.items()):
        about: dict[str, Any] = {"name": hint or "unknown", "fingerprint": {"architecture": hint}}
        stated: dict[str, Any] = {"language": UNKNOWN, "pivot": pivot, "model": about}
        stated["method"] = method
        stated |= known_fields(SteeringVector, records.get(layer, {}))
        stated |= {"loss": tuple(stated.get("loss", ()))}
        stated |= {"layer": layer, "strength": 1.0, "positions": "all"}
        stated |= {"language": language} if language is not None else {}
        try:
            vector = SteeringVector(values=values, **stated)
        except (TypeError, VectorError) as error:
            raise VectorError(f"{path}, layer {layer}: {error}") from error
        vectors.append(vector if model is None else _owned(path, vector, hint, model))
    return tuple(vectors)


def _owned(path: Path, vector: SteeringVector, hint: Any, model: Any) -> SteeringVector:
    """A vector as one of `model`, checked as far as the file allows. Raises VectorError."""
    here = as_model(model)
    if "layers" in vector.model.get("fingerprint", {}):  # langsteer wrote it
        vector.check_fits(here)
        return vector
    architecture = str(here.fingerprint["architecture"])
    if hint and architecture_name(str(hint)) != architecture_name(architecture):
        raise VectorError(f"{path} is for {hint}, and {here.name} is {architecture}")
    if vector.hidden_size != here.hidden_size or vector.layer >= here.layers:
        raise VectorError(
            f"{path} has a vector of size {vector.hidden_size} for layer {vector.layer}; "
            f"{here.name} has {here.layers} layers of size {here.hidden_size}"
        )
    return replace(vector, model={"name": here.name, "fingerprint": here.fingerprint})


def architecture_name(architecture: str) -> str:
    """transformers' or llama.cpp's name of an architecture, less what they write differently."""
    return re.sub(r"[^a-z0-9]", "", architecture.lower().removesuffix("_text"))


def _records(path: Path, text: Any) -> dict[int, dict[str, Any]]:
    if text is None:
        return {}
    try:
        return {int(layer): dict(record) for layer, record in parse_json(text).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise VectorError(f"{path} is damaged: its {RECORD_KEY} cannot be read") from error


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise VectorError(f"there is no file {path}")
    return path
