"""Engines: what writes the answers. Here the embedded one, a thread that runs transformers.

The thread takes what waits, whatever its language and its parameters, as rows of one batch. Each row is given to
its request token by token; where it ends, what waits takes its place.
"""

import collections
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from langsteer.errors import LangsteerError
from langsteer.serving.errors import RequestError
from langsteer.serving.rows import Row
from langsteer.serving.writing import give_up, writer_for
from langsteer.steering.steered import Steered

log = logging.getLogger("langsteer.serving")


class Engine(Protocol):
    """What writes answers for a server. Its calls do not block; rows are told of from any thread."""

    def submit(self, rows: Sequence[Row]) -> None:
        """Take rows to be written. Raises RequestError where too many wait, or it is closing."""

    def close(self) -> None:
        """Write what was taken, take no more, and return once all is written."""

    @property
    def waiting(self) -> int:
        """How many rows wait."""

    @property
    def alive(self) -> bool:
        """Whether it takes rows."""


class EmbeddedEngine:
    """A thread that writes the answers of `ready`, up to `batch` rows at a time.

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
        self._writer = writer_for(ready, on_batch)
        self._rows: collections.deque[Row] = collections.deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="langsteer-engine", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return len(self._rows)

    @property
    def running(self) -> int:
        """How many rows are being written."""
        return len(self._writer.rows)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._closing

    def submit(self, rows: Sequence[Row]) -> None:
        if len(rows) > self._limit:
            raise RequestError(f"at most {self._limit} answers at once, and {len(rows)} were asked")
        with self._changed:
            if not self.alive:
                raise RequestError("the server is stopping", 503, "stopping")
            self._forget_cancelled()
            if len(self._rows) + len(rows) > self._limit:
                raise RequestError("too many requests wait: try again", 429, "queue_full")
            self._rows.extend(rows)
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        writer = self._writer
        while self._goes_on():
            rows = self._take()
            try:
                if rows:
                    writer.join(rows)
            except Exception as error:
                _fail(rows, error)
            try:
                writer.step()
            except Exception as error:
                _fail(writer.rows, error)
                writer.clear()
        writer.clear()

    def _goes_on(self) -> bool:
        """Wait until there is something to write; whether there will be."""
        with self._changed:
            while not (self._rows or self._writer.rows or self._closing):
                self._changed.wait()
            return bool(self._rows or self._writer.rows)

    def _take(self) -> list[Row]:
        """What waits and has a place now."""
        with self._changed:
            self._forget_cancelled()
            count = min(self._batch - len(self._writer.rows), len(self._rows))
            return [self._rows.popleft() for _ in range(count)]

    def _forget_cancelled(self) -> None:
        if any(row.cancelled for row in self._rows):
            kept = [row for row in self._rows if not give_up(row)]
            self._rows = collections.deque(kept)


def _fail(rows: Sequence[Row], error: Exception) -> None:
    """End rows with what went wrong; only what a user can mend is told in its words."""
    told: Exception = error
    if isinstance(error, LangsteerError) and not isinstance(error, RequestError):
        told = RequestError(str(error))
    elif not isinstance(error, LangsteerError):
        log.error("a batch of %d rows failed", len(rows), exc_info=error)
    for row in rows:
        row.fail(told)
