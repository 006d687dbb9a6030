"""LRP2: the language's mean is swapped for the pivot's at an early layer, and swapped back at a late one.

With m_P and m_L the mean states of the pivot's and the language's lines, at layers i < j,

    layer i:  h ← h − m_L + m_P          layer j:  h ← h − m_P + m_L

After language representation projection (Xu et al., arXiv 2311.03788): mean states are means over sentences of
the means over their tokens, and there is nothing to learn. The paper names the layers by what is best on the
task; here i is the one of three whose first half makes the model read held-out text most as it reads the
pivot's, without labels, and j is at 0.9 of the depth. Both halves act at all tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from langsteer.fitting.options import Method, check_corpus
from langsteer.fitting.projection import layers_at
from langsteer.fitting.published import (
    EverywhereOptions,
    Parts,
    check_apart,
    check_later,
    in_sequence,
    language_means,
    layer_at,
    origin,
)
from langsteer.fitting.search import search
from langsteer.model.model import Model
from langsteer.steering.sequence import ChangeSequence
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import ParallelCorpus

NAME = "lrp2"
DEPTHS = (0.2, 0.35, 0.5)
DEPTH = 0.35
BACK = 0.9


@dataclass(frozen=True)
class Lrp2Options(EverywhereOptions):
    """`layer`: i, and `back`: j, or None for the one at 0.9 of the depth."""

    back: int | None = None


def fit(
    model: Model, corpus: ParallelCorpus, options: Lrp2Options = Lrp2Options()
) -> ChangeSequence:
    """Fit at the layers of the options. Raises FitError where j does not lie above i, or the
    languages have the same mean states.
    """
    (layer,) = layers_at(model, (DEPTH,)) if options.layer is None else (options.layer,)
    there, back = _halves(model, corpus, [layer], options)
    return _together(there[0], back, options, strength=options.strength)


def learn(
    model: Model,
    corpus: ParallelCorpus,
    layers: Sequence[int] = (),
    strengths: Sequence[float] | None = None,
    options: Lrp2Options = Lrp2Options(),
) -> ChangeSequence:
    """Fit on one part of the corpus; choose i among `layers`, and the strength, on another."""
    parts = Parts.of(corpus)
    own = () if options.layer is None else (options.layer,)
    named = tuple(layers) or own or layers_at(model, DEPTHS)
    there, back = _halves(model, parts.fit, named, options)
    tried = options.usual_strengths if strengths is None else strengths
    at_text = [change.at(options.fitted_at) for change in there]
    best = search(model, parts.choose, at_text, tried)
    (chosen,) = (change for change in there if change.layer == best.layer)
    return _together(chosen, back, options, strength=best.strength, scores=best.scores)


def _halves(
    model: Model, corpus: ParallelCorpus, layers: Sequence[int], options: Lrp2Options
) -> tuple[list[SteeringVector], SteeringVector]:
    """What is added at each of `layers`, and what is added at j; both at strength 1."""
    language = check_corpus(corpus)
    last = layer_at(model, BACK) if options.back is None else model.check_layer(options.back)
    check_later(NAME, max(layers), last)
    means = language_means(model, corpus, (*layers, last), options.pool)
    about = origin(model, corpus, options, NAME)

    def half(layer: int, sign: float) -> SteeringVector:
        apart = means[corpus.pivot].mean[layer] - means[language].mean[layer]
        return SteeringVector(
            values=(sign * check_apart(apart, corpus, layer)).float(),
            layer=layer,
            positions=options.acts_at,
            state_norm=means[language].norm[layer],
            **about,
        )

    return [half(layer, 1.0) for layer in dict.fromkeys(layers)], half(last, -1.0)


def _together(
    there: SteeringVector, back: SteeringVector, options: Lrp2Options, **fields: object
) -> ChangeSequence:
    used = replace(options, layer=there.layer, back=back.layer)
    return in_sequence([there, back], used, NAME, **fields)


METHOD = Method(
    NAME, fit, Lrp2Options, learn=learn, title="means swapped, and back (LRP2)", quick=True
)
