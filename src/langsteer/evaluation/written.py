"""Measures of a written answer, beside its score: is it in the language, does it repeat itself or the
question, and how long is it.

distinct-n (Li et al., arXiv 1510.03055) is the share of an answer's n-grams that are different: 1.0 where nothing
is said twice, near 0 for one phrase over and over; one less it is the repetition of Welleck et al. (arXiv
1908.04319). Longer answers have less of it by themselves, so it is read beside the length.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import regex

from langsteer.evaluation.statistics import Array
from langsteer.extras import need
from langsteer.text.identify import comparable, identifiable, identify, is_judged
from langsteer.text.languages import share_script

COPIED = 4  # words in a row that are in the question too

_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_WORD = regex.compile(
    rf"{_UNSPACED}\p{{M}}*|[[\p{{L}}\p{{M}}\p{{N}}]--{_UNSPACED}]+", flags=regex.VERSION1
)


_MARKUP = regex.compile(r"</?\p{L}[^<>\n]*>?")


@dataclass(frozen=True)
class Written:
    """Measures of an answer: whether it is in the language, and whether it is in another one (100 or 0;
    neither where it has too few letters to be in any), the shares (0 to 100)
    of its n-grams of one, two and three words that are different, and of its runs of four words that
    the question has too, and how many words it has. One with fewer words repeats and copies nothing.
    """

    right: float
    other: float
    distinct_1: float
    distinct_2: float
    distinct_3: float
    copied: float
    words: float


MEASURES = tuple(field.name for field in fields(Written))


def written(
    answers: Sequence[str], language: str, questions: Sequence[str] | None = None
) -> list[Written]:
    """The measures of each answer. Raises MissingExtraError where lingua is not installed."""
    asked = [""] * len(answers) if questions is None else questions
    return [
        Written(
            right=100.0 * (told is True),
            other=100.0 * (told is False),
            distinct_1=_percent(distinct(answer, 1), 1.0),
            distinct_2=_percent(distinct(answer, 2), 1.0),
            distinct_3=_percent(distinct(answer, 3), 1.0),
            copied=_percent(copied(answer, question), 0.0),
            words=float(len(words(answer))),
        )
        for answer, question, told in zip(answers, asked, _told_in(answers, language), strict=True)
    ]


def in_language(answers: Sequence[str], language: str) -> Array:
    """100 where the first line of an answer that is long enough to tell is in the language, else 0.

    Where no line is, all of its different lines are judged together. Marks of HTML are in no language.
    Languages so near that a line cannot tell them apart count as one, and an answer with too few
    letters is in none.
    """
    return np.array([100.0 * (told is True) for told in _told_in(answers, language)])


def _told_in(answers: Sequence[str], language: str) -> list[bool | None]:
    """Whether each answer is in the language; None where it has too few letters to be in any."""
    judged = [_judged(answer) for answer in answers]
    told = identify(judged)
    return [
        (t is not None and same_language(t.language, language)) if text else None
        for t, text in zip(told, judged, strict=True)
    ]


def _judged(answer: str) -> str:
    """The text that tells an answer's language; empty where there is none."""
    lines = [line.strip() for line in _lines(answer)]
    whole = "\n".join(dict.fromkeys(lines))
    return next(filter(is_judged, [*lines, whole]), "")


def same_language(other: str, language: str) -> bool:
    """Whether it is this language, or one so near that a single line cannot tell them apart."""
    if other == language or not identifiable(other):
        return other == language
    return share_script(other, language) and not comparable(other, language)


def _lines(answer: str) -> list[str]:
    return _MARKUP.sub(" ", answer).splitlines()


def first_line(answer: str) -> str:
    """Its first line that is not empty, without spaces around it."""
    return answer.strip().split("\n")[0].strip()


def reference_scores(answers: Sequence[str], references: Sequence[str]) -> list[float]:
    """chrF++ of each answer's first line against a right answer, 0 to 100. Raises MissingExtraError without sacrebleu."""
    return [
        sentence_chrf(reference, first_line(answer))
        for answer, reference in zip(answers, references, strict=True)
    ]


def sentence_chrf(reference: str, answer: str) -> float:
    """chrF++ of an answer, 0 to 100. Raises MissingExtraError without sacrebleu."""
    sacrebleu = need("sacrebleu", "eval", "translation scores")
    return float(sacrebleu.sentence_chrf(answer, [reference], word_order=2).score)


def words(text: str) -> list[str]:
    """Small-lettered words and numbers; in scripts that put no space between words, characters."""
    return _WORD.findall(text.lower())


def distinct(answer: str, n: int) -> float:
    """The share of its n-grams of words that are different, 0 to 1; NaN where it has none."""
    grams = _grams(words(answer), n)
    return len(set(grams)) / len(grams) if grams else math.nan


def copied(answer: str, question: str, n: int = COPIED) -> float:
    """The share of its n-grams of words that are in the question too, 0 to 1; NaN where it has none."""
    grams, there = _grams(words(answer), n), set(_grams(words(question), n))
    return sum(gram in there for gram in grams) / len(grams) if grams else math.nan


def column(measured: Sequence[Written], measure: str) -> Array:
    """One measure of all answers."""
    return np.array([getattr(each, measure) for each in measured], dtype=np.float64)


def _percent(share: float, otherwise: float) -> float:
    return 100 * (otherwise if math.isnan(share) else share)


def _grams(of: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(of[start:] for start in range(n)), strict=False))
