"""How far the language of a sentence can be told from its state, and where languages lie on a map."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from langsteer.analysis.results import Map, Places, Point
from langsteer.errors import AnalysisError, MissingExtraError
from langsteer.progress import track

FOLDS = 5
PENALTY = 0.1  # inverse L2 weight of the probe
MAPS = ("pca", "umap")


def mean_distance(here: Tensor, there: Tensor, scale: float) -> float:
    """Distance between two mean states [hidden], over `scale`; NaN where that is 0."""
    return float((here - there).norm()) / scale if scale > 0 else float("nan")


def between_share(groups: Sequence[Tensor]) -> float:
    """Share of the variance that the group explains (η² of a one-way analysis of variance).

    Sum of squares between the means of `groups`, each [sentences, hidden], over the total, summed
    over dimensions. NaN where all sentences are the same.
    """
    sides = [group.double() for group in groups]
    everything = torch.cat(sides)
    centre = everything.mean(0)
    total = float((everything - centre).square().sum())
    between = sum(len(side) * float((side.mean(0) - centre).square().sum()) for side in sides)
    return between / total if total > 0 else float("nan")


def nearest_share(states: Tensor, means: Tensor, of: int) -> float:
    """Share of `states` [sentences, hidden] nearest (Euclidean) to row `of` of `means`."""
    distances = torch.cdist(states.double(), means.double(), compute_mode=_EXACT)
    return float((distances.argmin(1) == of).double().mean())


_EXACT = "donot_use_mm_for_euclid_dist"


def probe_languages(
    states: Sequence[Tensor],
    also: Sequence[Tensor] | None = None,
    *,
    folds: int = FOLDS,
    seed: int = 0,
) -> tuple[Tensor, Tensor | None]:
    """Which language a linear classifier takes each language's sentences for.

    `states[g]`, [lines, hidden], has the same lines in each language. A logistic regression on
    standardised states is fitted on some lines in all languages and asked about the others, so
    that no sentence is on one side and its translation on the other. Returns shares
    [languages, languages]: row g, column h is the share of g's sentences taken for h; their
    diagonal's mean is the accuracy, and 1 / languages is chance. With `also`, other states of the
    same lines, the shares that the same classifiers find there too.
    """
    count, lines = len(states), len(states[0])
    if any(len(group) != lines for group in (*states, *(also or ()))):
        raise AnalysisError("the language probe needs the same lines in each language")
    parts = _folds(lines, min(folds, lines), seed)
    found = torch.zeros(count, count, dtype=torch.float64)
    found_also = torch.zeros_like(found)
    for part in parts:
        held_out = torch.zeros(lines, dtype=torch.bool)
        held_out[part] = True
        probe = _probe()
        train = torch.cat([group[~held_out] for group in states])
        labels = torch.arange(count).repeat_interleave(int((~held_out).sum()))
        probe.fit(train.float().numpy(), labels.numpy())
        _count(probe, [group[held_out] for group in states], found)
        if also is not None:
            _count(probe, [group[held_out] for group in also], found_also)
    return found / lines, found_also / lines if also is not None else None


def _count(probe: Any, groups: Sequence[Tensor], into: Tensor) -> None:
    for row, group in enumerate(groups):
        taken = torch.from_numpy(probe.predict(group.float().numpy()))
        into[row] += torch.bincount(taken, minlength=len(into))


def _folds(lines: int, count: int, seed: int) -> list[Tensor]:
    if count < 2:
        raise AnalysisError("the language probe needs at least 2 lines: one to fit, one to ask")
    order = torch.randperm(lines, generator=torch.Generator().manual_seed(seed))
    return list(order.tensor_split(count))


def _probe() -> Any:
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise MissingExtraError("the language probe", "scikit-learn", "analysis") from error
    return make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=500))


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
    kept = spread(len(before[pivot][0]), shown)
    found: dict[bool, dict[str, list[tuple[Point, tuple[Point, ...]]]]] = {
        steered: {tag: [] for tag in group} for steered, group in ((False, before), (True, after))
    }
    explained, reach, previous = [], 0.0, None
    for layer in track(range(layers), progress, layers):
        whole = torch.cat([states[layer] for states in before.values()])
        axes, previous = _fit_axes(whole, method, seed, previous, _rows_of(before, pivot))
        ratio = getattr(axes.reducer, "explained_variance_ratio_", None)
        explained.append(float("nan") if ratio is None else float(ratio.sum()))
        for steered, group in ((False, before), (True, after)):
            for tag, states in group.items():
                places = axes.project(states[layer])
                sentences = places[list(kept)]
                reach = max(reach, float(sentences.abs().max()))
                found[steered][tag].append((_point(places.mean(0)), tuple(map(_point, sentences))))
    sides = [
        {
            tag: Places(tuple(mean for mean, _ in rows), tuple(points for _, points in rows))
            for tag, rows in found[steered].items()
        }
        for steered in (False, True)
    ]
    return Map(method, kept, tuple(explained), 1.05 * reach, sides[0], sides[1])


def spread(count: int, wanted: int) -> tuple[int, ...]:
    """Up to `wanted` of the places 0 … count - 1, evenly spread."""
    wanted = min(count, wanted)
    return tuple(i * count // wanted for i in range(wanted))


def _rows_of(groups: Mapping[str, Sequence[Tensor]], tag: str) -> slice:
    lines = len(groups[tag][0])
    start = list(groups).index(tag) * lines
    return slice(start, start + lines)


def _fit_axes(
    states: Tensor, method: str, seed: int, previous: Tensor | None, pivot: slice
) -> tuple[_Axes, Tensor]:
    reducer = _reducer(method, seed)
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
        try:
            from umap import UMAP
        except ImportError as error:
            raise MissingExtraError("the map by UMAP", "umap-learn", "umap") from error
        return UMAP(n_components=2, random_state=seed)
    if method != "pca":
        raise AnalysisError(f"there is no map {method!r}: choose from {', '.join(MAPS)}")
    try:
        from sklearn.decomposition import PCA
    except ImportError as error:
        raise MissingExtraError("the map", "scikit-learn", "analysis") from error
    return PCA(n_components=2, random_state=seed)


def _point(place: Tensor) -> Point:
    return round(float(place[0]), 4), round(float(place[1]), 4)
