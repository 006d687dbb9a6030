"""Which script tokens are written in."""

import pytest

from langsteer.model.model import Model
from langsteer.steering.decoding.vocabulary import (
    CHINESE_JAPANESE,
    LATIN,
    OTHERS,
    SYMBOLS,
    foreign_tokens,
    token_families,
    token_texts,
)
from tests.made.scripts import TOKENS, build


@pytest.fixture(scope="module")
def model() -> Model:
    return build()


def foreign(model: Model, *tags: str) -> set[str]:
    return {TOKENS[i] for i in foreign_tokens(model, *tags).nonzero()[:, 0].tolist()}


def test_special_tokens_have_no_text(model: Model) -> None:
    assert token_texts(model)[:4] == ["", "", "", ""]
    assert token_texts(model)[4:] == list(TOKENS[4:])


def test_tokens_of_other_scripts_are_foreign(model: Model) -> None:
    latin, chinese = {" the", " and", "Rome"}, {"日本"}
    greek, arabic = {" και", " το", "α", "ν."}, {"ن"}
    assert foreign(model, "el") == latin | chinese | arabic
    assert foreign(model, "sw") == greek | chinese | arabic
    assert foreign(model, "el", "en") == chinese | arabic
    assert foreign(model, "ja") == latin | greek | arabic | {"xα"}


def test_families(model: Model) -> None:
    families = dict(zip(TOKENS, token_families(model).tolist(), strict=True))
    assert {t for t in TOKENS if families[t] == LATIN} == {" the", " and", "Rome", "xα"}
    assert {t for t in TOKENS if families[t] == CHINESE_JAPANESE} == {"日本"}
    assert {t for t in TOKENS if families[t] == OTHERS} == {" και", " το", "α", "ن", "ν."}
    assert families["µ"] == families[" 12"] == families["<eos>"] == SYMBOLS
