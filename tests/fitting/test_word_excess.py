"""How much more one side of a text uses a token."""

import math

import pytest

from langsteer.fitting.word_excess import language_excess, pivot_excess
from langsteer.model.model import Model
from langsteer.text.corpus import ParallelCorpus
from tests.made.scripts import build, number

TEXT = ParallelCorpus(
    {"el": (" και το", " και α", "Rome,"), "en": (" the and", " the the,", "Rome,")}, "en", "made"
)


@pytest.fixture(scope="module")
def model() -> Model:
    return build()


def lowered(model: Model, text: str) -> float:
    return float(pivot_excess(model, TEXT)[number(text)])


def test_words_of_the_pivot(model: Model) -> None:
    assert lowered(model, " the") == pytest.approx(math.log(4), abs=1e-5)
    assert lowered(model, " and") == pytest.approx(math.log(2), abs=1e-5)


def test_words_of_the_language_names_and_symbols(model: Model) -> None:
    for text in (" και", "α", "Rome", "ن", ",", "<eos>"):
        assert lowered(model, text) == 0.0, text


def test_the_languages_own_words(model: Model) -> None:
    own, pivots = language_excess(model, TEXT), pivot_excess(model, TEXT)
    assert float(own[number(" και")]) == pytest.approx(math.log(3), abs=1e-5)
    assert float(own[number(" the")]) == float(own[number(",")]) == 0.0
    assert not bool(((own > 0) & (pivots > 0)).any())


def test_what_neither_side_has_is_left_alone_though_one_is_longer(model: Model) -> None:
    longer = ParallelCorpus(
        {"el": (" και το το το", " και α α"), "en": (" the", " and")}, "en", "made"
    )
    for text in ("日本", "ن", "Rome"):
        for excess in (language_excess(model, longer), pivot_excess(model, longer)):
            assert float(excess[number(text)]) == 0.0, text
