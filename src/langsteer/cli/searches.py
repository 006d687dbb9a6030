"""What commands print alike of what a search or a diagnosis says."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from langsteer.cli import options as shared

LATE = 1.5  # times the budget
RECIPE_WIDTH = 34  # of the column of recipes, at least

if TYPE_CHECKING:
    from langsteer.diagnosis.answers import AnswerSearchResults
    from langsteer.diagnosis.search_results import SearchResults
    from langsteer.evaluation.statistics import Interval


def signed(interval: "Interval") -> str:
    """A change, and the ends of its interval."""
    return f"{interval.value:+.1f} [{interval.low:+.1f}, {interval.high:+.1f}]"


def search_folder(file: Path) -> Path:
    """Where all is kept that was tried for a file."""
    return file.with_suffix(".search")


def say_late(seconds: float, minutes: float) -> None:
    """Say so where a search has taken much longer than it was given."""
    if seconds > LATE * 60 * minutes:
        typer.echo(
            f"It took more than the {minutes:g} minutes of --budget: a fit that is begun is ended, and the report is made. "
            "In more minutes more recipes are compared, on more items.",
            err=True,
        )


def tell_outcome(
    results: "SearchResults | AnswerSearchResults", file: Path, written: Path | None, kind: str
) -> None:
    """What does not stand in the results: a budget that was passed, and that nothing was written."""
    say_late(results.seconds, results.budget)
    if written is None:
        _tell_unwritten(file, kind)


def print_files(file: Path, written: bool, kind: str) -> None:
    """Where everything is that was tried for a file, and whether that was written now."""
    console = shared.console()
    console.print(f"Everything that was tried: {search_folder(file)}")
    if written:
        console.print(f"Written: {file}")
    else:
        _tell_unwritten(file, kind)


def _tell_unwritten(file: Path, kind: str) -> None:
    """That nothing was written now, and whether something is there from before."""
    typer.echo(f"No {kind} was written (--anyway writes the best all the same).", err=True)
    if file.exists():
        typer.echo(f"{file} is there from before, and was left as it was.", err=True)
