"""Run a comparison: models × benchmarks × languages × methods, one file a cell.

A cell is written when it is done, so a run that was stopped goes on where it was, and a cell that fails is
recorded and does not stop the others. Methods that ask the same model the same questions are scored
together: they share the layers below the lowest that they change.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from langsteer.engines.vllm.start import check_version, installed_version
from langsteer.evaluation.comparison.asked import by_engine, missing_cells
from langsteer.evaluation.comparison.cells import Cell, Failure, cell_path, write_failure
from langsteer.evaluation.comparison.checks import check_runnable
from langsteer.evaluation.comparison.configuration import CONFIGURATION, Chosen, Comparison
from langsteer.evaluation.comparison.order import stage_of
from langsteer.evaluation.comparison.unit import CellsUnit
from langsteer.evaluation.methods.common import Stage
from langsteer.extras import need
from langsteer.scale.queue import run_units
from langsteer.scale.units import Ended, Held, Workers
from langsteer.storage.files import check_own_folder, write_text
from langsteer.storage.parsed import parse_yaml


@dataclass
class Outcome:
    """What a run did: cells made now, cells that were there, and cells that failed."""

    made: list[Path] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Progress:
    """One step of a run, told as it ends: which cell, and the share of cells that are done."""

    cell: Cell | Failure
    done: int
    total: int


def _holds_comparison(folder: Path) -> bool:
    yaml = need("yaml", "eval", "a comparison")
    try:
        plain = parse_yaml((folder / CONFIGURATION).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return False
    return isinstance(plain, dict) and {"output", "models", "benchmarks"} <= plain.keys()


def compare(
    wanted: Comparison,
    on_progress: Callable[[Progress], None] = lambda _: None,
    workers: Callable[[], Workers] | None = None,
) -> Outcome:
    """Make every cell that is missing: here, or where `workers` are.

    Raises ConfigError for what cannot be run, CompareError where cells were made otherwise, and EngineError
    where an engine is to write that is not here.
    """
    started = time.perf_counter()
    check_runnable(wanted, here=workers is None)
    outcome = Outcome()
    missing = missing_cells(wanted, outcome.kept)
    if workers is None and any(by_engine(wanted, benchmark) for _, benchmark, _ in missing):
        check_version(installed_version())
    check_own_folder(wanted.output, [CONFIGURATION], _holds_comparison, "langsteer compare")
    write_text(wanted.output / CONFIGURATION, wanted.as_yaml())
    total = sum(len(methods) for methods in missing.values())

    def tell(cell: Cell | Failure) -> None:
        if isinstance(cell, Cell):
            outcome.made.append(cell_path(wanted.output, *cell.key))
        else:
            outcome.failed.append(cell)
            write_failure(wanted.output, cell)
        on_progress(Progress(cell, len(outcome.made) + len(outcome.failed), total))

    units = units_of(wanted, missing)
    if workers is None:
        held = Held()
        for unit in units:
            unit.run(held, tell)
    elif units:
        with contextlib.closing(workers()) as opened:
            for ended in run_units(units, opened):
                for cell in _cells_of(ended):
                    tell(cell)
    outcome.seconds = time.perf_counter() - started
    return outcome


def units_of(
    wanted: Comparison, missing: Mapping[tuple[str, str, str], Sequence[Chosen]]
) -> list[CellsUnit]:
    """The units of work that make cells, a model after the other, what is soon there first.

    What is fitted in closed form is asked together, as it shares passes; what is late is on its own.
    """
    units: dict[tuple[Any, ...], CellsUnit] = {}
    for (model, benchmark, language), methods in missing.items():
        for chosen in methods:
            stage = stage_of(chosen.name)
            place = (model, stage, benchmark, language, chosen.name * (stage is Stage.LATE))
            before = units[place].methods if place in units else ()
            units[place] = CellsUnit(wanted, model, benchmark, language, (*before, chosen))
    models = {name: place for place, name in enumerate(wanted.models)}
    return [units[key] for key in sorted(units, key=lambda key: (models[key[0]], key[1]))]


def _cells_of(ended: Ended) -> Sequence[Cell | Failure]:
    """What a unit that ended elsewhere made, and what it did not make."""
    assert isinstance(ended.unit, CellsUnit)
    if ended.error is not None:
        return ended.unit.told_of(ended.error + ended.place)
    return [
        replace(cell, error=cell.error + ended.place) if isinstance(cell, Failure) else cell
        for cell in ended.results
    ]
