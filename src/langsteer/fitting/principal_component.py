"""Principal component: the direction in which translated pairs differ most, at one layer.

The first right singular vector of the pairs' differences h_pivot − h_language (not centred, as in
representation engineering, Zou et al., arXiv 2310.01405), turned towards the pivot and as long as the
mean difference is along it.
"""

from collections.abc import Sequence
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

NAME = "principal_component"


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
    check_corpus(corpus)
    svd = _truncated_svd(options.seed)
    return [
        make_vector(
            model,
            corpus,
            options,
            values=_component(there - here, svd),
            layer=layer,
            method=NAME,
            state_norm=float(here.norm(dim=1).mean()),
        )
        for layer, there, here in pair_states(model, corpus, layers, options.pool, readings)
    ]


def _truncated_svd(seed: int) -> Any:
    decomposition = need("sklearn.decomposition", "fitting", NAME)
    return decomposition.TruncatedSVD(n_components=1, random_state=seed)


def _component(differences: Tensor, svd: Any) -> Tensor:
    direction = torch.from_numpy(svd.fit(differences.numpy()).components_[0])
    return direction * (differences.mean(0) @ direction)


METHOD = Method(NAME, fit, PooledOptions, fit_layers, quick=True)
