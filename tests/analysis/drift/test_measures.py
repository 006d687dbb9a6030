import math

import pytest
import torch
from torch import Tensor

from langsteer.analysis.drift.measures import Ground, Measured, measure, version_pairs
from langsteer.analysis.drift.results import GAP
from langsteer.steering.vector import SteeringVector
from tests.made.drift import FEW_TAGS, HIDDEN, LAYERS, LINES, at, made_ground, moved


def test_a_planted_shift_is_found_at_its_layer_and_language() -> None:
    planted = torch.randn(HIDDEN, generator=torch.Generator().manual_seed(1))
    vector = SteeringVector(planted, 1, "sw", "en", {}, "planted")
    ground = made_ground({"planted": {"sw": vector}})
    found = measure(ground, moved(ground, sw=at(1, 0.5 * planted)), "version").drift
    movement = found.languages["sw"].movement
    length = float((0.5 * planted).norm()) / ground.length("sw", 1)
    assert movement.raw == pytest.approx((0, length, 0), abs=1e-6)
    assert movement.own == pytest.approx((0, length, 0), abs=1e-6)
    assert movement.coherence[1] == pytest.approx(1)
    assert [math.isnan(x) for x in movement.coherence] == [True, False, True]
    cosines = found.languages["sw"].directions["planted"].own
    assert cosines.layers == (1,)
    assert (cosines.value[0], cosines.low[0], cosines.high[0]) == pytest.approx((1, 1, 1))
    assert cosines.p_covariance[0] == pytest.approx(1 / 201)
    assert cosines.p_isotropic[0] < 1e-6
    everywhere = found.languages["sw"].directions[GAP].own
    assert [math.isnan(x) for x in everywhere.value] == [True, False, True]
    for tag in FEW_TAGS[1:]:
        assert found.languages[tag].movement.own == (0, 0, 0)
    assert found.pivot.raw == (0, 0, 0)


def test_what_moves_all_languages_alike_is_not_their_own(ground: Ground) -> None:
    generator = torch.Generator().manual_seed(2)
    common = torch.randn(LAYERS, HIDDEN, generator=generator)
    own = torch.randn(LAYERS, HIDDEN, generator=generator)
    states = moved(ground, **{**dict.fromkeys(ground.states, common), "sw": common + own})
    found = measure(ground, states, "version").drift
    for layer in range(LAYERS):
        scale = ground.length("et", layer)
        assert found.languages["et"].movement.own[layer] == pytest.approx(0, abs=1e-6)
        assert found.languages["et"].movement.raw[layer] * scale == pytest.approx(
            float(common[layer].norm()), rel=1e-4
        )
        assert found.languages["et"].movement.pivot_cosine[layer] == pytest.approx(1)
        assert found.languages["sw"].movement.own[layer] * ground.length(
            "sw", layer
        ) == pytest.approx(float(own[layer].norm()), rel=1e-4)
        assert found.languages["sw"].movement.pivot_cosine[layer] < 0.99


def test_half_of_the_gap_is_crossed(ground: Ground) -> None:
    states = dict(ground.states)
    gap = (ground.fit["en"] - ground.fit["sw"]).mean(0)
    states["sw"] = states["sw"] + 0.5 * gap
    found = measure(ground, states, "version").drift.languages["sw"]
    for layer in range(LAYERS):
        low, high = found.movement.crossed_low[layer], found.movement.crossed_high[layer]
        assert found.movement.crossed[layer] == pytest.approx(0.5, abs=0.02)
        assert low <= 0.52
        assert high >= 0.48
    assert found.directions[GAP].own.value == pytest.approx((1, 1, 1), abs=0.01)
    assert found.directions[GAP].span is not None
    assert found.directions[GAP].span.share == pytest.approx((1, 1, 1))
    assert found.directions[GAP].span.rank == (4, 4, 4)


def test_random_displacements_lie_within_the_null(ground: Ground) -> None:
    generator = torch.Generator().manual_seed(3)
    centred = torch.cat([found - found.mean(0) for found in ground.fit.values()])
    outside = total = 0
    for _ in range(15):
        shifts = {}
        for tag in FEW_TAGS:
            weights = torch.randn(len(centred), generator=generator)
            shifts[tag] = torch.einsum("n,nlh->lh", weights, centred) / len(centred) ** 0.5
        found = measure(ground, moved(ground, **shifts), "version").drift
        for one in found.languages.values():
            own = one.directions[GAP].own
            for value, bound, p in zip(own.value, own.covariance, own.p_covariance, strict=True):
                # 200 random vectors give the bound to about two per cent of them
                assert (abs(value) > bound) == (p < 0.05) or abs(abs(value) - bound) < 0.01
                outside += p < 0.05
                total += 1
    assert 0.01 < outside / total < 0.12


def test_a_rotation_leaves_cka_at_1(ground: Ground) -> None:
    generator = torch.Generator().manual_seed(4)
    rotation = torch.linalg.qr(torch.randn(HIDDEN, HIDDEN, generator=generator)).Q
    states = {tag: found @ rotation for tag, found in ground.states.items()}
    found = measure(ground, states, "version").drift.languages["sw"].similarity
    assert found.cka == pytest.approx((1,) * LAYERS, abs=1e-5)
    assert max(found.cosine) < 0.9


def test_a_version_that_did_not_move(ground: Ground) -> None:
    found = measure(ground, dict(ground.states), "version").drift
    sw = found.languages["sw"]
    assert sw.movement.raw == sw.movement.own == sw.movement.noise == (0, 0, 0)
    assert sw.movement.crossed == (0, 0, 0)
    assert found.pivot.raw == (0, 0, 0)
    assert sw.similarity.cka == pytest.approx((1, 1, 1))
    for number in (*sw.directions[GAP].own.value, *found.matching[GAP].p, *found.matrix.cosines[0]):
        assert math.isnan(number)


def test_own_directions_are_told_from_those_of_other_languages(ground: Ground) -> None:
    gaps = {tag: (ground.fit["en"] - ground.fit[tag]).mean(0) for tag in FEW_TAGS}
    mean = sum(gaps.values(), torch.zeros(LAYERS, HIDDEN)) / len(FEW_TAGS)
    alike = measure(ground, moved(ground, **dict.fromkeys(FEW_TAGS, mean)), "alike").drift
    apart = measure(ground, moved(ground, **{t: 0.2 * g for t, g in gaps.items()}), "apart").drift
    assert apart.matching[GAP].p == pytest.approx((1 / 24,) * LAYERS)
    for layer in range(LAYERS):
        assert apart.matching[GAP].same[layer] > apart.matching[GAP].others[layer] + 0.2
        assert apart.languages["sw"].directions[GAP].own.p_languages[layer] == 0.25
        # All move along the mean of the directions: towards the pivot, but not by their own way.
        assert alike.languages["sw"].directions[GAP].own.p_covariance[layer] < 0.05
        assert alike.matching[GAP].p[layer] > 0.9
    assert [row[i] for i, row in enumerate(apart.matrix.cosines)] == pytest.approx(
        [1] * 4, abs=0.02
    )


def test_a_displacement_of_noise_has_no_direction(ground: Ground) -> None:
    generator = torch.Generator().manual_seed(5)
    noise = {tag: torch.randn(LINES, LAYERS, HIDDEN, generator=generator) for tag in FEW_TAGS}
    found = measure(ground, moved(ground, **noise), "version").drift
    movement = found.languages["sw"].movement
    assert max(movement.own) < movement.noise[0]
    assert all(map(math.isnan, found.languages["sw"].directions[GAP].own.value))


def test_versions_against_each_other(ground: Ground) -> None:
    generator = torch.Generator().manual_seed(6)
    shift = torch.randn(LAYERS, HIDDEN, generator=generator)
    noise = 2 * torch.randn(LINES, LAYERS, HIDDEN, generator=generator)

    def version(sw: Tensor) -> Measured:
        return measure(ground, moved(ground, sw=sw), "version")

    along, against = version(shift + 0.1 * noise), version(-2 * shift + 0.1 * noise)
    away = torch.randn(LAYERS, HIDDEN, generator=generator)
    away -= (away * shift).sum(1, keepdim=True) * shift / shift.square().sum(1, keepdim=True)
    across = version(away + noise)
    pairs = version_pairs(["sw"], [along, against, across])
    assert pairs[0].cosines["sw"] == pytest.approx((-1, -1, -1), abs=0.02)
    # Both have the same noise; products of different lines do not see it.
    assert pairs[1].cosines["sw"] == pytest.approx((0, 0, 0), abs=0.2)
