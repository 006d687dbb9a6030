"""What is read of the pivot's lines, read once however many languages are fitted to them."""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from torch import Tensor

from langsteer.errors import FitError
from langsteer.model.model import Model
from langsteer.states.capture import MeanStates, Pool, mean_states, sentence_states
from langsteer.text.corpus import ParallelCorpus

T = TypeVar("T")


class PivotReadings:
    """The pivot's side of a corpus, read by one model.

    Languages of the same corpus, and parts of it with the same lines, can share one. What is kept
    grows with the lines, not with their tokens.
    """

    def __init__(self, model: Model, corpus: ParallelCorpus) -> None:
        self.model, self.tag, self.lines = model, corpus.pivot, corpus.texts[corpus.pivot]
        self._memo: dict[Hashable, Any] = {}

    @classmethod
    def of(
        cls, model: Model, corpus: ParallelCorpus, shared: "PivotReadings | None"
    ) -> "PivotReadings":
        """`shared` where it is given, and then it must have the corpus's lines; else a new one."""
        if shared is None:
            return cls(model, corpus)
        if shared.model is not model or shared.lines != corpus.texts[corpus.pivot]:
            raise FitError(f"the pivot's side that was handed on is not that of {corpus.name}")
        return shared

    def once(self, key: Hashable, read: Callable[[], T]) -> T:
        """What `read` gives, read at the first call with this key."""
        if key not in self._memo:
            self._memo[key] = read()
        found: T = self._memo[key]
        return found

    def mean_states(self, layers: tuple[int, ...], pool: Pool) -> MeanStates:
        """The mean of the lines' pooled states at each layer."""
        label = f"{self.tag} states"
        return self.once(
            ("mean states", layers, pool),
            lambda: mean_states(self.model, self.lines, layers, pool=pool, progress=label),
        )

    def states(self, layers: tuple[int, ...], pool: Pool) -> Tensor:
        """The lines' pooled states, float32 [lines, layers, hidden]."""
        label = f"{self.tag} states"
        return self.once(
            ("states", layers, pool),
            lambda: sentence_states(self.model, self.lines, layers, pool=pool, progress=label),
        )
