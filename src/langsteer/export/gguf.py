"""A control vector in GGUF, as llama.cpp, repeng and EasySteer read it.

Metadata: `general.architecture = "controlvector"`, `controlvector.model_hint`, `controlvector.layer_count`.
Tensors: `direction.<k>`, float32 [hidden], added to the output of block k, counted from 0, at every token, the
beginning-of-sequence token too. The file carries no strength: it is multiplied in. llama.cpp starts *without*
a direction that it cannot use (of layer 0, of a layer that the model lacks), so those are refused here.
"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from langsteer.errors import ExportError
from langsteer.export.check import check_control_vectors
from langsteer.export.format import (
    ExportFormat,
    check_everywhere,
    check_layers,
    everywhere_note,
    reads,
    scaled,
    vectors_of,
)
from langsteer.progress import announce
from langsteer.steering.change import Change
from langsteer.steering.foreign import (
    ARCHITECTURE,
    HINT_KEY,
    RECORD_KEY,
    architecture_name,
    read_gguf,
)
from langsteer.steering.vector import SteeringVector
from langsteer.storage.files import write_whole
from langsteer.version import __version__

TITLE = "control vector"
FIRST_LAYER = 1  # llama.cpp keeps no room for block 0

WITHOUT_CONTROL_VECTORS = {
    architecture_name(name)
    for name in (
        "phimoe", "plamo2", "minicpm", "minicpm3", "granitemoe", "granitemoeshared", "mistral4",
        "mamba2", "hunyuan_v1_dense", "hunyuan-dense",
    )
}  # fmt: skip
"""architectures whose models llama.cpp runs without applying a control vector"""


def export(
    changes: Sequence[Change], path: str | Path, *, everywhere: bool = False
) -> tuple[SteeringVector, ...]:
    """Write the vectors of one language into a control vector file; what it holds.

    `everywhere` permits vectors that were fitted for some tokens: the file notes which. Raises
    ExportError and SaveError.
    """
    vectors = checked(changes, everywhere)
    if note := write_vectors(vectors, path):
        announce(f"{path}: {note}")
    return tuple(scaled(vector) for vector in vectors)


def write_vectors(vectors: Sequence[SteeringVector], path: str | Path) -> str | None:
    """Write what `checked` returned; what changes by acting on every token, None where nothing does.

    Raises SaveError.
    """
    note = everywhere_note(vectors)
    write_whole(path, lambda part: _write(part, vectors, note))
    return note


def checked(changes: Sequence[Change], everywhere: bool) -> list[SteeringVector]:
    """The vectors that changes of one language are made of. Raises ExportError, as `export` does."""
    vectors = vectors_of(changes, TITLE)
    _check_architecture(vectors)
    check_layers(vectors, TITLE, FIRST_LAYER)
    check_everywhere(vectors, TITLE, everywhere)
    return vectors


def _write(path: Path, vectors: Sequence[SteeringVector], note: str | None) -> None:
    import gguf

    architecture = str(vectors[0].model.get("fingerprint", {}).get("architecture", "unknown"))
    writer = gguf.GGUFWriter(path, ARCHITECTURE)
    writer.add_string(HINT_KEY, architecture.removesuffix("_text"))
    writer.add_uint32(f"{ARCHITECTURE}.layer_count", len(vectors))
    writer.add_string("langsteer.version", __version__)
    writer.add_string("langsteer.language", vectors[0].language)
    writer.add_string("langsteer.positions", ", ".join(sorted({v.positions for v in vectors})))
    if note:
        writer.add_string("langsteer.everywhere", note)
    records = {vector.layer: _record(vector) for vector in vectors}
    writer.add_string(RECORD_KEY, json.dumps(records, ensure_ascii=False))
    for vector in vectors:
        writer.add_tensor(f"direction.{vector.layer}", scaled(vector).values.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _record(vector: SteeringVector) -> dict[str, object]:
    """What is known of a vector, and the strength and positions that it had before."""
    before = {"strength": vector.strength, "positions": vector.positions}
    return vector.record() | {"options": {**vector.options, "exported": before}}


def _check_architecture(vectors: Sequence[SteeringVector]) -> None:
    for vector in vectors:
        architecture = str(vector.model.get("fingerprint", {}).get("architecture", ""))
        if architecture_name(architecture) in WITHOUT_CONTROL_VECTORS:
            raise ExportError(
                f"llama.cpp does not apply control vectors to {architecture} models: it would "
                "answer as if there were none"
            )


FORMAT = ExportFormat(
    "gguf",
    "GGUF control vector (llama.cpp, repeng)",
    ".gguf",
    export,
    check=check_control_vectors,
    is_own=partial(reads, read_gguf),
)
