"""Mean difference: v = mean(h_pivot) − mean(h_language), over pooled hidden states at one layer.

The vector that minimises the squared distance between translated pairs at that layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from langsteer.capture import Pool, mean_states
from langsteer.corpus import ParallelCorpus
from langsteer.fitting.common import Options, check_corpus, chosen_layer, make_vector
from langsteer.models import Model
from langsteer.vector import SteeringVector

NAME = "mean_difference"


@dataclass(frozen=True)
class MeanDifferenceOptions(Options):
    """`pool`: how a text's token states become one; see `langsteer.capture.Pool`."""

    pool: Pool = "mean"


def fit(
    model: Model,
    corpus: ParallelCorpus,
    options: MeanDifferenceOptions = MeanDifferenceOptions(),
) -> SteeringVector:
    """Fit at one layer."""
    return fit_layers(model, corpus, [chosen_layer(model, options)], options)[0]


def fit_layers(
    model: Model,
    corpus: ParallelCorpus,
    layers: Sequence[int],
    options: MeanDifferenceOptions = MeanDifferenceOptions(),
) -> list[SteeringVector]:
    """Fit at several layers, in one pass over each text."""
    language = check_corpus(corpus)
    there = mean_states(
        model,
        corpus.texts[corpus.pivot],
        layers,
        pool=options.pool,
        progress=f"{corpus.pivot} states",
    )
    here = mean_states(
        model, corpus.texts[language], layers, pool=options.pool, progress=f"{language} states"
    )
    return [
        make_vector(
            model,
            corpus,
            replace(options, layer=layer),
            values=there.mean[layer] - here.mean[layer],
            layer=layer,
            method=NAME,
            state_norm=here.norm[layer],
        )
        for layer in layers
    ]
