"""Cells of a comparison that nobody ran."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from langsteer.evaluation.comparison.cells import Cell, Item


def cell(method: str, language: str, right: Sequence[bool], **change: object) -> Cell:
    """A cell of two choices that is right, raw, where `right` says so. Ids are a, b, …"""
    items = tuple(
        Item(f"i{place:03}", 0, (-1.0, -2.0) if hit else (-2.0, -1.0))
        for place, hit in enumerate(right)
    )
    made = Cell(
        "tiny",
        "sib200",
        language,
        method,
        method.title(),
        "english",
        "test",
        "choice",
        "acc",
        items,
    )
    return replace(made, **change)  # type: ignore[arg-type]


def random_cells(methods: Sequence[str], languages: Sequence[str], seed: int = 0) -> list[Cell]:
    rng = np.random.default_rng(seed)
    chance = {"direct": 0.4, "learned": 0.6, "english": 0.9}
    return [
        cell(m, language, list(rng.random(80) < chance.get(m, 0.45)))
        for m in methods
        for language in languages
    ]
