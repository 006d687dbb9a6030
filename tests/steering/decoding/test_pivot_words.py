"""The bias against the pivot's words."""

import math

import pytest
import torch

from langsteer.errors import ModelError
from langsteer.model.model import Model
from langsteer.steering.decoding.pivot_words import PivotWords, language_excess, pivot_excess
from langsteer.text.corpus import ParallelCorpus
from tests.made.scripts import build, number

TEXT = ParallelCorpus(
    {"el": (" και το", " και α", "Rome,"), "en": (" the and", " the the,", "Rome,")}, "en", "made"
)


@pytest.fixture(scope="module")
def model() -> Model:
    return build()


def lowered(model: Model, text: str, strength: float = 1.0) -> float:
    scores = torch.zeros(2, model.vocab_size)
    after = PivotWords(model, TEXT, strength)(torch.zeros(2, 1, dtype=torch.long), scores)
    assert torch.equal(after[0], after[1])
    return -float(after[0, number(text)])


def test_words_of_the_pivot_are_less_likely(model: Model) -> None:
    assert lowered(model, " the") == pytest.approx(math.log(4), abs=1e-5)
    assert lowered(model, " and") == pytest.approx(math.log(2), abs=1e-5)
    assert lowered(model, " the", 0.5) == pytest.approx(lowered(model, " the") / 2)


def test_words_of_the_language_names_and_symbols_are_as_likely(model: Model) -> None:
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


def test_a_negative_strength_is_refused(model: Model) -> None:
    with pytest.raises(ModelError, match="at least 0, not -1"):
        PivotWords(model, TEXT, -1.0)
