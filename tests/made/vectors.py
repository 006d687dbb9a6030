"""Steering vectors that lie where they were put."""

import torch

from langsteer.model.model import Model
from langsteer.steering.vector import SteeringVector
from tests.helpers import make_vector

ROMANCE, INDIC, ALONE = ("es", "it", "fr", "pt"), ("hi", "ur", "bn", "mr"), ("sw", "tr")


def planted(model: Model, noise: float = 0.3, seed: int = 0) -> list[SteeringVector]:
    """Vectors that lie near one of two directions, by branch, or alone."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for tags in (ROMANCE, INDIC, *((tag,) for tag in ALONE)):
        centre = torch.randn(model.hidden_size, generator=generator)
        for tag in tags:
            values = centre + noise * torch.randn(model.hidden_size, generator=generator)
            found.append(make_vector(model, language=tag, values=values, state_norm=10.0))
    return found
