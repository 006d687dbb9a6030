import math

import numpy as np
import pytest
import torch
from torch import Tensor

from langsteer.analysis.drift.directions import (
    Direction,
    bootstrap_weights,
    cosine,
    drawn_null,
    inner,
    isotropic_null,
    matching,
    orthonormal,
    plain_cosine,
    random_directions,
    random_shares,
    share_of,
    shares,
)

HIDDEN = 32


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uneven(lines: int, generator: torch.Generator) -> Tensor:
    """States that vary along few dimensions."""
    return torch.randn(lines, HIDDEN, generator=generator) * torch.linspace(3, 0.1, HIDDEN) ** 2


def kolmogorov(p_values: list[float]) -> float:
    stats = pytest.importorskip("scipy.stats")
    return float(stats.kstest(p_values, "uniform").pvalue)


def test_the_angle_of_a_vector_with_itself_is_0() -> None:
    vector = Direction.exact(torch.randn(HIDDEN, generator=seeded(0)))
    found = cosine(vector, vector)
    assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1))
    away = Direction.exact(-3 * vector.mean)
    assert cosine(vector, away).value == pytest.approx(-1)
    assert share_of(away, vector).value == pytest.approx(-3)


def test_sampling_noise_is_taken_off_lengths_and_cosines() -> None:
    generator = seeded(1)
    wide = 400
    one = torch.zeros(wide)
    one[0] = 1.0
    other = torch.zeros(wide)
    other[0], other[1] = 0.6, 0.8
    cosines, plain, lengths, covered = [], [], [], 0
    for _ in range(60):
        weights = bootstrap_weights(100, 200, generator)
        sides = [
            Direction.of(v + 0.3 * torch.randn(100, wide, generator=generator), weights)
            for v in (one, other)
        ]
        # The weights are shared here; the noise is not.
        estimate = cosine(*sides)
        cosines.append(estimate.value)
        plain.append(plain_cosine(sides[0].mean, sides[1].mean))
        lengths.append(sides[0].squared)
        covered += estimate.low <= 0.6 <= estimate.high
    assert np.mean(plain) < 0.5
    assert np.mean(cosines) == pytest.approx(0.6, abs=0.02)
    assert np.mean(lengths) == pytest.approx(1, abs=0.03)
    assert covered >= 51


def test_a_mean_of_noise_alone_has_no_direction() -> None:
    generator = seeded(2)
    weights = bootstrap_weights(50, 10, generator)
    noise = torch.randn(50, 400, generator=generator)
    assert not Direction.of(noise, weights).clear(1.0)
    assert Direction.of(noise + 1, weights).clear(1.0)
    assert not Direction.exact(torch.zeros(HIDDEN)).clear(1.0)
    assert not Direction.exact(torch.full((HIDDEN,), 1e-8)).clear(1.0)


def test_weights_are_of_samples_as_large_as_the_text() -> None:
    weights = bootstrap_weights(7, 50, seeded(3))
    assert torch.allclose(weights.sum(1), torch.ones(50))
    assert torch.allclose(weights * 7, (weights * 7).round(), atol=1e-5)
    assert len({tuple(row) for row in weights.tolist()}) > 40


def test_what_lines_share_does_not_count_in_their_inner_product() -> None:
    generator = seeded(4)
    found, plain = [], []
    for _ in range(300):
        noise = torch.randn(10, HIDDEN, generator=generator)
        found.append(inner(1 + noise, 1 + noise))
        plain.append(float((1 + noise).mean(0).square().sum()))
    assert np.mean(found) == pytest.approx(HIDDEN, abs=1)
    assert np.mean(plain) > HIDDEN + 2


def test_random_directions_vary_as_the_states_do() -> None:
    states = uneven(300, seeded(5))
    states = states - states.mean(0)
    directions = random_directions(states, 4000, seeded(6))
    assert torch.allclose(directions.norm(dim=1), torch.ones(4000), atol=1e-5)
    expected = states.square().mean(0)
    found = directions.square().mean(0)
    assert float((found * expected).sum() / (found.norm() * expected.norm())) > 0.98
    mixed = directions[:, 0] * directions[:, 1]
    assert abs(float(mixed.mean())) < 0.05


def test_p_is_uniform_for_random_vectors_that_vary_as_the_states() -> None:
    generator = seeded(7)
    states = uneven(400, generator)
    null = random_directions(states - states.mean(0), 300, generator)
    vector = random_directions(states - states.mean(0), 1, generator)[0]
    isotropic, covariance = [], []
    for tried in uneven(300, generator):
        value = plain_cosine(tried, vector)
        covariance.append(
            drawn_null(abs(value), (null @ torch.nn.functional.normalize(tried, dim=0)).abs()).p
        )
        isotropic.append(isotropic_null(value**2, 1, HIDDEN).p)
    assert kolmogorov(covariance) > 0.01
    # Against vectors without a preferred direction, chance looks like a finding.
    assert np.mean(np.array(isotropic) < 0.05) > 0.2
    assert 0.02 < np.mean(np.array(covariance) < 0.05) < 0.09


def test_p_is_uniform_for_vectors_without_a_preferred_direction() -> None:
    generator = seeded(8)
    vector = torch.randn(HIDDEN, generator=generator)
    values = [
        isotropic_null(plain_cosine(tried, vector) ** 2, 1, HIDDEN).p
        for tried in torch.randn(400, HIDDEN, generator=generator)
    ]
    assert kolmogorov(values) > 0.01


def test_the_isotropic_null_is_that_of_random_spans() -> None:
    generator = seeded(9)
    directions = torch.nn.functional.normalize(
        torch.randn(3000, HIDDEN, generator=generator), dim=1
    )
    vector = torch.randn(1, HIDDEN, generator=generator)
    for rank in (1, 5):
        reached = random_shares(vector, directions, rank, 3000, generator)[:, 0]
        null = isotropic_null(0.3, rank, HIDDEN)
        assert null.mean == rank / HIDDEN
        assert float(reached.mean()) == pytest.approx(null.mean, rel=0.1)
        assert float(np.percentile(reached, 95)) == pytest.approx(null.high, rel=0.1)
        assert float((reached >= 0.3).float().mean()) == pytest.approx(null.p, abs=0.02)
    assert isotropic_null(0.5, HIDDEN, HIDDEN).p == 1


def test_shares_in_a_span() -> None:
    generator = seeded(10)
    vectors = torch.randn(3, HIDDEN, generator=generator)
    basis = orthonormal(torch.cat([vectors, vectors[:1] + vectors[1:2]]))
    assert basis.shape == (3, HIDDEN)
    assert torch.allclose(basis @ basis.T, torch.eye(3, dtype=basis.dtype), atol=1e-6)
    inside = vectors.sum(0, keepdim=True)
    outside = torch.randn(1, HIDDEN, generator=generator).double()
    outside = outside - outside @ basis.T @ basis
    assert shares(inside, basis).tolist() == pytest.approx([1])
    assert shares(outside, basis).tolist() == pytest.approx([0], abs=1e-9)
    assert shares(torch.zeros(1, HIDDEN), basis).tolist() == [0]


def test_no_random_vector_is_beyond_them_all_without_p_saying_how_many_there_were() -> None:
    found = drawn_null(2.0, torch.rand(99, generator=seeded(11)))
    assert found.p == pytest.approx(0.01)
    assert drawn_null(0.0, torch.rand(99)).p == 1


@pytest.mark.parametrize("size", [4, 12])
def test_matching_finds_own_vectors(size: int) -> None:
    generator = seeded(12)
    noise = 0.05 * torch.randn(size, size, generator=generator)
    found = matching(noise + 0.5 * torch.eye(size) + 0.3)
    assert found.same == pytest.approx(0.8, abs=0.05)
    assert found.others == pytest.approx(0.3, abs=0.05)
    # Of four languages, no order is rarer than 1 in 24.
    assert found.p == pytest.approx(1 / 24) if size == 4 else found.p < 0.001


def test_matching_by_chance() -> None:
    generator = seeded(13)
    values = [matching(torch.randn(5, 5, generator=generator)).p for _ in range(300)]
    assert kolmogorov([v - 0.5 / 120 for v in values]) > 0.01


def test_matching_of_too_few_and_of_unknown() -> None:
    assert math.isnan(matching(torch.eye(3)).p)
    assert matching(torch.eye(3)).same == 1
    unknown = torch.eye(6)
    unknown[2] = math.nan
    assert matching(unknown).p == pytest.approx(1 / 120)
    nothing = matching(torch.full((4, 4), math.nan))
    assert math.isnan(nothing.same)
    assert math.isnan(nothing.p)
