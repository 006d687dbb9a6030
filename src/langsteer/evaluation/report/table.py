"""From cells to a table: methods × languages, each method compared with `direct` on the same items."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from langsteer.errors import CellError
from langsteer.evaluation.comparison.cells import Cell, Cost
from langsteer.evaluation.methods import get_method
from langsteer.evaluation.report.notes import notes_on
from langsteer.evaluation.report.samples import (
    DIRECT,
    ENGLISH,
    PIVOT,
    ItemScores,
    Redraws,
    Score,
)
from langsteer.evaluation.statistics import (
    DRAWS,
    Array,
    Interval,
    gap_closed,
    holm,
    mcnemar,
    percentile_interval,
    sign_flip,
    wilcoxon,
)

MCNEMAR = "McNemar's exact test"
WILCOXON = "Wilcoxon's signed-rank test"
PERMUTATION = "paired permutation test by item"


@dataclass(frozen=True)
class Contrast:
    """A method less `direct`, in percentage points, on the `items` that both answered.

    `p` is None where nothing is tested: English is the upper bound, not a method. `gap_closed` is
    None where English is not clearly better than `direct` on these items.
    """

    items: int
    difference: Interval
    p: float | None = None
    p_adjusted: float | None = None
    gap_closed: Interval | None = None

    @property
    def significant(self) -> bool:
        return self.p_adjusted is not None and self.p_adjusted < 0.05


@dataclass(frozen=True)
class Entry:
    """A method's score in per cent in one language, or its mean over several."""

    languages: tuple[str, ...]
    items: int
    score: float
    comparison: Contrast | None = None


@dataclass(frozen=True)
class MethodRow:
    """A method in the languages of its table (None: no cell), and their mean.

    The mean is over the languages, other than English, that the method has. The cost is summed
    over languages; of the memory, the most.
    """

    method: str
    title: str
    entries: tuple[Entry | None, ...]
    mean: Entry | None
    cost: Cost
    answered: int
    """items answered, in all languages"""

    @property
    def comparison(self) -> Contrast | None:
        """The mean against `direct`; None where it is not compared."""
        return None if self.mean is None else self.mean.comparison

    @property
    def contrast(self) -> Contrast:
        """The same of a method that is compared; ValueError for another."""
        if self.comparison is None:
            raise ValueError(f"{self.method} is not compared")
        return self.comparison


@dataclass(frozen=True)
class MethodPair:
    """The mean of `method` less that of `other`, in percentage points, on what both answered."""

    method: str
    other: str
    languages: int
    items: int
    difference: Interval


@dataclass(frozen=True)
class Table:
    """One model on one benchmark.

    Holm's correction is over two families of tests: the `family` of the methods' means, and the
    `language_family` of every method in every language.
    """

    model: str
    benchmark: str
    metric: str
    part: str
    score: Score
    languages: tuple[str, ...]
    rows: tuple[MethodRow, ...]
    family: int
    language_family: int
    test: str
    notes: tuple[str, ...]
    pairs: tuple[MethodPair, ...] = ()
    """every method but `direct` and the upper bound against every other, each pair once"""

    def row(self, method: str) -> MethodRow | None:
        return next((row for row in self.rows if row.method == method), None)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def compare_tables(
    cells: Iterable[Cell], score: Score | None = None, draws: int = DRAWS, seed: int = 0
) -> tuple[Table, ...]:
    """A table for each model and benchmark, as `compare_table` makes it."""
    groups: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.model, cell.benchmark].append(cell)
    return tuple(compare_table(groups[key], score, draws, seed) for key in sorted(groups))


def compare_table(
    cells: Sequence[Cell], score: Score | None = None, draws: int = DRAWS, seed: int = 0
) -> Table:
    """Compare the methods of one model on one benchmark.

    `score` is by default `calibrated` for choices and `value` for generated answers. Intervals
    are 95% paired bootstrap intervals over items. Raises CellError for no cells, for cells of
    several tables, and for a score that they do not have.
    """
    kind = _kind(cells)
    score = score or ("calibrated" if kind == "choice" else "value")
    if (score == "value") != (kind == "generate"):
        raise CellError(f"{cells[0].benchmark} is scored as {kind!r}, so it has no {score!r} score")
    scored = ItemScores(cells, score)
    drawn = Redraws(draws, seed)
    against = _against(scored, drawn)
    rows = _adjusted(_rows(scored, drawn))
    return Table(
        model=cells[0].model,
        benchmark=cells[0].benchmark,
        metric=cells[0].metric,
        part=", ".join(sorted({cell.part for cell in cells})),
        score=score,
        languages=scored.languages,
        rows=rows,
        family=len(_tests(row.mean for row in rows)),
        language_family=len(_tests(entry for row in rows for entry in row.entries)),
        test=MCNEMAR if scored.binary else WILCOXON,
        notes=tuple(notes_on(scored)),
        pairs=tuple(_pairs(scored, drawn, against)),
    )


def _rows(scored: ItemScores, drawn: Redraws) -> tuple[MethodRow, ...]:
    paired = _paired(scored, drawn)
    rows = []
    for method in scored.methods:
        values = scored.values[method]
        answered = (~np.isnan(values)).sum(axis=0)
        entries = [
            Entry(
                (name,), int(answered[i]), float(np.nanmean(values[:, i])), paired.get((method, i))
            )
            if answered[i]
            else None
            for i, name in enumerate(scored.languages)
        ]
        counted = [entry for i in scored.pooled if (entry := entries[i]) is not None]
        cells = [cell for (name, _), cell in scored.cells.items() if name == method]
        rows.append(
            MethodRow(
                method=method,
                title=cells[0].method_title if cells else get_method(method).title,
                entries=tuple(entries),
                mean=_mean(counted, paired.get((method, -1))),
                cost=_total([cell.cost for cell in cells]),
                answered=int(answered.sum()),
            )
        )
    return tuple(rows)


def _mean(counted: Sequence[Entry], comparison: Contrast | None) -> Entry | None:
    if not counted:
        return None
    return Entry(
        languages=tuple(name for entry in counted for name in entry.languages),
        items=sum(entry.items for entry in counted),
        score=float(np.mean([entry.score for entry in counted])),
        comparison=comparison,
    )


def _paired(scored: ItemScores, drawn: Redraws) -> dict[tuple[str, int], Contrast]:
    """Comparisons by method and column of the scores, -1 for the mean over languages."""
    direct, english = scored.values.get(DIRECT), scored.values.get(ENGLISH)
    if direct is None:
        return {}
    pairs, trios = {}, {}
    for method in scored.methods:
        if method != DIRECT:
            pairs[method] = drawn.add(direct, scored.values[method])
        if english is not None and method not in (DIRECT, ENGLISH):
            trios[method] = drawn.add(direct, scored.values[method], english)
    contrasts = {}
    columns = {-1: scored.pooled} | {i: [i] for i in range(len(scored.languages))}
    for (method, pair), (key, wanted) in itertools.product(pairs.items(), columns.items()):
        if method == ENGLISH and key >= 0 and scored.languages[key] == PIVOT:
            continue
        there = [i for i in wanted if not np.isnan(drawn.samples[pair[0]][:, i]).all()]
        if there:
            p = None if method == ENGLISH else _test(scored.binary, *drawn.columns(pair, there))
            closed = _gap_closed(drawn, trios[method], there) if method in trios else None
            contrasts[method, key] = _difference(drawn, pair, there, p, closed)
    return contrasts


def _against(scored: ItemScores, drawn: Redraws) -> dict[tuple[str, str], tuple[bytes, ...]]:
    """The keys of each two methods' samples: of the second, and of the first."""
    methods = [method for method in scored.methods if method not in (DIRECT, ENGLISH)]
    return {
        (method, other): drawn.add(scored.values[other], scored.values[method])
        for method, other in itertools.combinations(methods, 2)
    }


def _pairs(
    scored: ItemScores, drawn: Redraws, against: Mapping[tuple[str, str], tuple[bytes, ...]]
) -> Iterator[MethodPair]:
    for (method, other), pair in against.items():
        known = ~np.isnan(drawn.samples[pair[0]])
        there = [i for i in scored.pooled if known[:, i].any()]
        if there:
            contrast = _difference(drawn, pair, there, None, None)
            yield MethodPair(method, other, len(there), contrast.items, contrast.difference)


def _difference(
    drawn: Redraws,
    pair: Sequence[bytes],
    languages: Sequence[int],
    p: float | None,
    closed: Interval | None,
) -> Contrast:
    before, after = drawn.means(pair, languages)
    items = int((~np.isnan(drawn.columns(pair, languages)[0])).sum())
    return Contrast(items, _interval(after - before), p, gap_closed=closed)


def _gap_closed(drawn: Redraws, trio: Sequence[bytes], languages: Sequence[int]) -> Interval | None:
    """None where English is not clearly better: a share of what may be nothing says nothing."""
    if any(np.isnan(sample).all(axis=0).any() for sample in drawn.columns(trio, languages)):
        return None
    before, after, english = drawn.means(trio, languages)
    if _interval(english - before).low <= 0:
        return None
    return _interval(gap_closed(english[:, None], before[:, None], after[:, None]))


def _interval(values: Array) -> Interval:
    """Of the estimate, followed by its redraws."""
    return percentile_interval(float(values[0]), values[1:])


def _test(binary: bool, before: Array, after: Array) -> float:
    """p of no difference: of one language by its own test, of several by item."""
    known = ~np.isnan(before)
    if before.shape[1] == 1:
        pair = before[known], after[known]
        return mcnemar(*pair) if binary else wilcoxon(*pair)
    counts = known.sum(axis=0)
    weights = counts.max() / counts / 100  # whole numbers where all are right or wrong
    return sign_flip(np.nansum((after - before) * weights, axis=1))


def _tests(entries: Iterable[Entry | None]) -> list[float]:
    compared = [entry.comparison for entry in entries if entry is not None and entry.comparison]
    return [contrast.p for contrast in compared if contrast.p is not None]


def _adjusted(rows: tuple[MethodRow, ...]) -> tuple[MethodRow, ...]:
    """With the p values of the means adjusted as one family, those of the languages as another."""
    means = iter(holm(_tests(row.mean for row in rows)))
    languages = iter(holm(_tests(entry for row in rows for entry in row.entries)))

    def filled(entry: Entry | None, adjusted: Iterator[float]) -> Entry | None:
        if entry is None or entry.comparison is None or entry.comparison.p is None:
            return entry
        return replace(entry, comparison=replace(entry.comparison, p_adjusted=next(adjusted)))

    return tuple(
        replace(
            row,
            entries=tuple(filled(entry, languages) for entry in row.entries),
            mean=filled(row.mean, means),
        )
        for row in rows
    )


def _kind(cells: Sequence[Cell]) -> str:
    if not cells:
        raise CellError("there are no cells to compare")
    for name in ("model", "benchmark", "kind", "metric"):
        values = sorted({getattr(cell, name) for cell in cells})
        if len(values) > 1:
            raise CellError(
                f"cells of one table have one {name}, and these have {', '.join(values)}"
            )
    return cells[0].kind


def _total(costs: Sequence[Cost]) -> Cost:
    return Cost(
        tokens=sum(cost.tokens for cost in costs),
        seconds=sum(cost.seconds for cost in costs),
        peak_bytes=max((cost.peak_bytes for cost in costs), default=0),
        training_seconds=sum(cost.training_seconds for cost in costs),
    )
