"""How far the language of a sentence can be told from its state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from langsteer.analysis.layers.results import Identity, Together
from langsteer.errors import AnalysisError
from langsteer.extras import need
from langsteer.progress import track

FOLDS = 5
PENALTY = 0.1  # inverse L2 weight of the probe


def identities(
    before: Mapping[str, Sequence[Tensor]],
    after: Mapping[str, Sequence[Tensor]],
    pivot: str,
    *,
    folds: int = FOLDS,
    seed: int = 0,
    progress: str | None = None,
) -> "Identities":
    """Tell languages apart at each layer, unsteered and steered.

    `before[tag][layer]` is [lines, hidden], the same lines in all languages, the pivot among
    them; `after` likewise for those that were steered. A tensor in `after` that is the very one in
    `before` was not steered there.
    """
    layers = len(before[pivot])
    at_layers = [
        _at_layer(
            {tag: states[layer] for tag, states in before.items()},
            {tag: states[layer] for tag, states in after.items()},
            pivot,
            folds,
            seed,
        )
        for layer in track(range(layers), progress, layers)
    ]
    together = [
        Together(*zip(*(numbers.together[steered] for numbers in at_layers), strict=True))
        for steered in (False, True)
    ]
    languages = [
        {
            tag: Identity(
                *zip(*(numbers.languages[steered][tag] for numbers in at_layers), strict=True)
            )
            for tag in group
            if tag != pivot
        }
        for steered, group in ((False, before), (True, after))
    ]
    return Identities(together[0], together[1] if after else None, languages[0], languages[1])


@dataclass(frozen=True)
class Identities:
    """What `identities` found; `after` and `together_after` are of the steered languages."""

    together_before: Together
    together_after: Together | None
    before: dict[str, Identity]
    after: dict[str, Identity]


@dataclass(frozen=True)
class _LayerIdentity:
    """At one layer, unsteered [False] and steered [True]: the numbers of `Together`, and those of
    `Identity` by language, in the order of their fields.
    """

    together: dict[bool, tuple[float, float]]
    languages: dict[bool, dict[str, tuple[float, ...]]]


def _at_layer(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], pivot: str, folds: int, seed: int
) -> _LayerIdentity:
    tags, steered = list(before), {**before, **after}
    home = tags.index(pivot)
    shares, steered_shares = probe_languages(
        list(before.values()), list(steered.values()), folds=folds, seed=seed
    )
    refitted = shares
    if any(after[tag] is not before[tag] for tag in after):
        refitted, _ = probe_languages(list(steered.values()), folds=folds, seed=seed)
    means = torch.stack([states.double().mean(0) for states in before.values()])

    def numbers(tag: str, states: Tensor, known: Tensor, mistaken: Tensor) -> tuple[float, ...]:
        place = tags.index(tag)
        scale = float(means[[place, home]].norm(dim=1).mean())
        plain = float((means[place] - means[home]).norm())
        distance = float((states.double().mean(0) - means[home]).norm())
        return (
            _over(distance, scale),
            _over(distance, plain),
            nearest_share(states, means, home),
            between_share([states, before[pivot]]),
            float(known[place, place]),
            float(mistaken[place, home]),
        )

    return _LayerIdentity(
        {
            False: (float(shares.diagonal().mean()), between_share(list(before.values()))),
            True: (float(refitted.diagonal().mean()), between_share(list(steered.values()))),
        },
        {
            False: {tag: numbers(tag, states, shares, shares) for tag, states in before.items()},
            True: {
                tag: numbers(tag, states, refitted, steered_shares) for tag, states in after.items()
            },
        },
    )


def _over(distance: float, scale: float) -> float:
    return distance / scale if scale > 0 else float("nan")


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
    also: Sequence[Tensor] = (),
    *,
    folds: int = FOLDS,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Which language a linear classifier takes each language's sentences for.

    `states[g]`, [lines, hidden], has the same lines in each language. A logistic regression on
    standardised states is fitted on some lines in all languages and asked about the others, so
    that no sentence is on one side and its translation on the other. Returns shares
    [languages, languages]: row g, column h is the share of g's sentences taken for h; their
    diagonal's mean is the accuracy, and 1 / languages is chance. The second tensor has the
    shares that the same classifiers find among `also`, other states of the same lines.
    """
    count, lines = len(states), len(states[0])
    if any(len(group) != lines for group in (*states, *also)):
        raise AnalysisError("the language probe needs the same lines in each language")
    parts = _folds(lines, min(folds, lines), seed)
    taken_for = torch.zeros(count, count, dtype=torch.float64)
    also_taken_for = torch.zeros_like(taken_for)
    for part in parts:
        held_out = torch.zeros(lines, dtype=torch.bool)
        held_out[part] = True
        probe = _probe()
        train = torch.cat([group[~held_out] for group in states])
        labels = torch.arange(count).repeat_interleave(int((~held_out).sum()))
        probe.fit(train.float().numpy(), labels.numpy())
        _count(probe, [group[held_out] for group in states], taken_for)
        _count(probe, [group[held_out] for group in also], also_taken_for)
    return taken_for / lines, also_taken_for / lines


def _count(probe: Any, groups: Sequence[Tensor], into: Tensor) -> None:
    for row, group in enumerate(groups):
        predicted = torch.from_numpy(probe.predict(group.float().numpy()))
        into[row] += torch.bincount(predicted, minlength=len(into))


def _folds(lines: int, count: int, seed: int) -> list[Tensor]:
    if count < 2:
        raise AnalysisError("the language probe needs at least 2 lines: one to fit, one to ask")
    order = torch.randperm(lines, generator=torch.Generator().manual_seed(seed))
    return list(order.tensor_split(count))


def _probe() -> Any:
    models, pipeline, scaling = (
        need(f"sklearn.{module}", "analysis", "the language probe")
        for module in ("linear_model", "pipeline", "preprocessing")
    )
    probe = models.LogisticRegression(C=PENALTY, max_iter=500)
    return pipeline.make_pipeline(scaling.StandardScaler(), probe)
