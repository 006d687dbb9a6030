"""What a format is, and what formats share: which changes are vectors, and where they act."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from langsteer.errors import ExportError, VectorError
from langsteer.steering.change import Change
from langsteer.steering.vector import SteeringVector
from langsteer.storage.files import check_replaceable, check_writable


@dataclass(frozen=True)
class ExportFormat:
    """A kind of file. `export(changes, path, **options)` writes `changes`, which are of one language,
    into one file, whole or not at all; `options` are its own keyword arguments. It raises
    ExportError, saying why, where the format cannot hold them, and SaveError.

    With an empty `extension`, what is written is a folder. `together`: one file for all languages.
    `is_own(path)`: whether the file there is of this format (or the folder, one that it writes into), so
    that it may be replaced unasked; without it, no file is.
    `opens_model`: its option `model`, where it has one, is an open model, not the name of one.
    `check(changes, files, model, program=None, opened=None)` runs the engine with the files of each language, on
    the model's own file, and reports how it compares (`langsteer.export.check`).
    """

    name: str
    title: str
    extension: str
    export: Callable[..., object]
    together: bool = False
    opens_model: bool = True
    check: Callable[..., Any] | None = None
    is_own: Callable[[Path], bool] | None = None


def check_output(form: ExportFormat, path: Path, overwrite: bool) -> None:
    """Raise SaveError where the format cannot write to `path`, or would replace what is not its own."""
    is_own = form.is_own
    check_writable(path, folder=not form.extension)
    if form.extension or is_own is not None:
        kind = f"is no {form.title}"
        own = is_own or (lambda _: False)
        check_replaceable(path, lambda there: None if own(there) else kind, overwrite)


def reads(read: Callable[[Path], object], path: Path) -> bool:
    """Whether `read` takes a file: it raises VectorError where it does not."""
    try:
        read(path)
    except VectorError:
        return False
    return True


def vectors_of(changes: Sequence[Change], title: str) -> list[SteeringVector]:
    """The vectors that the changes are made of, one a layer, in the order of layers.

    Raises ExportError where one is no vector, or two are at one layer.
    """
    vectors: list[SteeringVector] = []
    for change in changes:
        outer = 1.0 if isinstance(change, SteeringVector) else change.strength
        for part in change.parts:
            if not isinstance(part, SteeringVector):
                why = (
                    "depends on the token"
                    if part.layers
                    else "acts on logits (fit it by itself, and export that: --to logit-bias)"
                )
                raise ExportError(
                    f"a {title} holds steering vectors: what is added is the same at every token. "
                    f"That of {change.language} is a {part.kind.name}, which {why}"
                )
            if part.keeps_length:
                raise ExportError(
                    f"a {title} holds steering vectors that are added: that of {change.language} "
                    "keeps the length of each state, which no file of another engine can say"
                )
            vectors.append(part if outer == 1.0 else part.with_strength(outer * part.strength))
    vectors.sort(key=lambda vector: vector.layer)
    for before, after in itertools.pairwise(vectors):
        if before.layer == after.layer:
            raise ExportError(
                f"a {title} holds one vector a layer: there are two of {after.language} for layer "
                f"{after.layer}"
            )
        if before.model != after.model:
            raise ExportError(f"a {title} is of one model: the vectors of {after.language} are not")
    return vectors


def check_everywhere(vectors: Sequence[SteeringVector], title: str, everywhere: bool) -> None:
    """Raise ExportError where a vector is not for all tokens, unless `everywhere` allows that."""
    for vector in vectors:
        if vector.positions != "all" and not everywhere:
            raise ExportError(
                f"the vector of {vector.language} acts on the positions {vector.positions!r}, and a "
                f"{title} acts on every token: fit one with positions 'all' (--positions all), or "
                "pass everywhere=True (--everywhere) and measure what that changes"
            )


def everywhere_note(vectors: Sequence[SteeringVector]) -> str | None:
    """What changes where vectors come to act on every token, in a sentence; None where nothing does."""
    were = list(dict.fromkeys(v.positions for v in vectors if v.positions != "all"))
    if not were:
        return None
    return (
        f"fitted to act on the positions {' and '.join(were)}; in this file on every token, what is "
        "generated and the beginning-of-sequence token included"
    )


def check_layers(vectors: Sequence[SteeringVector], title: str, first: int = 0) -> None:
    """Raise ExportError where the model lacks a layer, or a layer is before the `first` allowed."""
    for vector in vectors:
        count = vector.model.get("fingerprint", {}).get("layers")
        if vector.layer < first:
            raise ExportError(
                f"a {title} does not act on layer {vector.layer}: the first is {first}"
            )
        if isinstance(count, int) and vector.layer >= count:
            raise ExportError(
                f"{vector.model.get('name')} has no layer {vector.layer}: its layers are 0 to "
                f"{count - 1}"
            )


def scaled(vector: SteeringVector) -> SteeringVector:
    """The same change, its strength in its numbers: float32."""
    return replace(vector, values=vector.strength * vector.values.float(), strength=1.0)


def path_for(output: Path, language: str, extension: str, several: bool) -> Path:
    """The file of a language: `output`, or one of its own where that is a folder of several."""
    into = several or (bool(extension) and output.is_dir())
    return output / f"{language}{extension}" if into else output
