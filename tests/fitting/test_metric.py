import pytest
import torch

from langsteer.fitting.metric import output_root
from tests.helpers import ARCHITECTURES, tiny


@torch.no_grad()
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_distances_are_twice_the_divergence_of_the_output(architecture: str) -> None:
    model = tiny(architecture)
    random = torch.Generator().manual_seed(0)
    state = torch.randn(1, model.hidden_size, generator=random)
    root = output_root(model, state).double()
    for _ in range(5):
        step = 0.02 * torch.randn(1, model.hidden_size, generator=random)
        before, after = (
            torch.log_softmax(model.logits_of(at).double(), -1) for at in (state, state + step)
        )
        divergence = (before.exp() * (before - after)).sum()
        found = (step.double() @ root).pow(2).sum()
        assert float(found) == pytest.approx(2 * float(divergence), rel=0.1, abs=1e-9)
