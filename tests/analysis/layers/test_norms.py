import pytest
import torch

from langsteer.analysis.layers.norms import NormSums
from tests.made.analysis import noise


def test_norms_and_dimensions() -> None:
    states = noise(3, 50, 12).float() * 7
    states[:, :, 5] += 100
    source = torch.ones(3, 50, dtype=torch.bool)
    source[0, :20] = False
    sums = NormSums(12)
    for row in range(3):
        sums.add(states[row : row + 1], source[row : row + 1])
    kept = states[source].double()
    lengths = kept.norm(dim=1)
    assert sums.tokens == 130
    assert sums.mean == pytest.approx(float(lengths.mean()), rel=1e-5)
    assert sums.median == pytest.approx(float(lengths.median()), rel=3e-3)
    top = sums.largest
    assert top[0].index == 5
    assert len(top) == 5
    assert top[0].size == pytest.approx(float(kept[:, 5].abs().mean()), rel=1e-5)
    share = kept[:, 5].square().sum() / kept.square().sum()
    assert top[0].share == pytest.approx(float(share), rel=1e-5)
    torch.testing.assert_close(sums.sizes, kept.abs().mean(0), rtol=1e-5, atol=1e-5)
