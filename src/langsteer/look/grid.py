"""A table as text: the same rows and columns for a page, Markdown, LaTeX and the terminal."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from langsteer.look.words import written

NONE = "–"

Tone = Literal["", "better", "worse"]


@dataclass(frozen=True)
class Value:
    """What stands in one place of a grid, what it is sorted by, and what more can be said.

    `mark` follows the text where it may be marked: empty where it is not.
    """

    text: str
    sort: float | None = None
    hint: str = ""
    tone: Tone = ""
    mark: str | None = None

    @property
    def marked(self) -> str:
        return f"{self.text} {self.mark}" if self.mark else self.text


@dataclass(frozen=True)
class Line:
    """A row; `key` is what it can be filtered by, such as its method, where it has one."""

    values: tuple[Value, ...]
    key: str = ""


@dataclass(frozen=True)
class Column:
    name: str
    numeric: bool = True
    hint: str = ""


@dataclass(frozen=True)
class Grid:
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]


def number(value: float, form: str = ".3f") -> Value:
    """A number to show and sort by; a dash where it is NaN."""
    if value != value:
        return Value(NONE)
    return Value(written(value, form), value)


def number_grid(
    headings: Sequence[str],
    columns: Iterable[object],
    rows: Iterable[tuple[Sequence[str], Iterable[float]]],
    form: str = ".3f",
) -> Grid:
    """Rows of numbers, each after its names: as many names as there are `headings`."""
    heads = (
        *(Column(name, numeric=False) for name in headings),
        *(Column(str(c)) for c in columns),
    )
    lines = [
        Line((*map(Value, names), *(number(value, form) for value in values)))
        for names, values in rows
    ]
    return Grid(heads, tuple(lines))


def size_form(*values: float) -> str:
    """How sizes are written that may be of any order: whole numbers where they are large."""
    known = [abs(value) for value in values if value == value]
    return (
        ",.0f"
        if known and min(known) >= 100
        else ",.3g"
        if max(known, default=0) < 1000
        else ",.1f"
    )
