"""What every fitting method shares: the layer it works at, and the vector it hands back."""

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from langsteer.corpus import ParallelCorpus
from langsteer.errors import FitError
from langsteer.models import Model
from langsteer.vector import SteeringVector

SMALLEST_CORPUS = 4


@dataclass(frozen=True)
class Options:
    """Options of every method. `layer` None means the method's own default for the model."""

    layer: int | None = None
    strength: float = 1.0
    seed: int = 0


def default_layer(model: Model) -> int:
    """A little before the middle: 8 of 18, 14 of 32."""
    return max(0, min(model.layers - 2, round(0.45 * model.layers)))


def chosen_layer(model: Model, options: Options) -> int:
    return model.check_layer(default_layer(model) if options.layer is None else options.layer)


def check_corpus(corpus: ParallelCorpus) -> str:
    """The language to fit. Raises FitError where there are too few lines to fit anything."""
    if len(corpus) < SMALLEST_CORPUS:
        raise FitError(
            f"{corpus.name} is too small to fit on: {len(corpus)} lines, "
            f"and {SMALLEST_CORPUS} are the least"
        )
    return corpus.language


def make_vector(
    model: Model,
    corpus: ParallelCorpus,
    options: Options,
    *,
    values: Tensor,
    layer: int,
    method: str,
    state_norm: float,
    **more: Any,
) -> SteeringVector:
    return SteeringVector(
        values=values.float().cpu(),
        layer=layer,
        language=corpus.language,
        pivot=corpus.pivot,
        model={"name": model.name, "fingerprint": model.fingerprint},
        method=method,
        strength=options.strength,
        state_norm=state_norm,
        options={**asdict(options), "layer": layer},
        corpus=corpus.describe(),
        **more,
    )
