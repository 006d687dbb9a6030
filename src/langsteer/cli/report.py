"""langsteer report"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from langsteer.cli import options as shared

if TYPE_CHECKING:
    from langsteer.look.grid import Grid

_WIDE = 130  # columns that the whole table takes
_COLOURS = {"": "", "better": "green", "worse": "red"}


def command(
    results: Annotated[Path, typer.Argument(help="The output folder of a comparison.")],
    output: Annotated[
        Path | None,
        shared.output("Folder for the report; by default the results' own.", "<folder>"),
    ] = None,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial", help="Print what is there of a comparison that runs; write nothing."
        ),
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="The same, again as it grows, until all is there.")
    ] = False,
    as_json: shared.Json = False,
) -> None:
    """Compare what a results folder holds, and write the report.

    Writes report.html, one page that needs nothing else, report.md, report.tex and report.json.

    Example: `langsteer report results`

    While the comparison runs: `langsteer report results --watch`
    """
    if partial or watch:
        from langsteer.cli.watching import print_partial

        print_partial(results, watch, as_json)
        return
    from langsteer.evaluation.report.page import make_report, write_report
    from langsteer.storage.files import check_writable

    check_writable(output or results, folder=True)
    report = make_report(results)
    written = write_report(report, output or results)
    if as_json:
        shared.print_json(report.as_json())
        return
    console = shared.console()
    for section in report.sections:
        console.print(section.title, style="bold")
        for columns in _fitting(section.methods, console.width):
            console.print(_table(section.methods, columns))
        for sentence in (*section.summary, *section.notes):
            console.print(sentence)
        console.print()
    for damage in report.results.damaged:
        console.print(f"Left out: {damage.error}", style="yellow")
    for failure in report.results.failures:
        console.print(f"Failed: {' / '.join(failure.key)}: {failure.error}")
    console.print(f"Written: {', '.join(map(str, written))}")


def _fitting(grid: "Grid", width: int) -> list[list[int]]:
    """The columns of a grid in one table; in two, scores and costs, where the terminal is narrow."""
    every = list(range(len(grid.columns)))
    cost = next(i for i in every if grid.columns[i].name == "Tokens")
    return [every] if width >= _WIDE else [every[:cost], [0, *every[cost:]]]


def _table(grid: "Grid", columns: Sequence[int]) -> Table:
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    for column in (grid.columns[i] for i in columns):
        side: Literal["left", "right"] = "right" if column.numeric else "left"
        whole = column.numeric and column.name != "Mean"  # "60.1 (5 of 6)" may take two lines
        least = None if column.numeric else 12
        table.add_column(column.name, justify=side, no_wrap=whole, min_width=least)
    for line in grid.lines:
        values = (line.values[i] for i in columns)
        table.add_row(*(Text(value.marked, style=_COLOURS[value.tone]) for value in values))
    return table
