"""The registry of formats: one a file, a line each in `names`, and what other packages add.

A package adds one by an entry point of the group `langsteer.exports` that names an `ExportFormat`.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from langsteer.engines.llama_cpp import find_server
from langsteer.errors import ExportError, ModelError
from langsteer.export.check import Report
from langsteer.export.format import ExportFormat, check_output, path_for
from langsteer.export.names import FORMATS as OWN
from langsteer.model.model import Model
from langsteer.plugins import Registry, instance_of
from langsteer.steering.change import Change
from langsteer.steering.folder import Source, load_changes
from langsteer.storage.files import check_writable

GROUP = "langsteer.exports"

FORMATS: Registry[ExportFormat] = Registry(GROUP, OWN, instance_of(ExportFormat))


def get_format(name: str) -> ExportFormat:
    """Raises ExportError where there is no such format."""
    if name not in FORMATS:
        raise ExportError(f"there is no format {name!r}; there are {', '.join(FORMATS)}")
    return FORMATS[name]


def export(
    sources: Source | Iterable[Source],
    to: str,
    output: str | Path,
    *,
    strength: float | None = None,
    overwrite: bool = False,
    **options: Any,
) -> dict[str, Path]:
    """Write changes, of files, folders or themselves, in a format; the file of each language.

    `output` is the file; with several languages, or where it is a folder already, each has a file
    of its own in it, unless the format puts all into one. What one language has in several layers
    goes into one file. `strength` replaces that of each; `options` are the format's. A file that is
    there is replaced where it is of the format, and any other with `overwrite` only. Raises
    ExportError and SaveError, before anything is written where another file is there.
    """
    form = get_format(to)
    _check_options(form, options)
    languages = _by_language(sources, strength)
    if not languages:
        raise ExportError("there is nothing to export: name a file or a folder of vectors")
    several = len(languages) > 1
    if several and not form.together:
        check_writable(output, folder=True)
    files = {tag: path_for(Path(output), tag, form.extension, several) for tag in languages}
    for path in [Path(output)] if form.together else files.values():
        check_output(form, path, overwrite)
    if form.together:
        form.export([c for changes in languages.values() for c in changes], Path(output), **options)
        return dict.fromkeys(languages, Path(output))
    for language, changes in languages.items():
        form.export(changes, files[language], **options)
    return files


def check_export(
    sources: Source | Iterable[Source],
    to: str,
    files: Mapping[str, Path],
    model: str | Path,
    *,
    strength: float | None = None,
    program: str | Path | None = None,
    opened: Model | None = None,
) -> Report:
    """Run the engine with what `export` wrote, and compare it with transformers and the same change.

    `sources` and `strength` are those of the export, `files` what it returned, `model` the GGUF
    file of the model (`opened`, where transformers has opened it already), and `program` where
    llama-server is. Raises ExportError where the format
    cannot be checked so, EngineError where the engine cannot be run, and ModelError.
    """
    check = can_check(to, model, program)
    report: Report = check(
        _by_language(sources, strength), files, model, program=program, opened=opened
    )
    return report


def can_check(to: str, model: str | Path, program: str | Path | None = None) -> Callable[..., Any]:
    """What checks a format, where all that it needs is there. Raises as `check_export` does."""
    form = get_format(to)
    if form.check is None:
        able = [name for name in FORMATS if FORMATS[name].check is not None]
        raise ExportError(
            f"{form.title} is not checked by running an engine: that is for {', '.join(able)}"
        )
    if not Path(model).expanduser().is_file():
        raise ModelError(f"there is no file {model}: the check runs the model's GGUF file")
    find_server(program)
    return form.check


def _by_language(
    sources: Source | Iterable[Source], strength: float | None
) -> dict[str, list[Change]]:
    listed = [sources] if isinstance(sources, str | Path | Change) else list(sources)
    languages: dict[str, list[Change]] = {}
    for change in load_changes(listed):
        own = change if strength is None else change.with_strength(strength)
        languages.setdefault(own.language, []).append(own)
    return languages


def _check_options(form: ExportFormat, options: Mapping[str, Any]) -> None:
    parameters = list(inspect.signature(form.export).parameters.values())[2:]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [parameter.name for parameter in parameters]
    for name in options:
        if name not in known:
            listed = ", ".join(known) or "none"
            raise ExportError(f"the format {form.name} has no option {name!r}: it has {listed}")
