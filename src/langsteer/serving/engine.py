"""Engines: what writes the answers. Here the embedded one, a thread that runs transformers.

The thread takes what waits, whatever its language and its parameters, as rows of one batch. Each row is given to
its request token by token; where it ends, what waits takes its place. Choices are scored between two steps, a few
prompts at a time, so that neither waits for all of the other.
"""

import collections
import functools
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from langsteer.errors import LangsteerError
from langsteer.serving.errors import RequestError
from langsteer.serving.rows import Row
from langsteer.serving.scoring import ChoiceRow, alike, score_rows
from langsteer.serving.writing import give_up, resolve_rows, writer_for
from langsteer.steering.steered import Steered

MOST_READ = (
    16384  # tokens that are scored between two steps of what is written, where rows are many
)
AnyRow = TypeVar("AnyRow", Row, ChoiceRow)
log = logging.getLogger("langsteer.serving")


class Engine(Protocol):
    """What writes answers for a server. Its calls do not block; rows are told of from any thread."""

    def submit(self, rows: Sequence[Row | ChoiceRow]) -> None:
        """Take rows to be written, or scored. Raises RequestError where too many wait, or it is closing."""

    def close(self) -> None:
        """Write what was taken, take no more, and return once all is written."""

    @property
    def waiting(self) -> int:
        """How many rows wait."""

    @property
    def alive(self) -> bool:
        """Whether it takes rows."""


class EmbeddedEngine:
    """A thread that writes the answers of `ready`, and scores choices, up to `batch` rows at a time.

    At most `queue` rows wait. `on_batch` is told how many rows each batch has.
    """

    def __init__(
        self,
        ready: Steered,
        *,
        batch: int = 8,
        queue: int = 64,
        on_batch: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self._batch, self._limit = batch, queue
        self._ready, self._on_batch = ready, on_batch
        self._writer = writer_for(ready, on_batch)
        self._rows: collections.deque[Row] = collections.deque()
        self._choices: collections.deque[ChoiceRow] = collections.deque()
        self._scored: Sequence[ChoiceRow] = ()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="langsteer-engine", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return len(self._rows) + len(self._choices)

    @property
    def running(self) -> int:
        """How many rows are being written or scored."""
        return len(self._writer.rows) + len(self._scored)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._closing

    def submit(self, rows: Sequence[Row | ChoiceRow]) -> None:
        if len(rows) > self._limit:
            raise RequestError(f"at most {self._limit} answers at once, and {len(rows)} were asked")
        with self._changed:
            if not self.alive:
                raise RequestError("the server is stopping", 503, "stopping")
            self._forget_cancelled()
            if self.waiting + len(rows) > self._limit:
                raise RequestError("too many requests wait: try again", 429, "queue_full")
            self._rows.extend(row for row in rows if isinstance(row, Row))
            self._choices.extend(row for row in rows if isinstance(row, ChoiceRow))
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        writer = self._writer
        while self._goes_on():
            if rows := self._take():
                _each(writer.join, rows)
            try:
                self._score()
                writer.step()
            except Exception as error:
                _fail(writer.rows, error)
                writer.clear()
        writer.clear()

    def _score(self) -> None:
        """Score some of the choices that wait, while what steers the rows that are written is off."""
        self._scored = rows = self._take_choices()
        if not rows:
            return
        with self._writer.aside():
            _each(functools.partial(resolve_rows, self._ready), rows)
            for group in alike([row for row in rows if not row.done]):
                self._on_batch(len(group))
                _each(functools.partial(score_rows, self._ready.model), group)
        self._scored = ()

    def _goes_on(self) -> bool:
        """Wait until there is something to write; whether there will be."""
        with self._changed:
            while not (self.waiting or self._writer.rows or self._closing):
                self._changed.wait()
            return bool(self.waiting or self._writer.rows)

    def _take(self) -> list[Row]:
        """What waits and has a place now."""
        with self._changed:
            self._forget_cancelled()
            count = min(self._batch - len(self._writer.rows), len(self._rows))
            return [self._rows.popleft() for _ in range(count)]

    def _take_choices(self) -> list[ChoiceRow]:
        with self._changed:
            self._forget_cancelled()
            taken: list[ChoiceRow] = []
            while self._choices and len(taken) < self._batch:
                if taken and sum(map(len, [*taken, self._choices[0]])) > MOST_READ:
                    break
                taken.append(self._choices.popleft())
            return taken

    def _forget_cancelled(self) -> None:
        if any(row.cancelled for row in self._rows):
            self._rows = collections.deque(row for row in self._rows if not give_up(row))
        if any(row.cancelled for row in self._choices):
            self._choices = collections.deque(row for row in self._choices if not give_up(row))


def _each(work: Callable[[Sequence[AnyRow]], None], rows: Sequence[AnyRow]) -> None:
    """Do `work` on rows together; where langsteer refuses one of them, on each alone, so that it ends no other."""
    try:
        work(rows)
    except LangsteerError as error:
        fresh = [row for row in rows if not row.begun]
        if len(rows) == 1 or not fresh:
            _fail(rows, error)
            return
        _fail([row for row in rows if row.begun], error)
        for row in fresh:
            _each(work, [row])
    except Exception as error:
        _fail(rows, error)


def _fail(rows: Sequence[Row | ChoiceRow], error: Exception) -> None:
    """End rows with what went wrong; only what a user can mend is told in its words."""
    told: Exception = error
    if isinstance(error, LangsteerError) and not isinstance(error, RequestError):
        told = RequestError(str(error))
    elif not isinstance(error, LangsteerError):
        log.error("a batch of %d rows failed", len(rows), exc_info=error)
    for row in rows:
        row.fail(told)
