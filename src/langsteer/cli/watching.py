"""What is there so far of a comparison, printed once or again as it grows."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.live import Live
from rich.table import Table

from langsteer.cli import options as shared

if TYPE_CHECKING:
    from langsteer.evaluation.report.partial import Partial, PartialReader, PartialTable

EVERY = 2.0  # seconds between two looks


def print_partial(results: Path, watch: bool, as_json: bool, every: float = EVERY) -> None:
    """Print the table; with `watch`, until no cell is missing, or Ctrl-C, which is a usual end.

    Where standard output is no terminal, a line is printed for each time that something has changed.
    """
    from langsteer.evaluation.report.partial import PartialReader

    shared.quiet_libraries()
    reader = PartialReader(results)
    console = shared.console()
    partial = reader.read()
    if as_json or not watch:
        if as_json:
            shared.print_json(partial.as_json())
        else:
            console.print(_drawn(partial))
        return
    try:
        if not console.is_terminal:
            _print_lines(reader, partial, every)
            return
        with Live(_drawn(partial), console=console, auto_refresh=False) as live:
            while partial.missing:
                time.sleep(every)
                partial = reader.read()
                live.update(_drawn(partial), refresh=True)
    except KeyboardInterrupt:
        pass


def _print_lines(reader: "PartialReader", partial: "Partial", every: float) -> None:
    console = shared.console()
    said = ""
    while True:
        if partial.sentence() != said:
            said = partial.sentence()
            console.print(said)
        if not partial.missing:
            console.print(_drawn(partial))
            return
        time.sleep(every)
        partial = reader.read()


def _drawn(partial: "Partial") -> Group:
    return Group(*map(_table, partial.tables), partial.sentence())


def _table(partial: "PartialTable") -> Table:
    table = Table(
        title=f"{partial.title} ({partial.metric})",
        title_justify="left",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
    )
    table.add_column("Method", min_width=12)
    for tag in partial.languages:
        table.add_column(tag, justify="right", no_wrap=True)
    for method in partial.methods:
        table.add_row(method, *(_score(partial, method, tag) for tag in partial.languages))
    return table


def _score(partial: "PartialTable", method: str, tag: str) -> str:
    if (method, tag) not in partial.scores:
        return "·"
    score = partial.scores[method, tag]
    return "failed" if score is None else f"{score:.3f}"
