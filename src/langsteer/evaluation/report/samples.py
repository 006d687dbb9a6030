"""The samples that a table compares: each method's score of each item, and their means when redrawn."""

import functools
from collections.abc import Sequence
from typing import Literal

import numpy as np

from langsteer.evaluation.comparison.cells import Cell
from langsteer.evaluation.methods import direct as methods
from langsteer.evaluation.methods import in_order
from langsteer.evaluation.statistics import Array, calibrate, correct, resampled_means
from langsteer.text.languages import language_name

DIRECT, ENGLISH = methods.DIRECT.name, methods.ENGLISH.name
PIVOT = "en"

Score = Literal["calibrated", "raw", "value"]
"""calibrated and raw accuracy of choices; the metric's value of generated answers"""


class ItemScores:
    """The items' scores of every method: [items, languages] each, NaN where not answered."""

    def __init__(self, cells: Sequence[Cell], score: Score) -> None:
        self.score = score
        self.cells = {(cell.method, cell.language): cell for cell in cells}
        self.methods = in_order({cell.method for cell in cells})
        languages = {cell.language for cell in cells} - {PIVOT}
        pivot = [PIVOT] if any(c.language == PIVOT for c in cells) else []
        self.languages = (*sorted(languages, key=language_name), *pivot)
        self.pooled = [place for place, name in enumerate(self.languages) if name != PIVOT]
        ids = sorted({item.id for cell in cells for item in cell.items})
        self.place = {name: place for place, name in enumerate(ids)}
        scale = scale_of(cells) if score == "value" else 1.0
        self.values = {method: self._fill(method, scale) for method in self.methods}
        english = self._english()
        if english is not None:
            self.values[ENGLISH] = english
            self.methods = in_order({*self.methods, ENGLISH})
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


class Redraws:
    """Samples, the same number of times drawn: each distinct one is drawn once.

    All are to be added before the first means are asked for.
    """

    def __init__(self, draws: int, seed: int) -> None:
        self.samples: dict[bytes, Array] = {}
        self._options = draws, seed

    def add(self, *samples: Array) -> tuple[bytes, ...]:
        """Keep samples [items, languages] where all of them are known; their keys."""
        unknown = np.isnan(np.stack(samples)).any(axis=0)
        known = [np.where(unknown, np.nan, sample) for sample in samples]
        keys = tuple(sample.tobytes() for sample in known)
        self.samples.update(zip(keys, known, strict=True))
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


def scale_of(cells: Sequence[Cell]) -> float:
    """What brings a metric's values to per cent: some are 0 to 1, some 0 to 100."""
    top = max(item.value or 0.0 for cell in cells for item in cell.items)
    return 100.0 if top <= 1 else 1.0
