"""From cells to a table: methods × languages, each method compared with `direct` on the same items."""

import functools
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from langsteer.errors import CellError
from langsteer.evaluation.comparison.cells import Cell, Cost
from langsteer.evaluation.statistics import (
    DRAWS,
    Array,
    Interval,
    calibrate,
    correct,
    gap_closed,
    holm,
    mcnemar,
    percentile_interval,
    resampled_means,
    sign_flip,
    wilcoxon,
)
from langsteer.text.languages import language_name

DIRECT, ENGLISH = "direct", "english"
MEAN = "mean"
PIVOT = "en"
MCNEMAR = "McNemar's exact test"
WILCOXON = "Wilcoxon's signed-rank test"
PERMUTATION = "paired permutation test by item"

Score = Literal["calibrated", "raw", "value"]
"""calibrated and raw accuracy of choices; the metric's value of generated answers"""

_ORDER = (
    *("direct", "few_shot", "few_shot_english"),
    *("native_instruction", "english_instruction", "chain_of_thought", "xlt"),
    *("prompt_optimisation", "self_translate", "translate_mt", "translate_service"),
    *("translate_file", "lora_english", "lora_sft", "projection", "projection_all"),
    *("mean_difference", "principal_component", "probe", "learned", "low_rank"),
)


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
    def all_entries(self) -> tuple[Entry | None, ...]:
        return (*self.entries, self.mean)


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
    grid = _Grid(cells, score)
    drawn = _Drawn(draws, seed)
    against = _against(grid, drawn)
    rows = _adjusted(_rows(grid, drawn))
    return Table(
        model=cells[0].model,
        benchmark=cells[0].benchmark,
        metric=cells[0].metric,
        part=", ".join(sorted({cell.part for cell in cells})),
        score=score,
        languages=grid.languages,
        rows=rows,
        family=len(_tests(row.mean for row in rows)),
        language_family=len(_tests(entry for row in rows for entry in row.entries)),
        test=MCNEMAR if grid.binary else WILCOXON,
        notes=tuple(_notes(grid)),
        pairs=tuple(_pairs(grid, drawn, against)),
    )


class _Grid:
    """The items' scores of every method: [items, languages] each, NaN where not answered."""

    def __init__(self, cells: Sequence[Cell], score: Score) -> None:
        self.score = score
        self.cells = {(cell.method, cell.language): cell for cell in cells}
        self.methods = _sorted_methods({cell.method for cell in cells})
        found = {cell.language for cell in cells} - {PIVOT}
        pivot = [PIVOT] if any(c.language == PIVOT for c in cells) else []
        self.languages = (*sorted(found, key=language_name), *pivot)
        self.pooled = [place for place, name in enumerate(self.languages) if name != PIVOT]
        ids = sorted({item.id for cell in cells for item in cell.items})
        self.place = {name: place for place, name in enumerate(ids)}
        scale = _scale(cells) if score == "value" else 1.0
        self.values = {method: self._fill(method, scale) for method in self.methods}
        english = self._english()
        if english is not None:
            self.values[ENGLISH] = english
            self.methods = _sorted_methods({*self.methods, ENGLISH})
        every = np.concatenate([values.ravel() for values in self.values.values()])
        self.binary = bool(np.isin(every[~np.isnan(every)], (0.0, 100.0)).all())

    def _fill(self, method: str, scale: float) -> Array:
        values = np.full((len(self.place), len(self.languages)), np.nan)
        for column, language in enumerate(self.languages):
            cell = self.cells.get((method, language))
            if cell is not None:
                rows = [self.place[item.id] for item in cell.items]
                values[rows, column] = item_scores(cell, self.score) * scale
        return values

    def _english(self) -> Array | None:
        """The English originals: of a language's cell, or, where it has none, of English's own."""
        values = self.values.get(ENGLISH)
        if PIVOT not in self.languages:
            return values
        own = self.languages.index(PIVOT)
        direct = self.values.get(DIRECT, np.full((len(self.place), len(self.languages)), np.nan))
        column = direct[:, [own]]
        if values is None:
            return None if np.isnan(column).all() else np.repeat(column, len(self.languages), 1)
        missing = np.isnan(values).all(axis=0, keepdims=True)
        return np.where(missing, column, values)


def item_scores(cell: Cell, score: Score) -> Array:
    """Right (100) or wrong (0) of each item, raw or batch-calibrated over the cell; or its value."""
    if score == "value":
        return np.array([item.value for item in cell.items], dtype=np.float64)
    scores = np.full((len(cell.items), max(len(item.scores) for item in cell.items)), np.nan)
    for row, item in enumerate(cell.items):
        scores[row, : len(item.scores)] = item.scores
    targets = [item.target for item in cell.items]
    return correct(calibrate(scores) if score == "calibrated" else scores, targets)


def _rows(grid: _Grid, drawn: "_Drawn") -> tuple[MethodRow, ...]:
    paired = _paired(grid, drawn)
    rows = []
    for method in grid.methods:
        values = grid.values[method]
        answered = (~np.isnan(values)).sum(axis=0)
        entries = [
            Entry(
                (name,), int(answered[i]), float(np.nanmean(values[:, i])), paired.get((method, i))
            )
            if answered[i]
            else None
            for i, name in enumerate(grid.languages)
        ]
        counted = [entry for i in grid.pooled if (entry := entries[i]) is not None]
        cells = [cell for (name, _), cell in grid.cells.items() if name == method]
        rows.append(
            MethodRow(
                method=method,
                title=cells[0].method_title if cells else "English original",
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


def _paired(grid: _Grid, drawn: "_Drawn") -> dict[tuple[str, int], Contrast]:
    """Comparisons by method and column of the grid, -1 for the mean over languages."""
    direct, english = grid.values.get(DIRECT), grid.values.get(ENGLISH)
    if direct is None:
        return {}
    pairs, trios = {}, {}
    for method in grid.methods:
        if method != DIRECT:
            pairs[method] = drawn.add(direct, grid.values[method])
        if english is not None and method not in (DIRECT, ENGLISH):
            trios[method] = drawn.add(direct, grid.values[method], english)
    found = {}
    columns = {-1: grid.pooled} | {i: [i] for i in range(len(grid.languages))}
    for (method, pair), (key, wanted) in itertools.product(pairs.items(), columns.items()):
        if method == ENGLISH and key >= 0 and grid.languages[key] == PIVOT:
            continue
        there = [i for i in wanted if not np.isnan(drawn.samples[pair[0]][:, i]).all()]
        if there:
            p = None if method == ENGLISH else _test(grid.binary, *drawn.columns(pair, there))
            closed = _gap_closed(drawn, trios[method], there) if method in trios else None
            found[method, key] = _difference(drawn, pair, there, p, closed)
    return found


def _against(grid: _Grid, drawn: "_Drawn") -> dict[tuple[str, str], tuple[bytes, ...]]:
    """The keys of each two methods' samples: of the second, and of the first."""
    methods = [method for method in grid.methods if method not in (DIRECT, ENGLISH)]
    return {
        (method, other): drawn.add(grid.values[other], grid.values[method])
        for method, other in itertools.combinations(methods, 2)
    }


def _pairs(
    grid: _Grid, drawn: "_Drawn", against: Mapping[tuple[str, str], tuple[bytes, ...]]
) -> Iterator[MethodPair]:
    for (method, other), pair in against.items():
        known = ~np.isnan(drawn.samples[pair[0]])
        there = [i for i in grid.pooled if known[:, i].any()]
        if there:
            found = _difference(drawn, pair, there, None, None)
            yield MethodPair(method, other, len(there), found.items, found.difference)


class _Drawn:
    """Samples, the same number of times drawn: each distinct one is drawn once.

    All are to be added before the first means are asked for.
    """

    def __init__(self, draws: int, seed: int) -> None:
        self.samples: dict[bytes, Array] = {}
        self._options = draws, seed

    def add(self, *samples: Array) -> tuple[bytes, ...]:
        """Keep samples [items, languages] where all of them are known; their keys."""
        unknown = np.isnan(np.stack(samples)).any(axis=0)
        kept = [np.where(unknown, np.nan, sample) for sample in samples]
        keys = tuple(sample.tobytes() for sample in kept)
        self.samples.update(zip(keys, kept, strict=True))
        return keys

    def columns(self, keys: Sequence[bytes], languages: Sequence[int]) -> list[Array]:
        return [self.samples[key][:, languages] for key in keys]

    def means(self, keys: Sequence[bytes], languages: Sequence[int]) -> list[Array]:
        """The mean over languages of each sample's means, and of each redraw's: [1 + draws]."""
        result = []
        for key in keys:
            real = np.nanmean(self.samples[key][:, languages], axis=0, keepdims=True)
            redrawn = self._means[key][:, languages]
            result.append(np.concatenate([real, redrawn]).mean(axis=1))
        return result

    @functools.cached_property
    def _means(self) -> dict[bytes, Array]:
        means = resampled_means(list(self.samples.values()), *self._options)
        return dict(zip(self.samples, means, strict=True))


def _difference(
    drawn: _Drawn,
    pair: Sequence[bytes],
    languages: Sequence[int],
    p: float | None,
    closed: Interval | None,
) -> Contrast:
    before, after = drawn.means(pair, languages)
    items = int((~np.isnan(drawn.columns(pair, languages)[0])).sum())
    return Contrast(items, _interval(after - before), p, gap_closed=closed)


def _gap_closed(drawn: _Drawn, trio: Sequence[bytes], languages: Sequence[int]) -> Interval | None:
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
    return [found.p for found in compared if found.p is not None]


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


def _notes(grid: _Grid) -> Iterable[str]:
    """What a reader must know of these cells: other items, other answers, other scores."""
    parts = sorted({cell.part for cell in grid.cells.values()})
    if len(parts) > 1:
        yield f"The cells are of several parts of the data: {', '.join(parts)}."
    if not any(method == DIRECT for method, _ in grid.cells):
        yield "There are no cells of 'direct', so nothing is compared."
    for (method, language), cell in sorted(grid.cells.items()):
        direct = grid.cells.get((DIRECT, language))
        if direct is not None and method != DIRECT:
            yield from _mismatch(direct, cell)
        yield from _harness(cell)


def _mismatch(direct: Cell, cell: Cell) -> Iterable[str]:
    asked = {item.id: item.target for item in direct.items}
    other = {item.id: item.target for item in cell.items}
    shared = asked.keys() & other.keys()
    where = f"{cell.method} / {cell.language}"
    if len(shared) < max(len(asked), len(other)):
        yield (
            f"{where}: {len(shared)} items compared; {len(asked) - len(shared)} were answered by "
            f"direct only, {len(other) - len(shared)} by {cell.method} only."
        )
    differ = sum(asked[name] != other[name] for name in shared) if cell.kind == "choice" else 0
    if differ:
        yield f"{where}: {differ} items have another right answer than in direct's cell."


def _harness(cell: Cell) -> Iterable[str]:
    if cell.kind != "choice" or "acc" not in cell.harness:
        return
    ours = float(item_scores(cell, "raw").mean())
    theirs = 100 * cell.harness["acc"]
    if abs(ours - theirs) > 50 / len(cell.items):
        yield (
            f"{cell.method} / {cell.language}: raw accuracy is {ours:.1f}, the harness's {theirs:.1f}."
        )


def _kind(cells: Sequence[Cell]) -> str:
    if not cells:
        raise CellError("there are no cells to compare")
    for name in ("model", "benchmark", "kind", "metric"):
        found = sorted({getattr(cell, name) for cell in cells})
        if len(found) > 1:
            raise CellError(
                f"cells of one table have one {name}, and these have {', '.join(found)}"
            )
    return cells[0].kind


def _scale(cells: Sequence[Cell]) -> float:
    """What brings a metric's values to per cent: some are 0 to 1, some 0 to 100."""
    top = max(item.value or 0.0 for cell in cells for item in cell.items)
    return 100.0 if top <= 1 else 1.0


def _total(costs: Sequence[Cost]) -> Cost:
    return Cost(
        tokens=sum(cost.tokens for cost in costs),
        seconds=sum(cost.seconds for cost in costs),
        peak_bytes=max((cost.peak_bytes for cost in costs), default=0),
        training_seconds=sum(cost.training_seconds for cost in costs),
    )


def _sorted_methods(methods: Iterable[str]) -> list[str]:
    """Usual methods in their usual order, stacks of them after, and the upper bound last."""
    rank: Mapping[str, int] = {name: place for place, name in enumerate(_ORDER)}

    def key(method: str) -> tuple[bool, int, list[int], str]:
        parts = method.split("+")
        return (
            method == ENGLISH,
            len(parts),
            [rank.get(part, len(rank)) for part in parts],
            method,
        )

    return sorted(methods, key=key)
