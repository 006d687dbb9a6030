"""Values checked against the types asked for."""

from collections.abc import Sequence

import pytest
from pydantic import PositiveInt

from langsteer.values import first_wrong, types_of


def described(k: int, lines: PositiveInt, ratio: float, steps: Sequence[float], name: str) -> None:
    """Something with options."""


@pytest.mark.parametrize(
    "values",
    [{"k": 3}, {"lines": 1, "ratio": 2}, {"steps": [0.5, 1]}, {"name": ""}, {"unknown": object()}],
)
def test_what_is_right(values: dict[str, object]) -> None:
    assert first_wrong(types_of(described), values) is None


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"k": "3"}, "k should be a number, not '3'"),
        ({"k": True}, "k should be a number, not True"),
        ({"k": 1, "lines": 0}, "lines should be greater than 0, not 0"),
        ({"ratio": float("nan")}, "ratio should be a finite number, not nan"),
        ({"steps": [1.0, float("inf")]}, "steps should be finite numbers, not [1.0, inf]"),
        ({"name": 3}, "name should be a valid string, not 3"),
    ],
)
def test_what_is_wrong(values: dict[str, object], told: str) -> None:
    assert first_wrong(types_of(described), values) == told


def test_types_that_only_a_checker_finds() -> None:
    def hidden(k: "NowhereDefined") -> None:  # type: ignore[name-defined]  # noqa: F821
        del k

    assert types_of(hidden) == {}
