"""Where languages lie: their means and sentences in two dimensions, layer by layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from langsteer.analysis.layers.results import Map, Places, Point
from langsteer.errors import AnalysisError
from langsteer.extras import need
from langsteer.progress import track
from langsteer.text.corpus import spread

MAPS = ("pca", "umap")


@dataclass
class _Axes:
    """Two axes of one layer: `project` gives coordinates that are centred, turned and scaled."""

    reducer: Any
    turn: Tensor
    centre: Tensor
    scale: float

    def project(self, states: Tensor) -> Tensor:
        plain = torch.from_numpy(self.reducer.transform(states.float().numpy())).double()
        return (plain - self.centre) @ self.turn / self.scale


def draw_map(
    before: Mapping[str, Sequence[Tensor]],
    after: Mapping[str, Sequence[Tensor]],
    pivot: str,
    *,
    method: str = "pca",
    shown: int = 100,
    seed: int = 0,
    progress: str | None = None,
) -> Map:
    """Places of languages and sentences in two dimensions, by layer; see `results.Map`.

    `before[tag][layer]` is [lines, hidden], the same lines in all languages; `after` likewise for
    those that were steered. Up to `shown` sentences, evenly spread, are kept of each language.
    """
    layers = len(before[pivot])
    lines = spread(len(before[pivot][0]), shown)
    drawn: dict[bool, dict[str, list[tuple[Point, tuple[Point, ...]]]]] = {
        steered: {tag: [] for tag in group} for steered, group in ((False, before), (True, after))
    }
    explained, reach, previous = [], 0.0, None
    for layer in track(range(layers), progress, layers):
        stacked = torch.cat([states[layer] for states in before.values()])
        axes, previous = _fit_axes(stacked, method, seed, previous, _rows_of(before, pivot))
        ratio = getattr(axes.reducer, "explained_variance_ratio_", None)
        explained.append(float("nan") if ratio is None else float(ratio.sum()))
        for steered, group in ((False, before), (True, after)):
            for tag, states in group.items():
                places = axes.project(states[layer])
                sentences = places[list(lines)]
                reach = max(reach, float(sentences.abs().max()))
                drawn[steered][tag].append((_point(places.mean(0)), tuple(map(_point, sentences))))
    sides = [
        {
            tag: Places(tuple(mean for mean, _ in rows), tuple(points for _, points in rows))
            for tag, rows in drawn[steered].items()
        }
        for steered in (False, True)
    ]
    return Map(method, lines, tuple(explained), 1.05 * reach, sides[0], sides[1])


def _rows_of(groups: Mapping[str, Sequence[Tensor]], tag: str) -> slice:
    lines = len(groups[tag][0])
    start = list(groups).index(tag) * lines
    return slice(start, start + lines)


def _fit_axes(
    states: Tensor, method: str, seed: int, previous: Tensor | None, pivot: slice
) -> tuple[_Axes, Tensor]:
    reducer = _reducer(method, seed)
    with np.errstate(invalid="ignore"):  # states that are all the same have no variance to share
        plain = torch.from_numpy(reducer.fit_transform(states.float().numpy())).double()
    centre = plain.mean(0)
    plain = plain - centre
    scale = float(plain.square().sum(1).mean().sqrt()) or 1.0
    turn = _first_turn(plain[pivot]) if previous is None else _turn(plain, previous)
    return _Axes(reducer, turn, centre, scale), plain @ turn / scale


def _first_turn(pivot: Tensor) -> Tensor:
    """Mirrors the axes so that the pivot's mean lies at the left and below."""
    sides = torch.where(pivot.mean(0) > 0, -1.0, 1.0)
    return torch.diag(sides).double()


def _turn(places: Tensor, previous: Tensor) -> Tensor:
    """The rotation or reflection that brings `places` nearest to `previous` (Procrustes)."""
    from scipy.linalg import orthogonal_procrustes

    return torch.from_numpy(orthogonal_procrustes(places.numpy(), previous.numpy())[0])


def _reducer(method: str, seed: int) -> Any:
    if method == "umap":
        return need("umap", "umap", "the map by UMAP").UMAP(
            n_components=2, random_state=seed, n_jobs=1
        )
    if method != "pca":
        raise AnalysisError(f"there is no map {method!r}: choose from {', '.join(MAPS)}")
    return need("sklearn.decomposition", "analysis", "the map").PCA(
        n_components=2, random_state=seed
    )


def _point(place: Tensor) -> Point:
    return round(float(place[0]), 4), round(float(place[1]), 4)
