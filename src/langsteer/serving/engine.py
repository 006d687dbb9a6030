"""Engines: what writes the answers. Here the embedded one, a thread that runs transformers.

The thread takes what waits, whatever its language and its parameters, as the rows of one batch: each row has
its own change, its own way of drawing and its own end, and is given to its request token by token.
"""

import collections
import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
import transformers
from torch import Tensor

from langsteer.errors import LangsteerError
from langsteer.model.tokens import pad_mask
from langsteer.serving.asked import resolve
from langsteer.serving.errors import RequestError
from langsteer.serving.rows import Row, ends_of
from langsteer.steering.change import steer
from langsteer.steering.generation import Finite
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
        self._ready, self._batch, self._limit, self._on_batch = ready, batch, queue, on_batch
        self._ends = ends_of(ready.network)
        self._rows: collections.deque[Row] = collections.deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="langsteer-engine", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return len(self._rows)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._closing

    def submit(self, rows: Sequence[Row]) -> None:
        if len(rows) > self._limit:
            raise RequestError(f"at most {self._limit} answers at once, and {len(rows)} were asked")
        with self._changed:
            if not self.alive:
                raise RequestError("the server is stopping", 503, "stopping")
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
        while rows := self._take():
            try:
                self._write(rows)
                for row in rows:
                    row.fail(RuntimeError("the model stopped before the answer ended"))
            except LangsteerError as error:
                self._fail(rows, RequestError(str(error)))
            except Exception as error:
                log.exception("a batch of %d rows failed", len(rows))
                self._fail(rows, error)

    def _take(self) -> list[Row]:
        """The rows of the next batch; none where the engine is closed."""
        with self._changed:
            while True:
                while self._rows and self._rows[0].cancelled:
                    self._rows.popleft()
                if self._rows or self._closing:
                    break
                self._changed.wait()
            count = min(self._batch, len(self._rows))
            return [self._rows.popleft() for _ in range(count)]

    @staticmethod
    def _fail(rows: Sequence[Row], error: BaseException) -> None:
        for row in rows:
            row.fail(error)

    def _write(self, rows: Sequence[Row]) -> None:
        ready, model = self._ready, self._ready.model
        self._on_batch(len(rows))
        with torch.inference_mode():
            told = resolve(ready, [(row.source, row.asked) for row in rows])
        for row, used in zip(rows, told, strict=True):
            row.used = used
        changes = [used.change for used in told]
        batch = model.batch([row.prompt.ids for row in rows])
        inputs = {name: value for name, value in batch.items() if name != "position_ids"}
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if any(change is not None for change in changes):
                mask = pad_mask([row.prompt.source for row in rows])
                stack.enter_context(
                    steer(model, changes, mask=mask, other_weights=ready.other_weights)
                )
            model.network.generate(
                **inputs,
                max_new_tokens=max(row.sampling.max_tokens for row in rows),
                do_sample=False,
                num_beams=1,
                pad_token_id=model.pad_id,
                logits_processor=[Finite(model), _Chooser(rows)],
                stopping_criteria=[_Watcher(rows, self._ends, self._decode)],
            )

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._ready.tokenizer.decode(list(ids), skip_special_tokens=True))


class _Chooser(transformers.LogitsProcessor):
    """Leaves one token of each row possible: the one that the row draws."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        chosen = torch.full_like(scores, -torch.inf)
        for place, row in enumerate(self._rows):
            chosen[place, 0 if row.done else row.choose(scores[place])] = 0.0
        return chosen


class _Watcher(transformers.StoppingCriteria):
    """Gives each row its tokens, and says which rows are done."""

    def __init__(
        self, rows: Sequence[Row], ends: frozenset[int], decode: Callable[[Sequence[int]], str]
    ) -> None:
        self._rows, self._ends, self._decode = rows, ends, decode

    def __call__(self, input_ids: Any, scores: Any, **options: Any) -> Tensor:  # type: ignore[override]
        for row, token in zip(self._rows, input_ids[:, -1].tolist(), strict=True):
            if row.cancelled and not row.done:
                row.fail(RequestError("the client has gone", 499))
            if not row.done:
                row.push(token, self._ends, self._decode)
        return torch.tensor([row.done for row in self._rows], device=input_ids.device)
