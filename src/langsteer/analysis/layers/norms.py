"""How long token states are, and which dimensions carry them, summed up while text is read.

A few dimensions of a few tokens may hold most of the length (massive activations, Sun et al.,
arXiv 2402.17762).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from langsteer.analysis.layers.results import Dimension, Norms

LARGEST = 5

# Lengths are counted in classes a 256th of an octave wide, so that their median is known to 0.3%
# in constant memory.
_STEPS, _LOWEST, _HIGHEST = 256, -32, 64


class NormSums:
    """What is kept of the token states of one layer, whatever their number."""

    def __init__(self, hidden_size: int) -> None:
        self.tokens = 0
        self._length = 0.0
        self._classes = torch.zeros((_HIGHEST - _LOWEST) * _STEPS, dtype=torch.long)
        self._size = torch.zeros(hidden_size, dtype=torch.float64)
        self._square = torch.zeros(hidden_size, dtype=torch.float64)

    def add(self, states: Tensor, source: Tensor) -> None:
        """Count states [rows, tokens, hidden] where `source`, boolean [rows, tokens], is True."""
        flat = states.reshape(-1, states.shape[-1])
        counted = source.reshape(1, -1).to(flat.dtype)
        squares = flat * flat
        lengths = squares.sum(1)[source.reshape(-1)].sqrt()
        self.tokens += len(lengths)
        self._length += float(lengths.double().sum())
        self._square += (counted @ squares)[0].double().cpu()
        self._size += (counted @ flat.abs())[0].double().cpu()
        place = ((lengths.clamp(min=1e-9).log2() - _LOWEST) * _STEPS).long()
        place = place.clamp(0, len(self._classes) - 1).cpu()
        self._classes += torch.bincount(place, minlength=len(self._classes))

    @property
    def mean(self) -> float:
        return self._length / self.tokens if self.tokens else math.nan

    @property
    def median(self) -> float:
        """The middle of the class that holds the median."""
        if not self.tokens:
            return math.nan
        place = int(torch.searchsorted(self._classes.cumsum(0), (self.tokens + 1) // 2))
        return float(2.0 ** (_LOWEST + (place + 0.5) / _STEPS))

    @property
    def sizes(self) -> Tensor:
        """Mean absolute value of each dimension, float64 [hidden]."""
        return self._size / max(self.tokens, 1)

    @property
    def largest(self) -> tuple[Dimension, ...]:
        """The dimensions with the greatest mean absolute value, greatest first."""
        sizes, total = self.sizes, float(self._square.sum())
        top = sizes.topk(min(LARGEST, len(sizes))).indices
        return tuple(
            Dimension(i, float(sizes[i]), float(self._square[i]) / total if total else math.nan)
            for i in map(int, top)
        )


def norms(layers: Sequence[NormSums]) -> Norms:
    """The norms of all layers."""
    return Norms(
        mean=tuple(layer.mean for layer in layers),
        median=tuple(layer.median for layer in layers),
        typical_size=tuple(float(layer.sizes.median()) for layer in layers),
        largest=tuple(layer.largest for layer in layers),
    )
