"""Progress bars, on standard error, shown only to a person and only after two seconds."""

import contextlib
import logging
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")

NOISY = "bitsandbytes.backends.cpu.ops"  # the logger of what PEFT brings in

_enabled = True


def show_progress(enabled: bool) -> None:
    """Switch progress bars on or off for the whole process."""
    global _enabled
    _enabled = enabled


def announce(message: str) -> None:
    """Say something in passing, on standard error, where progress is shown."""
    if _enabled:
        print(message, file=sys.stderr, flush=True)


@contextlib.contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Let only errors through the loggers of these names."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def track(items: Iterable[T], label: str | None, total: int | None = None) -> Iterator[T]:
    """Yield `items` with a progress bar named `label`; without a label, without a bar."""
    if label is None or not _enabled:
        yield from items
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        print(f"{label}…", file=sys.stderr, flush=True)
        yield from items
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        yield from bars.track(items, description=label, total=total)
