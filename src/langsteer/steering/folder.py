"""Files and folders of changes: one file a language, and beside them, perhaps, a router."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Unpack

from langsteer.errors import VectorError
from langsteer.steering.change import Change
from langsteer.steering.files import FetchOptions, change_files, fetched, one_file
from langsteer.steering.foreign import SUFFIXES, read_foreign
from langsteer.steering.sequence import PART_KINDS, ChangeSequence
from langsteer.steering.vector import SteeringVector
from langsteer.storage.tensors import format_of, read_tensors
from langsteer.text.languages import parse_tag

KINDS: tuple[type[Change], ...] = (*PART_KINDS, ChangeSequence)

Source = str | Path | Change


def load(path: str | Path, model: Any = None) -> Change:
    """Read a file of any kind that `save` wrote; with `model`, also check that it fits.

    `path` may be a folder with one file, or a repository of the hub (`langsteer.steering.files`).
    Vectors in GGUF and `.pt` files of other tools (`langsteer.steering.foreign`) are read too, and
    become those of `model`. Raises VectorError where the file is missing, damaged, or something
    else.
    """
    path = one_file(path)
    if Path(path).suffix in SUFFIXES:
        return read_foreign(path, model)
    named = format_of(path)
    for kind in KINDS:
        if kind.kind.format == named:
            return kind.checked(path, *read_tensors(path, kind.kind), model)
    what = f"it is a {named}" if named else "it does not say what it is"
    raise VectorError(f"{path} is not a langsteer vector file, nor of another change: {what}")


def from_pretrained(
    repo_id: str | Path, filename: str | None = None, **options: Unpack[FetchOptions]
) -> Change:
    """The change, of any kind, in a repository of the hub; arguments as of
    `SteeringVector.from_pretrained`. A folder of several, with their router, is opened by
    `Steered.from_pretrained`.
    """
    return load(fetched(repo_id, filename, **options))


def load_changes(sources: Iterable[Source]) -> list[Change]:
    """Changes themselves, of files, and of all files in folders (or of the hub) but a router.

    Raises VectorError where a folder has none, or a file is damaged.
    """
    changes: list[Change] = []
    for source in sources:
        if isinstance(source, Change):
            changes.append(source)
            continue
        files = change_files(source)
        if not files:
            raise VectorError(f"there is no vector file (*.safetensors) in {source}")
        changes += [load(file) for file in files]
    return changes


def read_changes(*paths: str | Path) -> dict[str, Change]:
    """Changes by language, from files and folders of them (`*.safetensors`, no router).

    Raises VectorError where a folder has none, one is damaged, or there are two for a language.
    """
    changes: dict[str, Change] = {}
    for path in map(Path, paths):
        for change in load_changes([path]):
            if change.language in changes:
                raise VectorError(
                    f"{path} holds several vectors for {change.language}: keep one a language"
                    if path.is_dir()
                    else f"{path} is one of several vectors for {change.language}: name one"
                )
            changes[change.language] = change
    return changes


def changes_by_language(
    vectors: Source | Iterable[Source] | Mapping[str, Change] | None,
) -> dict[str, Change]:
    """Changes by language tag, from whatever names them: a change, a file, a folder, several, a
    mapping, or nothing. Raises VectorError as `read_changes` does.
    """
    if vectors is None:
        return {}
    if isinstance(vectors, Mapping):
        return {parse_tag(tag): change for tag, change in vectors.items()}
    listed = [vectors] if isinstance(vectors, str | Path | Change) else list(vectors)
    changes: dict[str, Change] = {}
    for source in listed:
        own = {source.language: source} if isinstance(source, Change) else read_changes(source)
        if both := [tag for tag in own if tag in changes]:
            raise VectorError(f"{source} is one of several vectors for {both[0]}: name one")
        changes |= own
    return changes


def load_vectors(sources: Iterable[Source]) -> list[SteeringVector]:
    """`load_changes`, where all must be steering vectors."""
    return [_as_vector(change) for change in load_changes(sources)]


def read_vectors(*paths: str | Path) -> dict[str, SteeringVector]:
    """`read_changes`, where all must be steering vectors."""
    return {tag: _as_vector(change) for tag, change in read_changes(*paths).items()}


def _as_vector(change: Change) -> SteeringVector:
    if not isinstance(change, SteeringVector):
        raise VectorError(
            f"this takes steering vectors, and that of {change.language} is a {change.kind.name}"
        )
    return change
