"""Probe: the direction by which a linear classifier tells the language from the pivot, at one layer.

The weights of a logistic regression on standardised pooled states, taken back to the states' own
units, and as long as the mean difference is along them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from langsteer.extras import need
from langsteer.fitting.options import (
    Method,
    PooledOptions,
    check_corpus,
    chosen_layer,
    make_vector,
    pair_states,
)
from langsteer.fitting.readings import PivotReadings
from langsteer.model.model import Model
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import ParallelCorpus

NAME = "probe"


@dataclass(frozen=True)
class ProbeOptions(PooledOptions):
    """`penalty`: inverse L2 weight of the regression."""

    penalty: float = 0.1


def fit(
    model: Model, corpus: ParallelCorpus, options: ProbeOptions = ProbeOptions()
) -> SteeringVector:
    """Fit at one layer."""
    return fit_layers(model, corpus, [chosen_layer(model, options)], options)[0]


def fit_layers(
    model: Model,
    corpus: ParallelCorpus,
    layers: Sequence[int],
    options: ProbeOptions = ProbeOptions(),
    readings: PivotReadings | None = None,
) -> list[SteeringVector]:
    """Fit at several layers, in one pass over each text."""
    check_corpus(corpus)
    classifier = _classifier(options)
    return [
        make_vector(
            model,
            corpus,
            options,
            values=_direction(there, here, classifier),
            layer=layer,
            method=NAME,
            state_norm=float(here.norm(dim=1).mean()),
        )
        for layer, there, here in pair_states(model, corpus, layers, options.pool, readings)
    ]


def _classifier(options: ProbeOptions) -> Any:
    linear_model = need("sklearn.linear_model", "fitting", NAME)
    scaler = need("sklearn.preprocessing", "fitting", NAME).StandardScaler()
    regression = linear_model.LogisticRegression(
        C=options.penalty, max_iter=2000, random_state=options.seed
    )
    return need("sklearn.pipeline", "fitting", NAME).make_pipeline(scaler, regression)


def _direction(there: Tensor, here: Tensor, classifier: Any) -> Tensor:
    states = torch.cat([there, here]).numpy()
    scaler, regression = classifier.fit(states, [1] * len(there) + [0] * len(here))
    direction = torch.from_numpy(regression.coef_[0] / scaler.scale_)
    direction /= direction.norm()
    return direction * ((there.mean(0) - here.mean(0)) @ direction)


METHOD = Method(NAME, fit, ProbeOptions, fit_layers, quick=True)
