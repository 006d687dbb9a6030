"""What commands print alike of what a search or a diagnosis says."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from langsteer.cli import options as shared

SUFFIX = ".safetensors"

if TYPE_CHECKING:
    from langsteer.evaluation.statistics import Interval


def signed(interval: "Interval") -> str:
    """A change, and the ends of its interval."""
    return f"{interval.value:+.1f} [{interval.low:+.1f}, {interval.high:+.1f}]"


def print_files(folder: Path, written: Path | None, kind: str) -> None:
    """Where everything is that was tried, beside its file, and whether that was written now."""
    console = shared.console()
    console.print(f"Everything that was tried: {folder}")
    if written is not None:
        console.print(f"Written: {written}")
    else:
        typer.echo(f"No {kind} was written (--anyway writes the best all the same).", err=True)
        if (there := folder.with_suffix(SUFFIX)).exists():
            typer.echo(f"{there} is there from before, and was left as it was.", err=True)
