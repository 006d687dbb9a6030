"""Which layer and which strength: those at which the model reads the language most as it reads English.

On pairs that were not fitted on, and without task labels: the mean over pairs of
KL( p(· | e, w) ‖ p(· | s + v, w) ), the next-token distributions after the same English words w, which are
other words than the ones `learned` fits with.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from langsteer.corpus import ParallelCorpus
from langsteer.errors import FitError, StateError
from langsteer.fitting.common import check_corpus
from langsteer.fitting.pivot import Pivot
from langsteer.intervention import PositionKind
from langsteer.models import Model, frozen
from langsteer.progress import track
from langsteer.tokens import Tokens, batches, encode, encode_suffix, pad_mask
from langsteer.vector import SteeringVector

STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.5)
SUFFIXES = ("\nA headline for this text:", "\nThe subject of the text above is")


@dataclass(frozen=True)
class Trial:
    """One layer and strength, and how far the steered model is from the English one (nats)."""

    layer: int
    strength: float
    divergence: float


class Steering(Protocol):
    """What can be measured: a vector, or another change that is applied to a model."""

    def applied(
        self,
        model: Any,
        *,
        strength: float | None = None,
        positions: PositionKind | None = None,
        mask: Tensor | None = None,
    ) -> AbstractContextManager[None]: ...


def search(
    model: Model,
    corpus: ParallelCorpus,
    vectors: Sequence[SteeringVector],
    strengths: Sequence[float] = STRENGTHS,
    pivot: Pivot | None = None,
) -> SteeringVector:
    """The best of vectors fitted at several layers, at its best strength.

    `corpus` must share no line with what is fitted on. The result's `scores` hold every trial and
    the divergence without steering, which says whether steering helped at all.
    """
    if not vectors or not strengths:
        raise FitError("a search needs at least one layer and one strength")
    if not all(map(math.isfinite, strengths)):
        raise FitError(f"strengths must be finite numbers, not {list(strengths)}")
    measure = Measure(model, corpus, pivot)
    grid = [(vector, strength) for vector in vectors for strength in strengths]
    found = [
        measure(vector, strength)
        for vector, strength in track(grid, "Choosing layer and strength", len(grid))
    ]
    best = min(range(len(grid)), key=found.__getitem__)
    vector, strength = grid[best]
    scores = {
        "divergence": found[best],
        "divergence_unsteered": measure(None, 0.0),
        "chosen_on": corpus.describe(),
        "trials": [
            vars(Trial(vector.layer, strength, divergence))
            for (vector, strength), divergence in zip(grid, found, strict=True)
        ],
    }
    return replace(vector, strength=strength, scores=scores)


class Measure:
    """Mean divergence (nats) of the model reading the language from the model reading English."""

    def __init__(self, model: Model, corpus: ParallelCorpus, pivot: Pivot | None = None) -> None:
        self.model = model
        self.texts = self._with_suffixes(corpus.texts[check_corpus(corpus)])
        shared = Pivot.of(model, corpus, pivot)
        self.english = shared.once("next tokens", lambda: self._read(shared.lines))

    def __call__(self, steering: Steering | None, strength: float) -> float:
        total = 0.0
        for index in batches(self.texts):
            found = self._last(self.texts, index, steering, strength)
            wanted = self.english[index]
            _check_finite(found, index)
            total += float((wanted.exp() * (wanted - found)).sum())
        return total / len(self.texts)

    def _read(self, lines: Sequence[str]) -> Tensor:
        """Log-probabilities after each line, in the order of the lines."""
        texts = self._with_suffixes(lines)
        groups = list(batches(texts))
        found = torch.cat([self._last(texts, index) for index in groups])
        _check_finite(found, [i for index in groups for i in index])
        order = torch.tensor([i for index in groups for i in index])
        return found[order.argsort()]

    def _with_suffixes(self, texts: Sequence[str]) -> list[Tokens]:
        suffixes = [encode_suffix(self.model, text) for text in SUFFIXES]
        encoded = encode(self.model, texts)
        return [t.followed_by(suffixes[i % len(suffixes)]) for i, t in enumerate(encoded)]

    def _last(
        self,
        tokens: Sequence[Tokens],
        index: Sequence[int],
        steering: Steering | None = None,
        strength: float = 0.0,
    ) -> Tensor:
        """Log-probabilities of the next token [rows, vocabulary]."""
        inputs = self.model.batch([tokens[i].ids for i in index])
        with torch.inference_mode(), frozen(self.model):
            if steering is None:
                logits = self.model.last_logits(inputs, 1)
            else:
                mask = pad_mask([tokens[i].source for i in index])
                with steering.applied(self.model, strength=strength, positions="source", mask=mask):
                    logits = self.model.last_logits(inputs, 1)
        return torch.log_softmax(logits[:, -1].float(), -1).cpu()


def _check_finite(log_p: Tensor, index: Sequence[int]) -> None:
    """-inf is the probability 0; NaN is none."""
    bad = log_p.isnan().any(dim=1)
    if bool(bad.any()):
        raise StateError(
            f"the model's output is not a number for text {index[int(bad.int().argmax())] + 1}: "
            "load the model with dtype='float32' or 'bfloat16', or choose smaller strengths"
        )
