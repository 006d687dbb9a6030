"""A preset for llama.cpp's server: one model under several names, each with the vector of a language.

    llama-server --models-preset FOLDER/preset.ini

    [gemma-sw]
    model = /models/gemma.gguf
    control-vector-scaled = /vectors/sw.gguf:1.0

The name that a request gives as its `model` chooses the language. The server takes paths as they stand, from
the folder it was started in, so they are absolute; it splits FILE:SCALE at every colon, and lists at commas.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import gguf as reader

from langsteer.errors import ExportError
from langsteer.export import gguf
from langsteer.export.check import Languages, Report, check_preset
from langsteer.export.format import ExportFormat
from langsteer.model.model import Model
from langsteer.progress import announce
from langsteer.steering.change import Change
from langsteer.steering.vector import SteeringVector
from langsteer.storage.files import check_writable, write_text

PRESET = "preset.ini"
CHOICE = (
    "a request chooses the language by the model's name, and nothing tells a text's language: a "
    "router is not part of this"
)


def export(
    changes: Sequence[Change],
    path: str | Path,
    *,
    everywhere: bool = False,
    model: str | Path | None = None,
    name: str | None = None,
) -> Path:
    """Write a folder with a control vector a language and the preset; the preset's path.

    `model` is the GGUF file of the model, `name` what it is called by clients, else the file's name.
    `everywhere` permits vectors that were fitted for some tokens. Raises ExportError and SaveError.
    """
    preset, notes = write_preset(changes, path, everywhere, model, name)
    for tag, note in notes.items():
        announce(f"{preset.with_name(f'{tag}.gguf')}: {note}")
    announce(f"{preset}: {CHOICE}")
    return preset


def write_preset(
    changes: Sequence[Change],
    path: str | Path,
    everywhere: bool,
    model: str | Path | None,
    name: str | None,
) -> tuple[Path, dict[str, str]]:
    """The same, without a word: the preset's path, and by language what changes by acting on every
    token.
    """
    by_language: dict[str, list[Change]] = {}
    for change in changes:
        by_language.setdefault(change.language, []).append(change)
    vectors = {tag: gguf.checked(own, everywhere) for tag, own in by_language.items()}
    file, folder = _model_file(model), Path(path).resolve()
    _check_model(file, [vector for own in vectors.values() for vector in own])
    name = name or file.stem
    for text in (str(folder), str(file), name):
        if any(mark in text for mark in ":,;#[]\n"):
            raise ExportError(
                f"{text!r} has one of : , ; # [ ] in it, which a preset of llama-server takes apart"
            )
    check_writable(folder / PRESET)
    notes = {
        tag: note
        for tag, own in vectors.items()
        if (note := gguf.write_vectors(own, folder / f"{tag}.gguf"))
    }
    return write_text(folder / PRESET, _preset(name, file, folder, vectors, notes)), notes


def _model_file(model: str | Path | None) -> Path:
    if model is None:
        raise ExportError("a preset names the model: pass model=, its GGUF file (--model)")
    file = Path(model).expanduser()
    if file.suffix != ".gguf" or not file.is_file():
        raise ExportError(f"llama-server runs a GGUF file, and {model} is none (--model)")
    return file.resolve()


def _check_model(file: Path, vectors: Sequence[SteeringVector]) -> None:
    """The server starts without a vector that does not fit, so it is compared here."""
    try:
        fields = reader.GGUFReader(file).fields
        architecture = str(fields["general.architecture"].contents())
        sizes = {
            key: int(fields[f"{architecture}.{key}"].contents())
            for key in ("block_count", "embedding_length")
        }
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise ExportError(f"{file} is cut short or not a GGUF file of a model: {error}") from error
    for vector in vectors:
        layers = vector.model.get("fingerprint", {}).get("layers", sizes["block_count"])
        fitted = {"block_count": layers, "embedding_length": vector.hidden_size}
        if fitted != sizes or vector.layer >= layers:
            raise ExportError(
                f"the vector of {vector.language} is for {layers} layers of size "
                f"{vector.hidden_size}, at layer {vector.layer}; {file} has "
                f"{sizes['block_count']} of size {sizes['embedding_length']}"
            )


def _preset(
    name: str, file: Path, folder: Path, tags: Iterable[str], notes: Mapping[str, str]
) -> str:
    lines = [f"; {CHOICE}", *(f"; {tag}: {note}" for tag, note in notes.items())]
    sections = [_section(name, {"model": str(file)})]
    for tag in tags:
        scaled = f"{folder / f'{tag}.gguf'}:1.0"
        sections.append(
            _section(f"{name}-{tag}", {"model": str(file), "control-vector-scaled": scaled})
        )
    return "\n".join(["version = 1", "", *lines, "", *sections])


def _section(name: str, values: dict[str, str]) -> str:
    return "\n".join([f"[{name}]", *(f"{key} = {value}" for key, value in values.items()), ""])


def check(
    changes: Languages,
    files: Mapping[str, Path],
    model: str | Path,
    *,
    program: str | Path | None = None,
    opened: Model | None = None,
) -> Report:
    """Run llama-server with the preset, and compare each language; see `langsteer.export.check`."""
    return check_preset(
        changes, next(iter(files.values())) / PRESET, model, program=program, opened=opened
    )


def _is_own(folder: Path) -> bool:
    """Whether a folder has a preset that langsteer wrote, or neither a preset nor a GGUF file."""
    preset = folder / PRESET
    if preset.is_file():
        return CHOICE.encode() in preset.read_bytes()
    return not any(folder.glob("*.gguf"))


FORMAT = ExportFormat(
    "llama-server",
    "preset of llama.cpp's server",
    "",
    export,
    together=True,
    opens_model=False,
    check=check,
    is_own=_is_own,
)
