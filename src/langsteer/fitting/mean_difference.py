"""Mean difference: v = mean(h_pivot) − mean(h_language), over pooled hidden states at one layer.

The vector that minimises the squared distance between translated pairs at that layer.
"""

from collections.abc import Sequence

from langsteer.fitting.options import Method, PooledOptions, check_corpus, chosen_layer, make_vector
from langsteer.fitting.readings import PivotReadings
from langsteer.model.model import Model
from langsteer.states.capture import mean_states
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import ParallelCorpus

NAME = "mean_difference"


def fit(
    model: Model, corpus: ParallelCorpus, options: PooledOptions = PooledOptions()
) -> SteeringVector:
    """Fit at one layer."""
    return fit_layers(model, corpus, [chosen_layer(model, options)], options)[0]


def fit_layers(
    model: Model,
    corpus: ParallelCorpus,
    layers: Sequence[int],
    options: PooledOptions = PooledOptions(),
    readings: PivotReadings | None = None,
) -> list[SteeringVector]:
    """Fit at several layers, in one pass over each text."""
    language = check_corpus(corpus)
    there = PivotReadings.of(model, corpus, readings).mean_states(tuple(layers), options.pool)
    here = mean_states(
        model, corpus.texts[language], layers, pool=options.pool, progress=f"{language} states"
    )
    return [
        make_vector(
            model,
            corpus,
            options,
            values=there.mean[layer] - here.mean[layer],
            layer=layer,
            method=NAME,
            state_norm=here.norm[layer],
        )
        for layer in layers
    ]


METHOD = Method(NAME, fit, PooledOptions, fit_layers, quick=True)
