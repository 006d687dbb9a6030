"""A unit of work, as plain data that can be sent, and what does it: a process here, or elsewhere."""

import gc
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from langsteer.errors import LangsteerError


@dataclass(frozen=True)
class Resources:
    """What a process takes that holds a model: processors, GPUs, and memory in bytes (None: any)."""

    cpus: float = 1.0
    gpus: float = 0.0
    memory: int | None = None


class Held:
    """What a process keeps between units: the model that it opened last.

    What could not be opened is kept too, so that it is not tried again for every unit.
    """

    def __init__(self) -> None:
        self._key: Hashable = None
        self._value: Any = None
        self._error: Exception | None = None

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What is kept under `key`; else what `make` gives, in place of what was kept."""
        if key != self._key:
            self._key = self._value = self._error = None
            gc.collect()
            try:
                self._value = make()
            except Exception as error:
                self._error = error
            self._key = key
        if self._error is not None:
            raise self._error
        return self._value


class Unit(Protocol):
    """A frozen dataclass that can be pickled.

    `where` is what must be held for it, such as a model; two units that have one of their `claims`
    in common are not done at once. `run` does it; what it returns is sent back.
    """

    @property
    def name(self) -> str: ...
    @property
    def where(self) -> str: ...
    @property
    def claims(self) -> frozenset[str]: ...
    @property
    def needs(self) -> Resources: ...
    def run(self, held: Held) -> Sequence[Any]: ...


@dataclass(frozen=True)
class Ended:
    """A unit that was done, or why it was not.

    `again` says that another try may help: the process died, or what went wrong was not foreseen;
    `untouched`, that it was not begun, and is to be given out again.
    """

    unit: Any
    results: Sequence[Any] = ()
    error: str | None = None
    again: bool = False
    worker: str = ""
    untouched: bool = False

    @property
    def place(self) -> str:
        """Where it was, as it stands behind an error; nothing where that is here."""
        return f" (on {self.worker})" * bool(self.worker)


class Workers(Protocol):
    """Processes that do units, one each at a time."""

    def start(self, unit: Unit) -> bool:
        """Give a unit to a process that is free; False where none is."""

    def room(self) -> bool:
        """Whether any unit could be started now."""

    def holds(self, where: str) -> bool:
        """Whether a free process has what units of this `where` need."""

    def wait(self) -> list[Ended]:
        """Those that ended, at least one where any was started."""

    def close(self) -> None:
        """End all processes."""


def one_line(error: BaseException) -> str:
    """What an error says, in one line, with its kind where it is none of langsteer's."""
    line = " ".join(str(error).split()) or type(error).__name__
    return line if isinstance(error, LangsteerError) else f"{type(error).__name__}: {line}"


def perform(unit: Unit, held: Held) -> tuple[list[Any], str | None, bool]:
    """Do a unit: its results, its error (None: none), and whether another try may help."""
    try:
        return list(unit.run(held)), None, False
    except Exception as error:  # it is told where the units are given out
        return [], one_line(error), not isinstance(error, LangsteerError)
