"""What a search leaves: its results and its best change in its folder, and the file that is made of them."""

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from langsteer.diagnosis.trials import Trials
from langsteer.errors import VectorError
from langsteer.model.model import Model
from langsteer.progress import announce
from langsteer.steering.change import Change
from langsteer.steering.folder import load
from langsteer.storage.files import check_replaceable, check_writable, write_json
from langsteer.storage.kept import read_record
from langsteer.storage.records import PlainRecord

RESULTS, BEST = "results.json", "best.safetensors"
SEARCH = "search"  # in the scores of a file that a search has written
Results = TypeVar("Results", bound=PlainRecord)


def read_outcome(
    folder: Path, trials: Trials, kind: type[Results], language: str, model: Model, budget: float
) -> tuple[Change, Results] | None:
    """The best change of a search that is done, and its results; None where it is not."""
    results = read_record(folder / RESULTS)
    if not results or trials.told("done") is None or not (folder / BEST).is_file():
        return None
    there = results.get("budget")
    other = f" with {there:g} minutes: --overwrite, or another output, searches again"
    announce(f"{language}: already searched in {folder}{'' if there == budget else other}")
    return load(folder / BEST, model), kind.from_json(results)


def keep_outcome(folder: Path, trials: Trials, change: Change, results: PlainRecord) -> None:
    change.save(folder / BEST)
    write_json(folder / RESULTS, results.as_json())
    trials.tell("done")


def save_searched(change: Change, told: Mapping[str, Any], file: str | Path) -> Path:
    """Save a change with what its search says of it in its scores. Raises SaveError."""
    scores = {**change.scores, SEARCH: dict(told)}
    return replace(change, scores=scores).save(file)  # type: ignore[type-var]


def check_place(file: str | Path, overwrite: bool = False) -> None:
    """Raise SaveError where a recipe could not be written, or something else is there already.

    What a search has written may be replaced, and with `overwrite` anything.
    """
    check_writable(file)

    def refusal(path: Path) -> str | None:
        with contextlib.suppress(VectorError):
            if SEARCH in load(path).scores:
                return None
        return "no search for a recipe has written it"

    check_replaceable(file, refusal, overwrite)
