"""What a search for a recipe found, and what a better one is worth on items that nothing was chosen on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from langsteer.diagnosis.halving import Standing
from langsteer.evaluation.statistics import Interval, mean_over_groups
from langsteer.storage.records import PlainRecord


@dataclass(frozen=True)
class Reported:
    """A way to ask, on items that nothing was chosen on; `gain` is over doing nothing.

    `values` are those of the items, in the order that all ways share, so that searches can be pooled.
    """

    name: str
    value: float
    gain: Interval | None = None
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class SearchResults(PlainRecord):
    """What a search found.

    `recipe` is the best on development items, `reported` what it and others are worth on the
    `report_items` others, `better` whether it is better than nothing there by more than chance.
    `standings` are those of the last round first. `beats_translation` is its gain over a translation that is given.
    """

    model: str
    source: str
    language: str
    split: str
    unit: str
    calibrated: bool
    recipe: str
    better: bool
    reported: tuple[Reported, ...]
    beats_translation: Interval | None
    standings: tuple[Standing, ...]
    tried: int
    development_items: int
    report_items: int
    budget: float
    seconds: float
    versions: dict[str, str]

    @property
    def gain(self) -> Interval:
        """That of the best recipe over doing nothing."""
        gain = self.reported[1].gain
        assert gain is not None
        return gain


def gain_over_languages(searches: Sequence[SearchResults]) -> Interval:
    """What the chosen recipes are worth over doing nothing, on average over languages that count alike.

    Items are drawn within a language, and the same ones in languages that have as many, whose items
    may be translations of each other.
    """
    gains = [
        np.array(search.reported[1].values) - np.array(search.reported[0].values)
        for search in searches
    ]
    return mean_over_groups(gains)


def better_together(searches: Sequence[SearchResults]) -> tuple[list[int], Interval | None]:
    """Which recipes are worth writing though none is better than nothing alone, and what they share.

    Those of languages that are not better alone are taken together: where their mean gain is above
    nothing by more than chance, it is worth writing those that gain. The mean gain is None where no two are left.
    """
    unsure = [place for place, search in enumerate(searches) if not search.better]
    if len(unsure) < 2:
        return [], None
    gain = gain_over_languages([searches[place] for place in unsure])
    if not gain.low > 0:
        return [], gain
    return [place for place in unsure if searches[place].gain.value > 0], gain
