"""ITLC: a step towards the language at a middle layer, within the space that tells languages apart.

Over pooled states x of lines in all languages of the corpus, the pivot's too, at one layer, with D the deviation of
each dimension, linear discriminant analysis of the languages gives directions S [hidden, k] for x ÷ D. With m_L and
m_P the language's and the pivot's means, and S⁺ the pseudoinverse,

    z_k = S (m_k ÷ D)          h ← h + strength × D × ((z_L − z_P) S⁺)

so that of the mean difference there is left what lies in the span of S. After Lopo et al. (arXiv 2506.12450), whose
published code has k = 100 of 204 languages, strength 0.5, the prompt and what is generated, and the block below the
middle. There the step is added as it is for x ÷ D, and dimensions that a classifier hardly uses (weights under 0.01)
are left out; here the step is brought back by D, and all are used. With K languages there are K − 1 directions, and
of a pair alone one.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor

from langsteer.extras import need
from langsteer.fitting.options import Method, PooledOptions, check_corpus, make_vector
from langsteer.fitting.published import Parts, check_apart, check_single
from langsteer.model.model import Model
from langsteer.states.capture import sentence_states
from langsteer.states.intervention import PositionKind
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import ParallelCorpus

NAME = "itlc"


@dataclass(frozen=True)
class ItlcOptions(PooledOptions):
    """`components`: k, at most. `lines`: how many, at most, are read in each language, spread evenly."""

    strength: float = 0.5
    components: PositiveInt = 100
    lines: PositiveInt = 200

    @property
    def acts_at(self) -> PositionKind:
        return self.positions or "all"

    @property
    def usual_strengths(self) -> tuple[float, ...]:
        return (self.strength,)


@dataclass(frozen=True, eq=False)
class LanguageSpace:
    """Mean states of each language [hidden], the deviation of each dimension, and an orthonormal basis of
    the directions [hidden, k] that tell standardised states of languages apart; all float64.
    """

    means: dict[str, Tensor]
    deviation: Tensor
    basis: Tensor
    norms: dict[str, float]

    def within(self, step: Tensor) -> Tensor:
        """What of a step [hidden] between states lies in the space, [hidden]."""
        scaled = step / self.deviation
        return (self.basis @ (self.basis.T @ scaled)) * self.deviation


def fit(
    model: Model,
    corpus: ParallelCorpus,
    options: ItlcOptions = ItlcOptions(),
    whole: ParallelCorpus | None = None,
) -> SteeringVector:
    """Fit at the options' layer, or the block below the middle.

    `whole` is the corpus in all its languages. Raises FitError where the languages have the same
    states, and MissingExtraError without scikit-learn.
    """
    language = check_corpus(corpus)
    chosen = options.layer
    layer = max(0, model.layers // 2 - 1) if chosen is None else model.check_layer(chosen)
    space = _space(model, whole or corpus, layer, options)
    apart = check_apart(space.means[language] - space.means[corpus.pivot], corpus, layer)
    return make_vector(
        model,
        corpus,
        options,
        values=space.within(apart),
        layer=layer,
        method=NAME,
        state_norm=space.norms[language],
    )


def learn(
    model: Model,
    corpus: ParallelCorpus,
    layers: Sequence[int] = (),
    strengths: Sequence[float] | None = None,
    options: ItlcOptions = ItlcOptions(),
    whole: ParallelCorpus | None = None,
) -> SteeringVector:
    """Fit on the part of the corpus that is for it, at one layer and strength."""
    check_single(NAME, "layer", layers)
    check_single(NAME, "strength", strengths)
    parts = Parts.of(corpus, whole)
    options = replace(options, layer=layers[0]) if layers else options
    fitted = fit(model, parts.fit, options, parts.whole)
    return fitted.with_strength(strengths[0]) if strengths else fitted


def language_space(states: dict[str, Tensor], components: int) -> LanguageSpace:
    """The space of pooled states of each language's lines, [lines, hidden] each."""
    analysis = need("sklearn.discriminant_analysis", "fitting", NAME)
    rows = torch.cat(list(states.values())).double()
    labels = np.repeat(np.arange(len(states)), [len(own) for own in states.values()])
    deviation = rows.std(0, unbiased=False)
    deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    scaled = (rows - rows.mean(0)) / deviation
    basis = torch.from_numpy(_directions(analysis, scaled.numpy(), labels, components))
    return LanguageSpace(
        means={tag: own.double().mean(0) for tag, own in states.items()},
        deviation=deviation,
        basis=torch.linalg.qr(basis).Q,
        norms={tag: float(own.norm(dim=1).mean()) for tag, own in states.items()},
    )


def _directions(analysis: Any, scaled: Any, labels: Any, components: int) -> Any:
    """S, as many as there are of at most `components`."""
    most = min(components, len(set(labels.tolist())) - 1, scaled.shape[1])
    lda = analysis.LinearDiscriminantAnalysis(solver="svd", n_components=most)
    with warnings.catch_warnings():  # there may be fewer lines than dimensions
        warnings.simplefilter("ignore", UserWarning)
        lda.fit(scaled, labels)
    return np.ascontiguousarray(lda.scalings_[:, :most])


def _space(model: Model, corpus: ParallelCorpus, layer: int, options: ItlcOptions) -> LanguageSpace:
    few = corpus.some(options.lines)

    def read() -> LanguageSpace:
        states = {
            tag: sentence_states(
                model, lines, [layer], pool=options.pool, progress=f"{tag} states"
            )[:, 0]
            for tag, lines in few.texts.items()
        }
        return language_space(states, options.components)

    name = f"language space {layer} {options.pool} {options.components}"
    return model.kept.get(name, read, few.fingerprint)


METHOD = Method(
    NAME,
    fit,
    ItlcOptions,
    learn=learn,
    all_languages=True,
    title="towards the language, in the space of languages (ITLC)",
)
