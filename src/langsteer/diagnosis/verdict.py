"""What a diagnosis comes to, in words, and how many items it takes."""

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from langsteer.diagnosis.corners import ENGLISH, Corners
from langsteer.diagnosis.reach import Reach, Reaches
from langsteer.evaluation.statistics import Array, Interval
from langsteer.look.words import signed
from langsteer.text.languages import language_name

Kind = Literal["too few items", "not in English", "no gap", "not known", "steer", "unclear"]

EFFECT = 5.0  # points, that is looked for unless told otherwise
CHANGED = 0.2  # of the items that a change makes right or wrong, where nothing is known
LEAST_SEEN = 20.0  # points: where less cannot be seen, nothing can be said
_POWER = (1.959964 + 0.841621) ** 2  # two-sided at 5%, seen four times in five

WORTH = 10.0  # points above chance in English, which it would be worth to bring over
LITTLE, MUCH = 0.2, 0.6  # shares of a gap
GUESSING = 1.3  # times chance, and the answers are close to guesses

ARTICLE = {"offset": "an offset", "map": "a linear map", "labels": "a vector learned from labels"}
AT = {
    "source": "the text in the language",
    "prompt": "the whole prompt",
    "generated": "what is answered",
    "all": "all tokens",
}


@dataclass(frozen=True)
class Verdict:
    """`kind`, the same in `sentences`, and the most that a change of the states wins back.

    `seen` is the smallest difference that so many items show four times in five, `needed` how many
    show the effect that is looked for; both None where values are no points. `most` is the upper
    end of a 95% interval, None where nothing can be said or won.
    """

    kind: Kind
    sentences: tuple[str, ...]
    most: float | None = None
    seen: float | None = None
    needed: int | None = None

    def __str__(self) -> str:
        return " ".join(self.sentences)


OF_VECTORS = (
    "So much for vectors and maps: clamps and biases on what is written, which `langsteer fit --for` tries too, are not "
    "tried here, and may win more."
)


def items_needed(effect: float, changed: float = CHANGED) -> int:
    """How many paired items show a difference of so many points four times in five, at 5%.

    `changed` is the share of items whose answer becomes right or wrong; the difference is at most that.
    """
    share = effect / 100
    return math.ceil(_POWER * (max(changed, share) - share**2) / share**2)


def smallest_seen(items: int, changed: float = CHANGED) -> float:
    """The smallest difference, in points, that so many paired items show four times in five."""
    share = math.sqrt(_POWER * changed / (items + _POWER))
    if share > changed:  # more answers change than usual: `items_needed` says how many
        share = _POWER / (items + _POWER)
    return 100 * share


def too_few(items: int) -> bool:
    """Whether nothing can be said of so many items."""
    return smallest_seen(items) > LEAST_SEEN


def fewest_items() -> int:
    """How many items something can be said of."""
    return next(count for count in itertools.count(1) if not too_few(count))


def judge(
    language: str,
    corners: Corners,
    reaches: Reaches,
    items: int,
    *,
    unit: Literal["points", "nats"],
    value: float,
    chance: float,
    english: Array | None,
    english_chance: Array | None,
    effect: float = EFFECT,
) -> Verdict:
    """The verdict of a diagnosis; `value` is what the items are worth as they are asked."""
    name, points = language_name(language), unit == "points"
    seen, needed = (smallest_seen(items), items_needed(effect)) if points else (None, None)
    if too_few(items):
        start = f"{items} items are too few for any verdict"
        told: tuple[str, ...] = (f"{start}: ask {fewest_items()} or more.",)
        if seen is not None:
            told = (
                f"{start}: less than {seen:.0f} points would not be seen.",
                f"To see {effect:g} points four times in five, ask {needed} items.",
            )
        return Verdict("too few items", told, seen=seen, needed=needed)
    size = (
        f"{items} items show differences of {seen:.0f} points or more; {needed} show {effect:g}."
        if seen is not None
        else OF_VECTORS
    )
    kind, sentence, most = _said(
        name, corners, reaches.best, unit, value, chance, english, english_chance
    )
    sentences = tuple(part for part in (sentence, size) if part)
    return Verdict(kind, sentences, most, seen, needed)


Said = tuple[Kind, str, float | None]


def _said(
    name: str,
    corners: Corners,
    best: Reach | None,
    unit: str,
    value: float,
    chance: float,
    english: Array | None,
    english_chance: Array | None,
) -> Said:
    """The kind of verdict, in words, and the most that can be won."""
    if english is None or corners.gap is None:
        return _without_english(name, best, unit)
    least, most = _above_chance(english, chance, english_chance)
    if least <= 0 and unit == "points" and most >= WORTH:
        return (
            "unclear",
            f"{len(english)} items do not show that the model can do this in English ({english.mean():.1f} {unit}, "
            f"where {_chance_told(chance, english_chance)} is chance), nor that it cannot: ask more of them.",
            None,
        )
    if least <= 0:
        return (
            "not in English",
            f"The model cannot do this in English either ({english.mean():.1f} {unit}, where "
            f"{_chance_told(chance, english_chance)} is chance): there is nothing to bring over. "
            "Ask it otherwise, or take another model.",
            None,
        )
    if corners.gap.low <= 0:
        return (
            "no gap",
            f"There is no clear gap between {name} and English ({interval(corners.gap, unit)}): nothing "
            "that a vector towards English could surely win back.",
            None,
        )
    return _of_gap(name, corners, corners.gap, best, unit, value, chance)


def _of_gap(
    name: str,
    corners: Corners,
    gap: Interval,
    best: Reach | None,
    unit: str,
    value: float,
    chance: float,
) -> Said:
    """What a clear gap comes to. With English alone in one part, what that wins bounds it too."""
    told = (corners.reading, corners.answering)
    parts = [part for part in told if part is not None] if None not in told else []
    gains = [*parts, *([best.gain] if best is not None else [])]
    most = max(0.0, min(gap.high, max((gain.high for gain in gains), default=gap.high)))
    if any(gain.low > 0 for gain in gains):
        return (
            "steer",
            f"Steering can win back at most {most:.0f} {unit} here, of a gap of {interval(gap, unit)}. It "
            f"would act on {_where(corners, best, unit)}.",
            most,
        )
    little = all(part.value < LITTLE * gap.value for part in parts)
    if parts and little and most < MUCH * gap.value:
        near = " close to guessing," if value <= GUESSING * chance else ""
        there = corners.at(ENGLISH, ENGLISH)
        english = there.value.value if there is not None else value + gap.value
        return (
            "not known",
            f"The model does not know this in {name} ({value:.1f} {unit},{near} where English has "
            f"{english:.1f}): neither an English prompt nor English answers alone win much of the "
            f"gap. {_nothing_won(best, unit)}No vector will help: translate, or fine-tune.",
            most,
        )
    return (
        "unclear",
        f"Nothing that was tried won any of the gap of {interval(gap, unit)} by more than chance. "
        f"{_nothing_won(best, unit)}At most {most:.0f} {unit} are in reach: translate, or fine-tune, unless "
        "a search on more items says otherwise.",
        most,
    )


def _where(corners: Corners, best: Reach | None, unit: str) -> str:
    """What a change would act on: where one was seen to help, else where English alone wins most."""
    if best is not None and best.gain.low > 0:
        return (
            f"{AT[best.positions]}, at or near layer {best.layer}: there {ARTICLE[best.means]} won "
            f"{interval(best.gain, unit)} on items that it was not learned from"
        )
    reading, answering = corners.reading, corners.answering
    if answering is not None and (reading is None or answering.value > reading.value):
        return f"{AT['generated']}, or the model would answer in English"
    return AT["prompt"]


def _nothing_won(best: Reach | None, unit: str) -> str:
    if best is None:
        return ""
    return (
        f"The best of what was tried, {ARTICLE[best.means]} at layer {best.layer}, won "
        f"{interval(best.gain, unit)}. "
    )


def _without_english(name: str, best: Reach | None, unit: str) -> Said:
    start = "Without the English of the items nothing is known of a gap"
    if best is not None and best.gain.low > 0:
        return (
            "steer",
            f"{start}. Steering can win at most {best.gain.high:.0f} {unit}: {ARTICLE[best.means]} at layer "
            f"{best.layer}, at {AT[best.positions]}, won {interval(best.gain, unit)} on items that it was "
            "not learned from.",
            best.gain.high,
        )
    return (
        "unclear",
        f"{start}, and nothing that was tried in {name} won anything by more than chance. "
        f"{_nothing_won(best, unit)}".rstrip(),
        None if best is None else max(0.0, best.gain.high),
    )


def _above_chance(
    english: Array, chance: float, english_chance: Array | None
) -> tuple[float, float]:
    """By how much the mean of English is above chance, less and more 1.96 standard errors."""
    apart = english - (english_chance if english_chance is not None else chance)
    error = float(np.std(apart, ddof=1)) / math.sqrt(len(apart)) if len(apart) > 1 else math.inf
    return float(apart.mean() - 1.96 * error), float(apart.mean() + 1.96 * error)


def _chance_told(chance: float, english_chance: Array | None) -> str:
    return f"{english_chance.mean() if english_chance is not None else chance:.1f}"


def interval(difference: Interval, unit: str) -> str:
    """+5.8 [1.2, 10.4] points"""
    return f"{signed(difference.value, '.1f')} [{difference.low:.1f}, {difference.high:.1f}] {unit}"
