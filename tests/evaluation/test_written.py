"""Measures of a written answer."""

import math

import pytest

from langsteer.evaluation.written import (
    MEASURES,
    column,
    copied,
    distinct,
    first_line,
    in_language,
    words,
    written,
)

GREEK = "Η γάτα κάθεται στο χαλί και κοιτάζει τον σκύλο."
ENGLISH = "The cat sits on the mat and looks at the dog."
INDONESIAN = "Kucing itu duduk di atas tikar dan melihat anjing di halaman."


def test_words_of_scripts_with_and_without_spaces() -> None:
    assert words("The Cat, 12 times!") == ["the", "cat", "12", "times"]
    assert words("日本 Tokyo") == ["日", "本", "tokyo"]
    assert words("नमस्ते दुनिया") == ["नमस्ते", "दुनिया"]


def test_distinct_n_grams() -> None:
    assert distinct("a b a b", 1) == 0.5
    assert distinct("a b a b", 2) == pytest.approx(2 / 3)
    assert distinct("a b c d", 3) == 1.0
    assert math.isnan(distinct("a b", 3))


def test_what_is_copied_from_the_question() -> None:
    assert copied("a b c d e", "x A b c d") == 0.5
    assert copied("e f g h", "a b c d") == 0.0
    assert math.isnan(copied("a b", "a b"))


def test_first_line() -> None:
    assert first_line("\n\n  one \n two") == "one"
    assert first_line(" \n ") == ""


def test_in_language() -> None:
    pytest.importorskip("lingua")
    answers = [
        GREEK,
        f"\n\n{GREEK}\n{ENGLISH}",
        f"Ελληνικά:\n{ENGLISH}",
        f"<blockquote><strong>{GREEK[:32]}</strong></blockquote>",
        "Ναι.",
        "",
        "* Η γάτα\n* κάθεται\n* <b>στο χαλί μας</b>\n* Η γάτα",
        "* the cat\n* sits on\n* the mat there",
        "Ναι.\nΝαι.\nΝαι.\nΝαι.\nΝαι.\nΝαι.\nΝαι.\nΝαι.",
    ]
    assert in_language(answers, "el").tolist() == [100, 100, 0, 100, 0, 0, 100, 0, 0]
    others = [measured.other for measured in written(answers, "el")]
    assert others == [0, 0, 100, 0, 0, 0, 0, 100, 0]
    assert in_language([ENGLISH, GREEK], "en").tolist() == [100, 0]


def test_a_language_that_lines_do_not_tell_apart_counts() -> None:
    pytest.importorskip("lingua")
    assert in_language([INDONESIAN], "id").tolist() == in_language([INDONESIAN], "ms").tolist()
    assert in_language([INDONESIAN], "sw").tolist() == [0]


def test_all_measures_of_answers() -> None:
    pytest.importorskip("lingua")
    measured = written([GREEK, "", "a a a a a"], "el", [GREEK, "x", "b b"])
    assert [column(measured, m).tolist() for m in MEASURES] == [
        [100, 0, 0],
        [0, 0, 0],
        [100, 100, 20],
        [100, 100, 25],
        [100, 100, pytest.approx(100 / 3)],
        [100, 0, 0],
        [9, 0, 5],
    ]
