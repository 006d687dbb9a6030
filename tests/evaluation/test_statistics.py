import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from langsteer.evaluation import statistics
from langsteer.evaluation.statistics import (
    calibrate,
    correct,
    difference,
    gap_closed,
    holm,
    mcnemar,
    mean_over_groups,
    paired_bootstrap,
    percentile_interval,
    resampled_means,
    sign_flip,
    wilcoxon,
)

quick = settings(deadline=None, max_examples=50)
outcomes = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


def pairs(gains: int, losses: int, ties: int) -> tuple[np.ndarray, np.ndarray]:
    before = [0.0] * gains + [100.0] * losses + [100.0] * ties
    after = [100.0] * gains + [0.0] * losses + [100.0] * ties
    return np.array(before), np.array(after)


def test_mcnemar_of_a_known_table() -> None:
    """12 and 2 discordant pairs of 50 (Armitage and Berry, 1994): 2 (1 + 14 + 91) / 2 ** 14."""
    assert mcnemar(*pairs(12, 2, 36)) == pytest.approx(2 * 106 / 2**14)
    assert mcnemar(*pairs(2, 12, 36)) == pytest.approx(2 * 106 / 2**14)
    assert mcnemar(*pairs(0, 0, 5)) == 1


def test_holm_of_a_known_family() -> None:
    """0.005 × 4, 0.01 × 3, 0.03 × 2, and 0.04 no lower than the one before it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([]) == []


@quick
@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_keeps_the_order_and_lies_between_plain_and_bonferroni(p: list[float]) -> None:
    adjusted = holm(p)
    for i, a in enumerate(p):
        assert a <= adjusted[i] <= min(1, a * len(p)) or adjusted[i] == max(adjusted)
        assert all(adjusted[i] <= adjusted[j] for j, b in enumerate(p) if a < b)


def test_calibration_by_hand() -> None:
    scores = np.array([[-1.0, -2.0], [-1.0, -4.0], [-1.0, -3.0]])
    np.testing.assert_allclose(calibrate(scores), [[0, 1], [0, -1], [0, 0]])
    assert list(correct(scores, [0, 1, 0])) == [100, 0, 100]
    assert list(correct(calibrate(scores), [1, 0, 1])) == [100, 100, 0]


def test_calibration_where_items_have_fewer_answers() -> None:
    scores = np.array([[-1.0, -2.0, -3.0], [-3.0, -2.0, np.nan]])
    np.testing.assert_allclose(calibrate(scores), [[1, 0, 0], [-1, 0, np.nan]])
    assert list(correct(scores, [0, 1])) == [100, 100]


@quick
@given(outcomes)
def test_the_permutation_test_of_one_language_is_mcnemars(outcomes: list[tuple[int, int]]) -> None:
    before, after = (np.array(side, dtype=float) for side in zip(*outcomes, strict=True))
    assert sign_flip(after - before) == pytest.approx(mcnemar(before, after))


@quick
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=12))
def test_the_exact_permutation_test_counts_every_flip(changes: list[int]) -> None:
    size = np.array(changes, dtype=float)
    flips = 1 - 2 * np.array(
        [[i >> bit & 1 for bit in range(len(size))] for i in range(2 ** len(size))]
    )
    extreme = np.abs(flips @ size) >= abs(size.sum())
    assert sign_flip(size) == pytest.approx(extreme.mean())


def test_a_drawn_permutation_test_comes_near_the_exact_one() -> None:
    changes = np.random.default_rng(0).integers(-3, 5, 80).astype(float)
    exact, drawn = sign_flip(changes), sign_flip(changes * 0.7)
    assert 0.001 < exact < 0.2
    assert drawn == pytest.approx(exact, abs=0.003)
    assert sign_flip(np.full(40, 0.5)) >= 1 / (1 + statistics.PERMUTATIONS)


def test_the_permutation_test_is_near_durkalskis() -> None:
    changes = np.random.default_rng(1).integers(-3, 4, 700).astype(float)
    chi = (abs(changes.sum()) - 1) ** 2 / (changes**2).sum()  # corrected for continuity
    assert sign_flip(changes) == pytest.approx(stats.chi2.sf(chi, 1), abs=0.01)


@quick
@given(st.lists(st.floats(0, 100), min_size=1, max_size=30))
def test_a_method_does_not_differ_from_itself(values: list[float]) -> None:
    sample = np.array(values)
    right = np.where(sample > 50, 100.0, 0.0)
    assert mcnemar(right, right) == wilcoxon(sample, sample) == sign_flip(sample - sample) == 1
    before, after = resampled_means([sample[:, None], sample[:, None]], draws=20)
    assert not (after - before).any()


@quick
@given(outcomes, st.randoms(use_true_random=False))
def test_the_order_of_items_does_not_matter(outcomes: list[tuple[int, int]], random) -> None:
    before, after = (np.array(side, dtype=float) for side in zip(*outcomes, strict=True))
    order = random.sample(range(len(before)), len(before))
    assert mcnemar(before, after) == mcnemar(before[order], after[order])
    assert sign_flip(after - before) == sign_flip((after - before)[order])


def test_means_are_redrawn_by_item_with_items_missing() -> None:
    sample = np.array([[1.0, np.nan], [3.0, 8.0], [np.nan, 8.0]])
    (means,) = resampled_means([sample], draws=4000)
    assert means.shape == (4000, 2)
    assert np.nanmin(means[:, 0]) == 1
    assert np.nanmax(means[:, 0]) == 3
    assert np.nanmean(means[:, 0]) == pytest.approx(2, abs=0.05)
    assert set(means[~np.isnan(means[:, 1]), 1]) == {8}
    assert np.isnan(means[:, 1]).mean() == pytest.approx(1 / 27, abs=0.01)  # never drawn


def test_draws_do_not_depend_on_how_many_fit_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [np.random.default_rng(0).random((50, 3))]
    whole = resampled_means(samples, draws=100)[0]
    monkeypatch.setattr(statistics, "_BLOCK", 700)
    np.testing.assert_allclose(resampled_means(samples, draws=100)[0], whole)


def simulated(rng: np.random.Generator, gain: float) -> tuple[np.ndarray, np.ndarray]:
    """80 items in 5 languages: an item is hard, and a method good at it, in all languages alike."""
    item, change = rng.normal(0, 1, (80, 1)), rng.normal(0, 0.8, (80, 1))
    before = item + rng.normal(0, 1, (80, 5)) > 0
    after = item + change + gain + rng.normal(0, 1, (80, 5)) > 0
    return before * 100.0, after * 100.0


def test_the_interval_of_a_mean_over_languages_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    many = [simulated(rng, 0.4) for _ in range(3000)]
    truth = np.mean([after.mean() - before.mean() for before, after in many])
    covered = 0
    for seed, sample in enumerate(many[:400]):
        before, after = resampled_means(sample, draws=400, seed=seed)
        found = percentile_interval(0.0, (after - before).mean(axis=1))
        covered += found.low <= truth <= found.high
    assert 0.91 <= covered / 400 <= 0.98


def test_the_permutation_test_by_item_errs_as_often_as_it_says_and_one_by_answer_more() -> None:
    rng = np.random.default_rng(3)
    by_item = by_answer = 0
    for _ in range(400):
        before, after = simulated(rng, 0.0)
        after = np.where(rng.random((80, 1)) < 0.5, after, before)  # exchangeable either way
        before, after = np.where(rng.random((80, 1)) < 0.5, (before, after), (after, before))
        by_item += sign_flip(((after - before) / 100).sum(axis=1)) < 0.05
        by_answer += mcnemar(before.ravel(), after.ravel()) < 0.05
    assert by_item / 400 <= 0.07
    assert by_answer / 400 > 0.07


def test_wilcoxon_is_scipys() -> None:
    rng = np.random.default_rng(4)
    before, after = rng.random(30), rng.random(30) + 0.2
    assert wilcoxon(before, after) == pytest.approx(stats.wilcoxon(after, before).pvalue)
    assert math.isclose(wilcoxon(before, before), 1)


def test_intervals() -> None:
    rng = np.random.default_rng(0)
    before = (rng.random(400) < 0.4) * 100.0
    same = paired_bootstrap(difference, before, before)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    after = np.where(rng.random(400) < 0.3, 100.0, before)
    gain = paired_bootstrap(difference, before, after)
    assert gain.low < gain.value < gain.high
    assert gain.excludes_zero
    english = np.full(400, 100.0)
    half = paired_bootstrap(gap_closed, english, before, after)
    assert half.value == pytest.approx((after.mean() - before.mean()) / (100 - before.mean()))
    assert np.isnan(paired_bootstrap(gap_closed, before, before, after).value)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        sample = rng.normal(1.0, 2.0, 100)
        found = paired_bootstrap(difference, np.zeros(100), sample, draws=500, seed=trial)
        covered += found.low <= 1.0 <= found.high
    assert 0.89 <= covered / 200 <= 0.99


def test_a_mean_over_groups_counts_each_alike() -> None:
    small, large = np.full(4, 10.0), np.zeros(400)
    interval = mean_over_groups([small, large])
    assert (interval.value, interval.low, interval.high) == (5.0, 5.0, 5.0)


def test_groups_of_as_many_items_are_drawn_together() -> None:
    values = np.random.default_rng(0).normal(size=50)
    alone, apart = mean_over_groups([values]), mean_over_groups([values, -values])
    assert mean_over_groups([values, values]) == alone
    assert apart.low == pytest.approx(apart.high) == pytest.approx(0.0)
