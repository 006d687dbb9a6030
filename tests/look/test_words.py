import math

import pytest

from langsteer.look.words import (
    counted,
    listed,
    mean,
    mean_curve,
    noun,
    p_value,
    percent,
    probability,
    signed,
    written,
)


def test_numbers_have_a_true_minus_sign_and_signed_ones_a_plus() -> None:
    assert written(-0.256, ".2f") == "−0.26"
    assert written(1234.0, ",.0f") == "1,234"
    assert signed(0.256) == "+0.26"
    assert signed(-0.256) == "−0.26"
    assert signed(-12.34, ".1f") == "−12.3"
    assert percent(0.256) == "26%"
    assert percent(-0.256, 1) == "−25.6%"


@pytest.mark.parametrize(
    ("p", "short", "exact"),
    [
        (0.0, "<0.001", "<0.001"),
        (0.0009, "<0.001", "<0.001"),
        (0.001, "0.001", "0.001"),
        (0.0999, "0.100", "0.100"),
        (0.1, "0.10", "0.100"),
        (1.0, "1.00", "1.000"),
    ],
)
def test_p_values_are_as_exact_as_they_are_of_use(p: float, short: str, exact: str) -> None:
    assert probability(p) == short
    assert probability(p, exact=True) == exact


def test_a_sentence_says_that_p_is_equal_or_smaller() -> None:
    assert p_value(0.0001) == "< 0.001"
    assert p_value(0.012) == "= 0.012"
    assert p_value(0.32) == "= 0.32"
    assert p_value(0.32, exact=True) == "= 0.320"


def test_nouns_follow_their_number() -> None:
    assert [noun("language", count) for count in (0, 1, 2)] == [
        "languages",
        "language",
        "languages",
    ]
    assert noun("family", 2) == "families"
    assert noun("family", 1) == "family"
    assert noun("day", 2) == "days"
    assert noun("branch", 2) == "branches"
    assert counted(1, "pair") == "1 pair"
    assert counted(3, "pair") == "3 pairs"


def test_names_are_listed_with_commas_and_a_last_and() -> None:
    texts = [listed(list("abc")[:count]) for count in range(4)]
    assert texts == ["", "a", "a and b", "a, b and c"]


def test_means_leave_out_what_is_not_a_number() -> None:
    assert mean([1.0, math.nan, 3.0, math.inf]) == 2.0
    assert math.isnan(mean([math.nan]))
    assert math.isnan(mean([]))


def test_curves_are_averaged_place_by_place() -> None:
    curves = [(1.0, math.nan, math.nan), (3.0, 5.0, math.nan), ()]
    first, second, third = mean_curve(curves)
    assert (first, second) == (2.0, 5.0)
    assert math.isnan(third)
    assert mean_curve([]) == ()
    with pytest.raises(ValueError, match="shorter"):
        mean_curve([(1.0, 2.0), (3.0,)])
