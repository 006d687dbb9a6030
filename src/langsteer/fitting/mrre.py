"""MRRE: the prompt is turned towards the pivot at a middle layer, and what is written is turned back, later.

With m_P and m_L the mean states of the pivot's and the language's lines at layer i, and a_P and a_L those of
answers in the two languages to the same prompts (see `answers`) at layer j > i,

    layer i, the prompt:           h ← ‖h‖ (h + s (m_P − m_L)) ÷ ‖h + s (m_P − m_L)‖
    layer j, what is generated:    h ← ‖h‖ (h + anchor (a_L − a_P)) ÷ ‖h + anchor (a_L − a_P)‖

After Li et al. (arXiv 2511.23231): two vectors that are worked out beforehand, one that enhances reasoning by
steering towards English, and one that anchors the output in the language. It is not the paper's code, which is
not published, and its abstract is all that was read: the texts (there, of reasoning; here, of the corpus),
the length that is kept and the layers are this file's. i, of three, and s are those that make the model read
held-out text most as it reads the pivot's; j is at 0.8 of the depth and anchor is 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import PositiveInt
from torch import Tensor

from langsteer.fitting.answers import AnswerOptions, answers_read
from langsteer.fitting.options import Method, PooledOptions, check_corpus
from langsteer.fitting.projection import layers_at
from langsteer.fitting.published import (
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
from langsteer.states.capture import mean_states
from langsteer.states.intervention import PositionKind
from langsteer.steering.sequence import ChangeSequence
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import ParallelCorpus

NAME = "mrre"
DEPTHS = (0.45, 0.55, 0.65)
DEPTH = 0.55
ANCHOR_DEPTH = 0.8


@dataclass(frozen=True)
class MrreOptions(PooledOptions):
    """`layer`, `strength` and `positions` are those of the reading part. `anchor_layer`: j, or None for
    the one at 0.8 of the depth. `anchor`: the strength there. `pairs` and `tokens` are as in `answers`.
    """

    anchor_layer: int | None = None
    anchor: float = 1.0
    pairs: PositiveInt = 48
    tokens: PositiveInt = 32

    @property
    def fitted_at(self) -> PositionKind:
        return self.positions or "prompt"


def fit(
    model: Model, corpus: ParallelCorpus, options: MrreOptions = MrreOptions()
) -> ChangeSequence:
    """Fit at the layers of the options. Raises FitError where j does not lie above i, no line is long
    enough for an answer, or the languages have the same mean states.
    """
    (layer,) = layers_at(model, (DEPTH,)) if options.layer is None else (options.layer,)
    (reading,) = _reading(model, corpus, [layer], options)
    writing = _writing(model, corpus, options, after=layer)
    return _together(reading.with_strength(options.strength), writing, options)


def learn(
    model: Model,
    corpus: ParallelCorpus,
    layers: Sequence[int] = (),
    strengths: Sequence[float] | None = None,
    options: MrreOptions = MrreOptions(),
) -> ChangeSequence:
    """Fit on one part of the corpus; choose i among `layers`, and s among `strengths`, on another."""
    parts = Parts.of(corpus)
    own = () if options.layer is None else (options.layer,)
    named = tuple(layers) or own or layers_at(model, DEPTHS)
    writing = _writing(model, parts.fit, options, after=max(named))
    tried = options.usual_strengths if strengths is None else strengths
    reading = search(model, parts.choose, _reading(model, parts.fit, list(named), options), tried)
    return _together(reading, writing, options, scores=reading.scores)


def _reading(
    model: Model, corpus: ParallelCorpus, layers: Sequence[int], options: MrreOptions
) -> list[SteeringVector]:
    language = check_corpus(corpus)
    means = language_means(model, corpus, layers, options.pool)
    here, there = means[language], means[corpus.pivot]
    return [
        _vector(
            model,
            corpus,
            options,
            there.mean[layer] - here.mean[layer],
            layer,
            here.norm[layer],
            options.fitted_at,
        )
        for layer in dict.fromkeys(layers)
    ]


def _writing(
    model: Model, corpus: ParallelCorpus, options: MrreOptions, after: int
) -> SteeringVector:
    chosen = options.anchor_layer
    layer = layer_at(model, ANCHOR_DEPTH) if chosen is None else model.check_layer(chosen)
    check_later(NAME, after, layer)
    asked = AnswerOptions(pairs=options.pairs, tokens=options.tokens)
    own, other = answers_read(model, corpus, asked)
    here = mean_states(model, own, [layer], progress=f"{corpus.language} answers")
    there = mean_states(model, other, [layer], progress=f"{corpus.pivot} answers")
    apart = here.mean[layer] - there.mean[layer]
    vector = _vector(model, corpus, options, apart, layer, here.norm[layer], "generated")
    return vector.with_strength(options.anchor)


def _vector(
    model: Model,
    corpus: ParallelCorpus,
    options: MrreOptions,
    apart: Tensor,
    layer: int,
    norm: float,
    positions: PositionKind,
) -> SteeringVector:
    return SteeringVector(
        values=check_apart(apart, corpus, layer).float(),
        layer=layer,
        positions=positions,
        state_norm=norm,
        keeps_length=True,
        **origin(model, corpus, options, NAME),
    )


def _together(
    reading: SteeringVector, writing: SteeringVector, options: MrreOptions, **fields: object
) -> ChangeSequence:
    used = replace(options, layer=reading.layer, anchor_layer=writing.layer)
    return in_sequence([reading, writing], used, NAME, **fields)


METHOD = Method(
    NAME,
    fit,
    MrreOptions,
    learn=learn,
    title="turned to the pivot, and back in writing (MRRE)",
    quick=True,
)
