"""What a request says."""

import json
from typing import Any

import pytest

from langsteer.engines.vllm.word import Word, read_word
from langsteer.errors import VectorError


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (None, Word(None)),
        ("sw", Word("sw")),
        ("SW", Word("sw")),
        ({"language": None}, Word(None)),
        ('{"language": "sw", "strength": 1}', Word("sw", 1.0)),
        ({"language": "sw", "positions": "text"}, Word("sw", positions="source")),
        ({"language": "sw", "positions": "source"}, Word("sw", positions="source")),
        ({"language": "sw", "texts": ["a"]}, Word("sw", texts=("a",))),
        (' {"language": "sw", "spans": [[1, 3], [4, 5]]}', Word("sw", spans=((1, 3), (4, 5)))),
    ],
)
def test_what_is_understood(value: Any, word: Word) -> None:
    assert read_word(value) == word


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('{"language"', "langsteer is not JSON"),
        (3, "a language or an object in JSON, not 3"),
        (["sw"], "a language or an object in JSON"),
        ("no language", "'no language' is no language"),
        ({}, "names no language"),
        ({"language": 3}, "the language is a tag, not 3"),
        ({"language": "sw", "layer": 3}, "has no 'layer': it takes language, strength"),
        ({"language": "sw", "strength": 1000}, "a number from -100 to 100"),
        ({"language": "sw", "strength": True}, "a number from -100 to 100"),
        ('{"language": "sw", "strength": NaN}', "a number from -100 to 100"),
        ({"language": "sw", "positions": "some"}, "no positions 'some': one of source, prompt"),
        ({"language": "sw", "positions": ["all"]}, "no positions"),
        ({"language": "sw", "texts": "a"}, "texts are a list of texts"),
        ({"language": "sw", "spans": [[3, 3]]}, r"spans are a list of \[first token, end\]"),
        ({"language": "sw", "spans": [[1.5, 3]]}, "spans are a list"),
        ({"language": "sw", "spans": 5}, "spans are a list"),
        ({"language": "sw", "pieces": [], "scale": 1}, "has no 'pieces'"),
    ],
)
def test_what_is_not(value: Any, message: str) -> None:
    with pytest.raises(VectorError, match=message):
        read_word(value)
    if isinstance(value, dict):
        with pytest.raises(VectorError, match=message):
            read_word(json.dumps(value))
