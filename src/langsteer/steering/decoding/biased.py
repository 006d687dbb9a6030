"""What is added to logits while an answer is written, row by row, in every call of a network's `generate`."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
import transformers
from torch import Tensor

from langsteer.model.model import Model
from langsteer.states.generating import around_generate
from langsteer.states.intervention import expand_rows, generators


class Biased(transformers.LogitsProcessor):
    """Adds to logits [rows, vocabulary]: one bias [vocabulary] for all rows, or one (or None) a row.

    Rows are repeated where beam search or several samples repeat the prompts.
    """

    def __init__(self, biases: Sequence[Tensor | None]) -> None:
        distinct = {id(bias): bias for bias in biases if bias is not None}
        size = next(iter(distinct.values())).shape[0]
        places = {name: place + 1 for place, name in enumerate(distinct)}
        self._table = torch.stack([torch.zeros(size), *(b.float() for b in distinct.values())])
        self._rows = torch.tensor([places[id(b)] if b is not None else 0 for b in biases])

    def __call__(self, input_ids: Tensor | None, scores: Tensor) -> Tensor:  # type: ignore[override]
        if self._table.device != scores.device:
            self._table = self._table.to(scores.device)
        rows = expand_rows(self._rows, scores.shape[0]).to(scores.device)
        return (scores + self._table[rows]).to(scores.dtype)


class HasBias(Protocol):
    """A change, as far as it acts on logits."""

    def logit_bias(self, strength: float | None = None) -> Tensor | None: ...


def biased_by(
    changes: Sequence[HasBias | None], strength: float | None = None
) -> list[transformers.LogitsProcessor]:
    """What adds the biases of changes, of one for all rows or of one (or None) a row: a processor, or
    none where no change has any.
    """
    distinct = {id(change): change for change in changes if change is not None}
    made = {name: change.logit_bias(strength) for name, change in distinct.items()}
    biases = [made.get(id(change)) for change in changes]
    return [Biased(biases)] if any(bias is not None for bias in biases) else []


@contextlib.contextmanager
def biased(
    model: Model,
    changes: Sequence[HasBias | None],
    strength: float | None = None,
    any_thread: bool = False,
) -> Iterator[None]:
    """Inside, every `generate` adds the biases of changes first; in the thread that entered, or, with
    `any_thread`, in all.
    """
    owner = None if any_thread else threading.get_ident()
    added = biased_by(changes, strength)

    @contextlib.contextmanager
    def adding(prompt: Tensor | None, arguments: dict[str, Any]) -> Iterator[None]:
        there = list(arguments.get("logits_processor") or [])
        # what wraps a network may call the `generate` of it, with the same processors
        if owner in (None, threading.get_ident()) and not any(p in there for p in added):
            arguments["logits_processor"] = transformers.LogitsProcessorList([*added, *there])
        yield

    with contextlib.ExitStack() as stack:
        for network in generators(model) if added else []:
            stack.enter_context(around_generate(network, adding))
        yield
