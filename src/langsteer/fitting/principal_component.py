"""Principal component: the direction in which translated pairs differ most, at one layer.

The first right singular vector of the pairs' differences h_pivot − h_language (not centred, as in
representation engineering, Zou et al., arXiv 2310.01405), turned towards the pivot and as long as the
mean difference is along it.
"""

from dataclasses import dataclass

import torch

from langsteer.capture import Pool
from langsteer.corpus import ParallelCorpus
from langsteer.errors import MissingExtraError
from langsteer.fitting.common import Options, check_corpus, chosen_layer, make_vector, pair_states
from langsteer.models import Model
from langsteer.vector import SteeringVector

NAME = "principal_component"


@dataclass(frozen=True)
class PrincipalComponentOptions(Options):
    """`pool`: how a text's token states become one; see `langsteer.capture.Pool`."""

    pool: Pool = "mean"


def fit(
    model: Model,
    corpus: ParallelCorpus,
    options: PrincipalComponentOptions = PrincipalComponentOptions(),
) -> SteeringVector:
    try:
        from sklearn.decomposition import TruncatedSVD
    except ImportError as error:
        raise MissingExtraError(NAME, "scikit-learn", "analysis") from error
    check_corpus(corpus)
    layer = chosen_layer(model, options)
    there, here = pair_states(model, corpus, layer, options.pool)
    differences = there - here
    svd = TruncatedSVD(n_components=1, random_state=options.seed).fit(differences.numpy())
    direction = torch.from_numpy(svd.components_[0])
    return make_vector(
        model,
        corpus,
        options,
        values=direction * (differences.mean(0) @ direction),
        layer=layer,
        method=NAME,
        state_norm=float(here.norm(dim=1).mean()),
    )
