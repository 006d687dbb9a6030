"""Fit a router: learn to tell languages apart by the hidden states of an early layer.

Linear discriminant analysis with shrinkage, fitted on beginnings of lines as well as on whole ones, so that short
texts are told apart too. How sure it may be is learned for each length on lines held out (temperature scaling;
Guo et al., arXiv 1706.04599). How far from a language its texts may lie is learned by leaving languages out: the
distance that best parts lines of the languages that were fitted from lines of those that were not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from langsteer.errors import FitError
from langsteer.extras import need
from langsteer.model.model import Model
from langsteer.states.capture import capture
from langsteer.steering.router import BEGINNINGS, LENGTHS, Bounds, Router
from langsteer.text.corpus import builtin, spread

DEPTH = 0.2
HELD_OUT = 5  # every fifth line
TEMPERATURES = torch.logspace(-1, 2, 61, dtype=torch.float64)
FEWEST_LINES = 20
_ANY = 1e9  # a distance that no text has
FEWEST_LANGUAGES = 6  # to leave some out
FOLDS = 4  # of languages left out by turns
KEPT = 0.95  # of the lines of languages that were fitted, at least
MOST_LINES = 100
# Times the distances that part most, for each of LENGTHS: texts from other sources than the fitted lines lie
# farther than those held out. Chosen by `python -m benchmarks.unseen`.
WIDTHS = (1.0, 1.0, 1.0, 1.05, 1.15)

Line = tuple[int, Tensor]  # the place of its language, and the mean states of its beginnings


def fit_router(
    model: Model,
    texts: Mapping[str, Sequence[str]],
    pivot: str = "en",
    *,
    with_builtin: bool = True,
    layer: int | None = None,
    most: int = MOST_LINES,
) -> Router:
    """Learn to tell languages apart; `texts` holds lines of each.

    The lines need not be translations of each other; of more than `most`, so many are read, spread
    evenly. `with_builtin` adds the languages of the built-in corpus, so that none of them is taken
    for one of `texts`; without it, `texts` has lines of the pivot too. From six languages on, the
    router also learns which texts are in none of them. `layer` None means the one at a fifth of
    the depth. Raises FitError where there are too few languages or lines, and
    MissingExtraError without scikit-learn.
    """
    if with_builtin:
        texts = {**builtin().texts, **texts}
    _check_texts(texts, pivot)
    where = model.check_layer(layer if layer is not None else round(DEPTH * model.layers))
    states = {
        tag: beginnings(model, [lines[i] for i in spread(len(lines), most)], where, f"{tag} states")
        for tag, lines in texts.items()
    }
    return router_of(states, pivot, where, {"name": model.name, "fingerprint": model.fingerprint})


def router_of(
    states: Mapping[str, Sequence[Tensor]], pivot: str, layer: int, model: dict[str, Any]
) -> Router:
    """The router of the states of lines, by language: of each line what `beginnings` gives."""
    fitted: list[Line] = []
    held_out: list[Line] = []
    for place, lines in enumerate(states.values()):
        for number, line in enumerate(lines):
            (fitted if number % HELD_OUT else held_out).append((place, line))
    told = _discriminant(fitted, len(states))
    temperatures = _temperatures(told.weight, told.bias, held_out)
    farthest = _farthest(fitted, held_out, list(states), pivot)
    told = _discriminant(fitted + held_out, len(states))
    return Router(
        weight=told.weight,
        bias=told.bias,
        temperatures=temperatures,
        languages=tuple(states),
        pivot=pivot,
        layer=layer,
        model=model,
        corpus={"lines": {tag: len(lines) for tag, lines in states.items()}},
        bounds=None if farthest is None else Bounds(told.directions, told.centres, farthest),
    )


def _temperatures(weight: Tensor, bias: Tensor, lines: Sequence[Line]) -> Tensor:
    """For each length of beginning, the temperature at which the right languages are likeliest."""
    best = torch.ones(len(BEGINNINGS))
    for length in range(len(BEGINNINGS)):
        long_enough = [(place, states[length]) for place, states in lines if len(states) > length]
        if not long_enough:
            best[length] = best[length - 1] if length else 1.0
            continue
        right = torch.tensor([place for place, _ in long_enough])
        states = torch.stack([states for _, states in long_enough])
        scores = states @ weight.double().T + bias.double()
        losses = [torch.nn.functional.cross_entropy(scores / t, right).item() for t in TEMPERATURES]
        best[length] = TEMPERATURES[int(np.argmin(losses))]
    return best


def _check_texts(texts: Mapping[str, Sequence[str]], pivot: str) -> None:
    if len(texts) < 2 or pivot not in texts:
        raise FitError(f"a router tells languages from {pivot}: give lines of it, and of others")
    for tag, lines in texts.items():
        if len(lines) < FEWEST_LINES:
            raise FitError(
                f"{tag} has {len(lines)} lines to tell it by, and {FEWEST_LINES} are the least"
            )


@dataclass(frozen=True, eq=False)
class _Discriminant:
    """Weight [languages, hidden] and bias [languages]; and the directions [directions, hidden] in
    which the languages differ, each with scatter 1 within them, and the languages' means there."""

    weight: Tensor
    bias: Tensor
    directions: Tensor
    centres: Tensor


def _discriminant(lines: Sequence[Line], count: int) -> _Discriminant:
    """From lines' languages and mean states."""
    module = need("sklearn.discriminant_analysis", "fitting", "telling languages apart")
    classifier = module.LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    classifier.fit(
        torch.cat([states for _, states in lines]).numpy(),
        np.repeat([place for place, _ in lines], [len(states) for _, states in lines]),
    )
    weight, bias = torch.tensor(classifier.coef_), torch.tensor(classifier.intercept_)
    if count == 2:  # scikit-learn gives the second against the first
        weight = torch.cat([torch.zeros_like(weight), weight])
        bias = torch.cat([torch.zeros_like(bias), bias])
    directions = _directions(weight, torch.tensor(classifier.covariance_))
    centres = torch.tensor(classifier.means_) @ directions.T
    return _Discriminant(weight.float(), bias.float(), directions.float(), centres.float())


def _directions(weight: Tensor, covariance: Tensor) -> Tensor:
    """The span of what tells the languages apart, each direction with scatter 1 within them."""
    apart = weight - weight.mean(0)
    values, vectors = torch.linalg.eigh(apart @ covariance @ apart.T)
    kept = values > 1e-6 * values.max()
    return (vectors[:, kept] / values[kept].sqrt()).T @ apart


def _farthest(
    fitted: Sequence[Line], held_out: Sequence[Line], languages: Sequence[str], pivot: str
) -> Tensor | None:
    """For each length, how far a text may lie from its language; None with too few languages.

    Whole lines of more than 16 tokens stand for those of 32.
    Languages are left out by turns. Of the lines held out, those of the languages that were fitted
    and those of the ones left out, where they would be steered, are parted as well as can be.
    """
    others = [place for place, tag in enumerate(languages) if tag != pivot]
    if len(languages) < FEWEST_LANGUAGES:
        return None
    inside: list[list[float]] = [[] for _ in LENGTHS]
    outside: list[list[float]] = [[] for _ in LENGTHS]
    for fold in range(FOLDS):
        left_out = set(others[fold::FOLDS])
        places = [place for place in range(len(languages)) if place not in left_out]
        told = _discriminant(
            [(places.index(place), states) for place, states in fitted if place in places],
            len(places),
        )
        of_pivot = places.index(languages.index(pivot))
        for place, states in held_out:
            nearest = (states @ told.weight.double().T + told.bias.double()).argmax(-1)
            around = told.centres.double()[nearest]
            distances = (states @ told.directions.double().T - around).norm(dim=-1)
            right = places.index(place) if place in places else None
            for row in range(len(states)):
                is_short_whole = row == len(states) - 1 < len(BEGINNINGS)
                if is_short_whole or nearest[row] == of_pivot:
                    continue
                if right is None:
                    outside[row].append(float(distances[row]))
                elif nearest[row] == right:
                    inside[row].append(float(distances[row]))
    return _widened([_parting(*pair) for pair in zip(inside, outside, strict=True)])


def _widened(distances: Sequence[float]) -> Tensor:
    """Distances by length, those of longer texts wider than what parts most; a longer text may
    lie no farther than a shorter one."""
    return (torch.tensor(distances) * torch.tensor(WIDTHS)).cummin(0).values


def _parting(inside: Sequence[float], outside: Sequence[float]) -> float:
    """The distance that parts most, among those that keep enough of what is inside; with nothing
    inside, any."""
    if not inside:
        return _ANY
    kept, left = np.sort(inside), np.sort(outside)
    tried = kept[int(np.ceil(KEPT * len(kept))) - 1 :]
    shares = [
        np.searchsorted(kept, at, "right") / len(kept)
        - np.searchsorted(left, at, "right") / max(1, len(left))
        for at in tried
    ]
    return float(tried[int(np.argmax(shares))])


def beginnings(model: Model, lines: Sequence[str], layer: int, progress: str) -> list[Tensor]:
    """For each line the mean states of its first 2, 4, … tokens, and of all of them, float64
    [beginnings, hidden].

    A causal model's states of a beginning are those it has in the whole line.
    """
    means: list[Tensor] = [torch.empty(0)] * len(lines)
    for batch in capture(model, lines, [layer], progress=progress):
        for i, states, source in zip(batch.index, batch.layers[layer], batch.source, strict=True):
            sums = states[source].double().cpu().cumsum(0)
            counts = [n for n in BEGINNINGS if n < len(sums)] + [len(sums)]
            means[i] = torch.stack([sums[n - 1] / n for n in counts])
    return means
