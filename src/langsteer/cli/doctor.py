"""langsteer doctor"""

from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from langsteer.cli import options as shared

if TYPE_CHECKING:
    from langsteer.doctor import Check

_COLOURS = {"ok": "green", "missing": "yellow", "wrong": "red"}


def command(as_json: shared.Json = False) -> None:
    """Say what is installed, what is missing, and what to do about it.

    Looks at versions, extras, devices, the cache of converted models and the way to the hub. What
    is missing is optional; what is wrong stops langsteer, or a part of it. Exit status 1 where it
    is something that every command needs.

    Example: `langsteer doctor`

    For a report of a fault: `langsteer doctor --json`
    """
    from langsteer.doctor import broken, examine

    checks = examine()
    if as_json:
        shared.print_json([asdict(check) for check in checks])
    else:
        _print(checks)
    if broken(checks):
        raise typer.Exit(1)


def _print(checks: "list[Check]") -> None:
    console = shared.console()
    widest = max(len(check.name) for check in checks)
    for area, members in groupby(checks, key=lambda check: check.area):
        console.print(area, style="bold")
        for check in members:
            told = f"{check.detail}: {check.remedy}" if check.remedy else check.detail
            line = Text(f"  {check.name:{widest}}  ")
            line.append(f"{check.state:7}", style=_COLOURS[check.state])
            console.print(line + Text(f"  {told}"))
