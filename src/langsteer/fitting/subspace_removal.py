"""Subspace removal: what tells languages apart is taken out of the middle layers, and put back at the top.

At layer l, over the mean states m_1 … m_K of all languages of the corpus, the pivot's too, and with U [hidden, r]
the first r left singular vectors of the means less their mean,

    middle layers:  h ← h − removed × U Uᵀ (h − c)          top layers:  h ← h + restored × U Uᵀ (h − c)

with c the pivot's mean, or 0 (centre `origin`). After Zhao et al. (arXiv 2505.15257), whose published code has r =
K − 1, removed = 0.3 in layers 10–19 of 28 and restored = 0.1 in layers 20–27 of one model, at all tokens; its
subspace is this one (it moves the point that the means are seen from, which leaves their span). Its c is 0, which
is not the default here: where one direction carries most of every state, as in Gemma 3 270M, most of what all
languages have in common lies in the span too, and removing a tenth of that breaks the model. There the
strengths are the best of a grid on the task; here both are multiplied by one number, chosen on held-out text as
the strength of a vector is. Of a pair of languages alone there is one direction: that of the mean difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from pydantic import NonNegativeInt
from torch import Tensor

from langsteer.errors import FitError
from langsteer.fitting.options import Method, PooledOptions, check_corpus
from langsteer.fitting.published import (
    Parts,
    in_sequence,
    language_means,
    layers_between,
    origin,
    stacked,
)
from langsteer.fitting.search import search
from langsteer.model.model import Model
from langsteer.states.intervention import PositionKind
from langsteer.steering.low_rank import LowRank
from langsteer.steering.sequence import ChangeSequence
from langsteer.text.corpus import ParallelCorpus

NAME = "subspace_removal"
Centre = Literal["pivot", "origin"]
LEAST = 1e-6  # of the largest singular value: below it a direction is none


@dataclass(frozen=True)
class SubspaceOptions(PooledOptions):
    """`rank`: r, or 0 for one less than there are languages. `middle`, `top`: from and up to which
    share of the depth. `removed`, `restored`: shares of the component, at strength 1. `centre`: from
    where it is counted, the `pivot`'s mean or the `origin`.
    """

    rank: NonNegativeInt = 0
    middle: tuple[float, float] = (0.36, 0.71)
    top: tuple[float, float] = (0.71, 1.0)
    removed: float = 0.3
    restored: float = 0.1
    centre: Centre = "pivot"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.centre not in get_args(Centre):
            known = ", ".join(get_args(Centre))
            raise FitError(f"{NAME} has the centres {known}, not {self.centre!r}")

    @property
    def acts_at(self) -> PositionKind:
        return self.positions or "all"

    @property
    def usual_strengths(self) -> tuple[float, ...]:
        return (0.25, 0.5, 1.0)


def fit(
    model: Model,
    corpus: ParallelCorpus,
    options: SubspaceOptions = SubspaceOptions(),
    whole: ParallelCorpus | None = None,
    layers: Sequence[int] = (),
) -> ChangeSequence:
    """Fit at the middle and top layers; with `layers`, or the options' one, it is removed there.

    `whole` is the corpus in all its languages. Raises FitError where the rank is not one that the
    languages have, or they have the same mean states.
    """
    check_corpus(corpus)
    named = tuple(layers) or (() if options.layer is None else (options.layer,))
    middle = named or layers_between(model, *options.middle)
    above = layers_between(model, *options.top) if options.restored else ()
    top = tuple(layer for layer in above if layer > max(middle))
    means = language_means(model, whole or corpus, (*middle, *top), options.pool)
    about = origin(model, corpus, options, NAME, languages=list(means))
    changes = []
    for layer in (*sorted(middle), *top):
        basis = language_subspace(stacked(means, layer), options.rank).float()
        centre = means[corpus.pivot].mean[layer].float() * (options.centre == "pivot")
        changes.append(
            LowRank(
                values=basis @ (basis.T @ centre),
                up=-basis,
                down=basis.T.contiguous(),
                layer=layer,
                strength=options.removed if layer in middle else -options.restored,
                positions=options.acts_at,
                state_norm=means[corpus.language].norm[layer],
                **about,
            )
        )
    return in_sequence(changes, options, NAME, strength=options.strength)


def language_subspace(means: Tensor, rank: int = 0) -> Tensor:
    """Orthonormal directions [hidden, r] in which the columns of `means` [hidden, languages] differ most.

    `rank` 0 is as many as they differ in. Raises FitError where there are not so many.
    """
    left, values, _ = torch.linalg.svd(means - means.mean(1, keepdim=True), full_matrices=False)
    there = int((values > LEAST * means.norm(dim=0).max()).sum())
    wanted = rank or there
    if not 0 < wanted <= there:
        raise FitError(
            f"the mean states of {means.shape[1]} languages differ in {there} directions, "
            f"and {wanted} {'are' if wanted != 1 else 'is'} asked for: name a lower rank, or more languages"
        )
    return left[:, :wanted]


def learn(
    model: Model,
    corpus: ParallelCorpus,
    layers: Sequence[int] = (),
    strengths: Sequence[float] | None = None,
    options: SubspaceOptions = SubspaceOptions(),
    whole: ParallelCorpus | None = None,
) -> ChangeSequence:
    """Fit on one part of the corpus, at all of `layers` together, and choose the strength on another."""
    parts = Parts.of(corpus, whole)
    fitted = fit(model, parts.fit, options, parts.whole, layers)
    tried = options.usual_strengths if strengths is None else strengths
    return search(model, parts.choose, [fitted], tried)


METHOD = Method(
    NAME,
    fit,
    SubspaceOptions,
    learn=learn,
    all_languages=True,
    title="language subspace removed",
)
