"""Probe: the direction by which a linear classifier tells the language from the pivot, at one layer.

The weights of a logistic regression on standardised pooled states, taken back to the states' own
units, and as long as the mean difference is along them.
"""

from dataclasses import dataclass

import torch

from langsteer.capture import Pool
from langsteer.corpus import ParallelCorpus
from langsteer.errors import MissingExtraError
from langsteer.fitting.common import Options, check_corpus, chosen_layer, make_vector, pair_states
from langsteer.models import Model
from langsteer.vector import SteeringVector

NAME = "probe"


@dataclass(frozen=True)
class ProbeOptions(Options):
    """`pool`: how token states become one. `penalty`: inverse L2 weight of the regression."""

    pool: Pool = "mean"
    penalty: float = 0.1


def fit(
    model: Model, corpus: ParallelCorpus, options: ProbeOptions = ProbeOptions()
) -> SteeringVector:
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise MissingExtraError(NAME, "scikit-learn", "analysis") from error
    check_corpus(corpus)
    layer = chosen_layer(model, options)
    there, here = pair_states(model, corpus, layer, options.pool)
    states = torch.cat([there, here]).numpy()
    is_pivot = [1] * len(there) + [0] * len(here)
    scaler = StandardScaler().fit(states)
    regression = LogisticRegression(C=options.penalty, max_iter=2000, random_state=options.seed)
    regression.fit(scaler.transform(states), is_pivot)
    direction = torch.from_numpy(regression.coef_[0] / scaler.scale_)
    direction /= direction.norm()
    return make_vector(
        model,
        corpus,
        options,
        values=direction * ((there.mean(0) - here.mean(0)) @ direction),
        layer=layer,
        method=NAME,
        state_norm=float(here.norm(dim=1).mean()),
    )
