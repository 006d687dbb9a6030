"""What a comparison asks for, and which of its cells are not there yet."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langsteer.errors import CellError, CompareError
from langsteer.evaluation.comparison.cells import Cell, existing_cell, read_cell
from langsteer.evaluation.comparison.configuration import Chosen, Comparison
from langsteer.storage.kept import as_kept, first_difference


def missing_cells(wanted: Comparison, kept: list[Path]) -> dict[tuple[str, str, str], list[Chosen]]:
    """(model, benchmark, language) → the methods whose cells are not there yet; `kept` gets the others.

    Raises CompareError where cells were made otherwise.
    """
    missing: dict[tuple[str, str, str], list[Chosen]] = {}
    for model, benchmark, language, method in wanted.cells():
        path = existing_cell(wanted.output, model, benchmark, language, method.name)
        if path and made_cell(path, asked_for(wanted, benchmark, method)):
            kept.append(path)
        else:
            missing.setdefault((model, benchmark, language), []).append(method)
    return missing


def made_cell(path: Path, asked: Mapping[str, Any]) -> Cell | None:
    """The cell of a file, None where it is damaged; CompareError where it was made with another configuration."""
    try:
        cell = read_cell(path)
    except CellError:
        return None  # it is made again
    made = cell.settings.get("asked", {})
    difference = first_difference({"engine": None, **asked}, made)
    if difference is not None:
        raise CompareError(
            f"{path} was made with {difference.key} {difference.made!r}, and {difference.wanted!r} is asked for "
            "now: name another output folder, or delete the cells that are to be made again"
        )
    return cell


def asked_for(wanted: Comparison, benchmark: str, method: Chosen) -> dict[str, Any]:
    """What a cell depends on, beside its key, as it stands in the configuration."""
    asked = {
        "corpus": {"path": Path(wanted.corpus.path).name, "lines": wanted.corpus.lines},
        "form": form_asked(wanted, benchmark),
        "limit": wanted.limit,
        "options": dict(method.options),
        "seed": wanted.seed,
        "dtype": wanted.dtype,
    }
    if by_engine(wanted, benchmark):
        asked["engine"] = wanted.engine
    return as_kept(asked)


def by_engine(wanted: Comparison, benchmark: str) -> bool:
    """Whether answers to a benchmark are to be written by another engine than transformers."""
    return wanted.engine != "transformers" and wanted.benchmark(benchmark).kind == "generate"


def form_asked(wanted: Comparison, benchmark: str) -> str | None:
    options = next(chosen.options for chosen in wanted.benchmarks if chosen.name == benchmark)
    unknown = set(options) - {"form"}
    if unknown:
        raise CompareError(f"{benchmark} has no option {sorted(unknown)[0]!r}: it has form")
    return options.get("form")
