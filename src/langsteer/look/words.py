"""How reports and figures say numbers: signs, percentages, p values, counted nouns, means over what is known."""

import math
from collections.abc import Iterable, Sequence

MINUS = "−"
SMALLEST_P = 0.001  # smaller ones are not told apart
SIGNIFICANT = 0.05  # p values below it are called significant


def written(value: float, form: str) -> str:
    """A number in a format of Python's, with a true minus sign: −0.25."""
    return f"{value:{form}}".replace("-", MINUS)


def signed(value: float, form: str = ".2f") -> str:
    """+0.25 or −0.25"""
    return written(value, f"+{form}")


def percent(value: float, digits: int = 0) -> str:
    """25% of 0.25, and −25% of −0.25"""
    return written(value, f".{digits}%")


def probability(p: float, exact: bool = False) -> str:
    """<0.001, 0.012 or 0.32; `exact`: three decimals also of large ones."""
    if p < SMALLEST_P:
        return f"<{SMALLEST_P}"
    return f"{p:.3f}" if exact or p < 0.1 else f"{p:.2f}"


def p_value(p: float, exact: bool = False) -> str:
    """What follows the letter p in a sentence: < 0.001, = 0.012 or = 0.32."""
    text = probability(p, exact)
    return f"< {text[1:]}" if text.startswith("<") else f"= {text}"


def noun(singular: str, count: int) -> str:
    """The noun for so many: `language` or `languages`, `family` or `families`, `branches`."""
    if count == 1:
        return singular
    if singular.endswith("y") and singular[-2:-1] not in "aeiou":
        return f"{singular[:-1]}ies"
    return f"{singular}es" if singular.endswith(("ch", "sh", "s", "x")) else f"{singular}s"


def counted(count: int, singular: str) -> str:
    """1 language or 3 languages"""
    return f"{count} {noun(singular, count)}"


def listed(names: Sequence[str]) -> str:
    """a, b and c"""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def mean(values: Iterable[float]) -> float:
    """The mean of the values that are numbers; NaN where none is."""
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def mean_curve(curves: Iterable[Sequence[float]]) -> tuple[float, ...]:
    """The mean of curves at each place, over those that have a number there.

    Curves without any place are left out; the others have as many each. ValueError if not.
    """
    columns = zip(*(curve for curve in curves if len(curve)), strict=True)
    return tuple(mean(column) for column in columns)
