"""What is read of the pivot's lines, read once however many languages are fitted to them."""

import contextlib
import time
from collections.abc import Callable, Hashable, Iterator
from typing import Any, TypeVar

from torch import Tensor

from langsteer.errors import FitError
from langsteer.model.model import Model
from langsteer.states.capture import MeanStates, Pool, mean_states, sentence_states
from langsteer.text.corpus import ParallelCorpus

T = TypeVar("T")
LARGEST = 2**28  # bytes of a reading of every line, beyond which it is made anew
RECENT = 4  # corpora whose readings are shared


class PivotReadings:
    """The pivot's side of a corpus, read by one model.

    Languages of the same corpus, and parts of it with the same lines, can share one. What is kept
    grows with the lines, not with their tokens. `spared` are the seconds that reading took before `begin` was
    called, of what was asked for since.
    """

    def __init__(self, model: Model, corpus: ParallelCorpus) -> None:
        self.model, self.tag, self.lines = model, corpus.pivot, corpus.texts[corpus.pivot]
        self._memo: dict[Hashable, tuple[Any, float]] = {}
        self._asked: set[Hashable] = set()
        self._spared = 0.0

    @classmethod
    def of(
        cls, model: Model, corpus: ParallelCorpus, given: "PivotReadings | None" = None
    ) -> "PivotReadings":
        """Those that are given, which must be of the corpus's lines; else the shared ones, or new ones."""
        if given is None:
            shared = _shared_by(model)
            return shared.of(model, corpus) if shared.open else cls(model, corpus)
        if given.model is not model or given.lines != corpus.texts[corpus.pivot]:
            raise FitError(f"the pivot's side that was handed on is not that of {corpus.name}")
        return given

    def once(self, key: Hashable, read: Callable[[], T]) -> T:
        """What `read` gives, read at the first call with this key."""
        if key not in self._memo:
            started = time.perf_counter()
            value = read()
            self.keep(key, value, time.perf_counter() - started)
        elif key not in self._asked:
            self._spared += self._memo[key][1]
        self._asked.add(key)
        kept: T = self._memo[key][0]
        return kept

    def keep(self, key: Hashable, value: Any, seconds: float = 0.0) -> None:
        """Give at the next calls with this key what was read along with something else."""
        self._memo.setdefault(key, (value, seconds))
        self._asked.add(key)

    def mean_states(self, layers: tuple[int, ...], pool: Pool) -> MeanStates:
        """The mean of the lines' pooled states at each layer."""
        label = f"{self.tag} states"
        return self.once(
            mean_key(layers, pool),
            lambda: mean_states(self.model, self.lines, layers, pool=pool, progress=label),
        )

    def states(self, layers: tuple[int, ...], pool: Pool) -> Tensor:
        """The lines' pooled states, float32 [lines, layers, hidden]."""

        def read() -> Tensor:
            label = f"{self.tag} states"
            return sentence_states(self.model, self.lines, layers, pool=pool, progress=label)

        return self.once(("states", layers, pool), read) if self._are_kept(layers) else read()

    def states_of(self, index: list[int], layers: tuple[int, ...], pool: Pool) -> Tensor:
        """The pooled states of some lines, of those of all where these are kept: [lines, layers, hidden]."""
        if self._are_kept(layers):
            return self.states(layers, pool)[index]
        lines = [self.lines[i] for i in index]
        return sentence_states(self.model, lines, layers, pool=pool)

    def _are_kept(self, layers: tuple[int, ...]) -> bool:
        return 4 * len(self.lines) * len(layers) * self.model.hidden_size <= LARGEST

    def begin(self) -> None:
        """Count what is spared from here on."""
        self._asked, self._spared = set(), 0.0
        for part in self._parts():
            part.begin()

    @property
    def spared(self) -> float:
        return self._spared + sum(part.spared for part in self._parts())

    def _parts(self) -> list["PivotReadings"]:
        return [value for value, _ in self._memo.values() if isinstance(value, PivotReadings)]


def mean_key(layers: tuple[int, ...], pool: Pool) -> Hashable:
    """Under which `PivotReadings` keeps the mean states of these layers."""
    return "mean states", layers, pool


class SharedReadings:
    """The readings of a model's latest corpora, for fits one after the other."""

    def __init__(self) -> None:
        self.open = False
        self._recent: dict[Hashable, PivotReadings] = {}

    def of(self, model: Model, corpus: ParallelCorpus) -> PivotReadings:
        key = (corpus.pivot, corpus.texts[corpus.pivot])
        readings = self._recent.pop(key, None) or PivotReadings(model, corpus)
        self._recent[key] = readings  # the latest last
        for oldest in list(self._recent)[:-RECENT]:
            del self._recent[oldest]
        return readings

    @property
    def spared(self) -> float:
        """Seconds that reading would have taken since the fit began."""
        return sum(readings.spared for readings in self._recent.values())

    def begin(self) -> None:
        for readings in self._recent.values():
            readings.begin()


@contextlib.contextmanager
def shared_readings(model: Model) -> Iterator[SharedReadings]:
    """Inside, fits of the model share what they read of the same lines, also with fits in other such blocks.

    The model must be the same in all of them: nothing may be added to its states.
    """
    shared, before = _shared_by(model), _shared_by(model).open
    shared.open = True
    shared.begin()
    try:
        yield shared
    finally:
        shared.open = before


def _shared_by(model: Model) -> SharedReadings:
    return model.kept.get("pivot readings", SharedReadings)
