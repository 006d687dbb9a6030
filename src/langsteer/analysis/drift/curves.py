"""Measures of a version at each layer, put together as curves over the layers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from langsteer.analysis.drift.directions import matching
from langsteer.analysis.drift.results import Cosines, Matching, Spans


@dataclass(frozen=True, eq=False)
class LayerMeasures:
    """All measures of a version at one layer, as numbers by field.

    `own`, `raw` and `span` are by kind of direction and tag; `matrices` by kind: plain cosines
    [languages, languages]; `clear`: the languages whose own displacement has a direction.
    """

    layer: int
    pivot: dict[str, float]
    movement: dict[str, dict[str, float]]
    own: dict[tuple[str, str], dict[str, float]]
    raw: dict[tuple[str, str], dict[str, float]]
    span: dict[tuple[str, str], dict[str, float]]
    matrices: dict[str, Tensor]
    clear: frozenset[str]


def curves(layers: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """Numbers by field at each layer as curves by field."""
    return {name: tuple(layer[name] for layer in layers) for name in layers[0]}


def cosine_curves(layers: Sequence[LayerMeasures], name: str, kind: str, tag: str) -> Cosines:
    present = [layer for layer in layers if (kind, tag) in getattr(layer, name)]
    return Cosines(
        layers=tuple(layer.layer for layer in present),
        **curves([getattr(layer, name)[kind, tag] for layer in present]),
    )


def span_curves(layers: Sequence[LayerMeasures], kind: str, tag: str) -> Spans | None:
    present = [layer for layer in layers if (kind, tag) in layer.span]
    if not present:
        return None
    return Spans(
        layers=tuple(layer.layer for layer in present),
        **curves([layer.span[kind, tag] for layer in present]),
    )


def matchings(layers: Sequence[LayerMeasures], seed: int) -> dict[str, Matching]:
    matches: dict[str, list[dict[str, float]]] = {}
    places: dict[str, list[int]] = {}
    for layer in layers:
        for kind, matrix in layer.matrices.items():
            matches.setdefault(kind, []).append(asdict(matching(matrix, seed)))
            places.setdefault(kind, []).append(layer.layer)
    return {
        kind: Matching(layers=tuple(places[kind]), **curves(rows)) for kind, rows in matches.items()
    }


def rows_of(matrix: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in matrix.tolist())


def halves_of(
    layers: Sequence[LayerMeasures], moved: Mapping[str, Tensor], pivot: str
) -> dict[str, Tensor]:
    by_tag = {}
    for tag in moved:
        if tag == pivot:
            continue
        own = moved[tag] - moved[pivot]
        halves = torch.stack([own[::2].mean(0), own[1::2].mean(0)])
        for layer in layers:
            if tag not in layer.clear:
                halves[:, layer.layer] = math.nan
        by_tag[tag] = halves
    return by_tag
