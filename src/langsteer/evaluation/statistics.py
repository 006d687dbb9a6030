"""Paired bootstrap intervals, by item: an item's answers in all languages are drawn together."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95% percentile bootstrap interval."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def paired_bootstrap(
    statistic: Callable[..., Array], *samples: Array, draws: int = 10_000, seed: int = 0
) -> Interval:
    """Interval of `statistic(*samples)`, a function of arrays that reduces their last axis.

    `samples` are [items] each; the same items are drawn from all of them.
    """
    columns = [np.asarray(sample, dtype=np.float64) for sample in samples]
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(columns[0]), (draws, len(columns[0])))
    values = statistic(*(column[drawn] for column in columns))
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return Interval(float(statistic(*columns)), float(low), float(high))


def difference(before: Array, after: Array) -> Array:
    """Mean gain, in percentage points where the samples are 0 and 100."""
    return np.asarray(after.mean(-1) - before.mean(-1))


def gap_closed(english: Array, before: Array, after: Array) -> Array:
    """Share of the gap to English that is won back; NaN where there is no gap."""
    gap = np.asarray(english.mean(-1) - before.mean(-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (after.mean(-1) - before.mean(-1)) / gap
    return np.where(gap > 0, share, np.nan)
