"""Statistics of paired answers: bootstrap intervals, tests of no difference, and Holm's correction.

Everything is paired by item, and pooled over languages by item: languages share their items, so an
item's answers in all languages are drawn, or exchanged, together.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from langsteer.extras import need

Array = NDArray[np.float64]

DRAWS = 10_000
PERMUTATIONS = 50_000
FEWEST_CALIBRATED = 16  # items that a mean is taken over
_BLOCK = 4_000_000  # numbers held at a time while drawing
_EXACT = 2_000_000_000  # additions up to which a permutation test is exact


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
    statistic: Callable[..., Array], *samples: Array, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """Interval of `statistic(*samples)`, a function of arrays that reduces their last axis.

    `samples` are [items] each; the same items are drawn from all of them.
    """
    columns = [np.asarray(sample, dtype=np.float64) for sample in samples]
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(columns[0]), (draws, len(columns[0])))
    values = statistic(*(column[drawn] for column in columns))
    return percentile_interval(float(statistic(*columns)), values)


def mean_over_groups(groups: Sequence[Array], draws: int = DRAWS, seed: int = 0) -> Interval:
    """The mean of the means of groups [items] each, items drawn within a group; in groups with as many
    items the same ones are drawn.
    """

    def means(group: Array) -> Array:
        drawn = np.random.default_rng(seed).integers(0, len(group), (draws, len(group)))
        return np.asarray(group[drawn].mean(-1))

    samples = [np.asarray(group, dtype=np.float64) for group in groups]
    value = float(np.mean([sample.mean() for sample in samples]))
    return percentile_interval(value, np.mean([means(sample) for sample in samples], axis=0))


def percentile_interval(value: float, values: Array) -> Interval:
    """The interval of an estimate from its resampled values [draws]; those undefined are left out."""
    known = values[~np.isnan(values)]
    low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
    return Interval(value, float(low), float(high))


def resampled_means(samples: Sequence[Array], draws: int = DRAWS, seed: int = 0) -> list[Array]:
    """The mean of each column of each sample, over items drawn with replacement: [draws, columns].

    `samples` are [items, columns] each, NaN where an item was not answered. A draw takes whole
    rows, the same of every sample: the cluster bootstrap, with items as the clusters (Field and
    Welsh, 2007, doi:10.1111/j.1467-9868.2007.00593.x).
    """
    values = np.hstack(samples)
    known = ~np.isnan(values)
    filled, complete = np.where(known, values, 0.0), bool(known.all())
    blocks = []
    for times in _times_drawn(len(values), draws, seed):
        with np.errstate(invalid="ignore"):
            blocks.append(times @ filled / (len(values) if complete else times @ known))
    edges = np.cumsum([sample.shape[1] for sample in samples])[:-1]
    return np.split(np.concatenate(blocks), edges, axis=1)


def _times_drawn(items: int, draws: int, seed: int) -> Iterator[Array]:
    """How often each item is drawn, [some draws, items] at a time."""
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // items)
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        drawn = rng.integers(0, items, (rows, items)) + items * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * items)
        yield counts.reshape(rows, items).astype(np.float64)


def difference(before: Array, after: Array) -> Array:
    """Mean gain, in percentage points where the samples are 0 and 100."""
    return np.asarray(after.mean(-1) - before.mean(-1))


def gap_closed(english: Array, before: Array, after: Array) -> Array:
    """Share of the gap to English that is won back; NaN where there is no gap."""
    gap = np.asarray(english.mean(-1) - before.mean(-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (after.mean(-1) - before.mean(-1)) / gap
    return np.where(gap > 0, share, np.nan)


def calibrate(scores: Array) -> Array:
    """Log-probabilities [items, answers], each less its answer's mean over the items.

    Batch calibration (Zhou et al., arXiv 2309.17249). NaN where an item has fewer answers.
    """
    return scores - np.nanmean(scores, axis=0, keepdims=True)


def correct(scores: Array, targets: ArrayLike) -> Array:
    """100 where the best of an item's scores [items, answers] is its target's, else 0: [items]."""
    hits: Array = (np.nanargmax(scores, axis=1) == np.asarray(targets)) * 100.0
    return hits


def mcnemar(before: Array, after: Array) -> float:
    """Two-sided p of McNemar's exact test on paired answers that are right (> 0) or wrong."""
    stats = need("scipy.stats", "eval", "McNemar's test")
    gains = int(np.sum((before <= 0) & (after > 0)))
    losses = int(np.sum((before > 0) & (after <= 0)))
    if gains + losses == 0:
        return 1.0
    return float(stats.binomtest(gains, gains + losses, 0.5).pvalue)


def wilcoxon(before: Array, after: Array) -> float:
    """Two-sided p of Wilcoxon's signed-rank test on paired graded values; 1 where all are equal."""
    stats = need("scipy.stats", "eval", "Wilcoxon's test")
    change = after - before
    if not change.any():
        return 1.0
    return float(stats.wilcoxon(change).pvalue)


def sign_flip(changes: Array, draws: int = PERMUTATIONS, seed: int = 0) -> float:
    """Two-sided p of the paired permutation test: are gains [items] as likely as losses?

    Under the null hypothesis the two methods are exchangeable on an item, so each change may as
    well have had the other sign (Fisher, 1935; in this field Yeh, 2000, aclanthology.org/C00-2137).
    Where a change sums an item's answers in all languages, they are exchanged together, and the
    test respects that they are not independent; the statistic of Durkalski et al. (2003,
    doi:10.1002/sim.1438) is its normal approximation. With right and wrong in one language it is
    McNemar's exact test. Exact for whole numbers; otherwise drawn, with p = (1 + more extreme
    draws) / (1 + draws) (Phipson and Smyth, 2010, doi:10.2202/1544-6115.1585).
    """
    sizes = np.abs(changes[changes != 0])
    total = abs(float(changes.sum()))
    whole = np.rint(sizes)
    if np.array_equal(sizes, whole) and len(sizes) * whole.sum() <= _EXACT:
        return _exact_sign_flip(whole.astype(np.int64), round(total))
    return _drawn_sign_flip(sizes, total, draws, seed)


def _exact_sign_flip(sizes: NDArray[np.int64], total: int) -> float:
    """P(|sum of ± sizes| >= total), from the distribution of the sum of those with a plus."""
    everything = int(sizes.sum())
    chance = np.zeros(everything + 1)
    chance[0] = 1.0
    reached = 0
    for size in np.sort(sizes):
        moved = chance[: reached + 1] / 2
        chance[: reached + 1] /= 2
        chance[size : size + reached + 1] += moved
        reached += int(size)
    needed = (everything + total + 1) // 2  # plus - minus >= total
    return float(min(1.0, 2 * chance[needed:].sum())) if total else 1.0


def _drawn_sign_flip(sizes: Array, total: float, draws: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    slack = 1e-9 * max(1.0, float(sizes.sum()))
    step = max(1, _BLOCK // len(sizes))
    extreme = 0
    for start in range(0, draws, step):
        flips = rng.integers(0, 2, (min(step, draws - start), len(sizes)), dtype=np.int8)
        sums = 2 * (flips @ sizes) - sizes.sum()
        extreme += int(np.sum(np.abs(sums) >= total - slack))
    return (1 + extreme) / (1 + draws)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values of one family of tests, in the same order (Holm, 1979)."""
    count, highest = len(p_values), 0.0
    adjusted = [0.0] * count
    for rank, place in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (count - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted
