"""The verdict, for what diagnoses may find."""

import numpy as np
import pytest

from langsteer.diagnosis.corners import ENGLISH, LANGUAGE, Corner, Corners
from langsteer.diagnosis.reach import Reach, Reaches
from langsteer.diagnosis.verdict import Verdict, items_needed, judge, smallest_seen
from langsteer.evaluation.statistics import Interval


def around(value: float, by: float = 5.0) -> Interval:
    return Interval(value, value - by, value + by)


def corners(here: float, prompt: float, answers: float, there: float) -> Corners:
    """Corners at these values: all in the language, an English prompt, English answers, all English."""
    places = [
        (LANGUAGE, LANGUAGE, here),
        (ENGLISH, LANGUAGE, prompt),
        (LANGUAGE, ENGLISH, answers),
        (ENGLISH, ENGLISH, there),
    ]
    return Corners(
        200,
        tuple(Corner(p, a, around(v)) for p, a, v in places),
        gap=around(there - here),
        reading=around(prompt - here),
        answering=around(answers - here),
        both=around(there - prompt - answers + here),
    )


def verdict(
    four: Corners,
    gain: float | None = None,
    items: int = 200,
    english: float | None = 90.0,
    **more: float,
) -> Verdict:
    exact = () if gain is None else (Reach("offset", 8, "source", 0.5, around(gain)),)
    values = (
        None if english is None else np.array([100.0] * int(english) + [0.0] * (100 - int(english)))
    )
    return judge(
        "id",
        four,
        Reaches((), exact, ""),
        items,
        unit="points",
        value=four.corners[0].value.value,
        chance=12.0,
        english=values,
        english_chance=None,
        **more,
    )  # fmt: skip


def test_a_gap_that_a_vector_wins_back() -> None:
    found = verdict(corners(56, 62, 65, 90), gain=8.0)
    assert found.kind == "steer"
    assert found.most == pytest.approx(14.0)  # the upper end of what English answers win
    assert "at most 14 points" in str(found)
    assert "layer 8" in str(found)
    assert "text in the language" in str(found)


def test_a_gap_that_english_alone_in_one_part_wins_back() -> None:
    reading = verdict(corners(56, 75, 57, 90), gain=0.0)
    assert reading.kind == "steer"
    assert "the whole prompt" in str(reading)
    assert "what is answered" in str(verdict(corners(56, 57, 75, 90), gain=0.0))


def test_what_the_model_does_not_know() -> None:
    found = verdict(corners(29, 26, 28, 90), gain=-6.0)
    assert found.kind == "not known"
    assert "No vector will help: translate, or fine-tune" in str(found)
    assert "close to guessing" not in str(found)
    assert "close to guessing" in str(verdict(corners(14, 15, 14, 90), gain=-1.0))


def test_a_vector_that_helps_where_neither_part_alone_does() -> None:
    assert verdict(corners(29, 26, 28, 90), gain=9.0).kind == "steer"


def test_what_the_model_cannot_do_in_english() -> None:
    found = verdict(corners(12, 12, 12, 13), english=13.0)
    assert found.kind == "not in English"
    assert "cannot do this in English either" in str(found)
    assert found.most is None


def test_too_few_items_to_say_that_it_cannot_in_english() -> None:
    found = verdict(corners(12, 14, 15, 18), english=18.0)
    assert found.kind == "unclear"
    assert "100 items do not show that the model can do this in English (18.0 points" in str(found)


def test_no_gap() -> None:
    assert verdict(corners(88, 88, 89, 90)).kind == "no gap"


def test_too_few_items() -> None:
    few = verdict(corners(56, 62, 65, 90), gain=8.0, items=20)
    assert few.kind == "too few items"
    assert few.needed == items_needed(5.0)
    assert f"ask {few.needed} items" in str(few)
    assert verdict(corners(56, 62, 65, 90), gain=8.0, items=40).kind == "steer"


def test_fewer_items_for_a_larger_effect() -> None:
    small, large = (
        verdict(corners(56, 62, 65, 90), effect=effect).needed for effect in (5.0, 10.0)
    )
    assert small is not None
    assert large is not None
    assert large < small
    assert f"{large} show 10" in str(verdict(corners(56, 62, 65, 90), effect=10.0))


def test_without_english_only_what_was_won_is_told() -> None:
    alone = Corners(200, (Corner(LANGUAGE, LANGUAGE, around(50)),))
    assert verdict(alone, gain=9.0, english=None).kind == "steer"
    unclear = verdict(alone, gain=1.0, english=None)
    assert unclear.kind == "unclear"
    assert "nothing is known of a gap" in str(unclear)


def test_the_number_of_items_is_that_of_the_usual_formula() -> None:
    # 80% power, 5% two-sided, a fifth of the answers changed: (1.96 + 0.84)² (0.2 - 0.05²) / 0.05²
    assert items_needed(5.0) == pytest.approx(620, abs=1)
    assert smallest_seen(items_needed(5.0)) == pytest.approx(5.0, abs=0.05)
    assert smallest_seen(items_needed(30.0)) == pytest.approx(30.0, abs=1.5)
    assert items_needed(50.0) == pytest.approx(
        8, abs=1
    )  # as many change as the effect, at the least


def test_a_text_that_is_written_may_be_won_otherwise() -> None:
    four = corners(-80, -79, -70, -60)
    said = judge(
        "id", four, Reaches((), (), ""), 200, unit="nats", value=-80.0, chance=0.0,
        english=np.full(200, -60.0), english_chance=np.full(200, -90.0),
    )  # fmt: skip
    assert "clamps and biases on what is written" in str(said)
    assert "clamps and biases" not in str(verdict(corners(56, 62, 65, 90), gain=8.0))
