"""Which tokens of a prompt are the text in the language, whatever the tokeniser tells."""

from typing import Any

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st

from langsteer.errors import ModelError
from langsteer.model.model import Model
from langsteer.model.opening import wrap_model
from langsteer.model.tokens import Conversation, Prompt, Text, encode
from tests.helpers import build_network, character_tokenizer

TEXTS = st.text(alphabet="abc d\n", max_size=8)


class WithoutOffsets:
    """A tokeniser that cannot say where its tokens are."""

    is_fast = False

    def __init__(self) -> None:
        self._own = character_tokenizer()

    def __call__(self, text: str) -> Any:
        return self._own(text)

    def get_special_tokens_mask(self, ids: list[int], **options: Any) -> list[int]:
        return list(self._own.get_special_tokens_mask(ids, **options))


def model_of(tokenizer: Any, **changes: Any) -> Model:
    return wrap_model(build_network("llama", **changes), tokenizer)


FAST = model_of(character_tokenizer())
SLOW = model_of(WithoutOffsets())


@given(st.lists(TEXTS, min_size=3, max_size=7).filter(any))
def test_without_offsets_the_same_tokens_are_the_text(pieces: list[str]) -> None:
    text = Conversation(tuple(pieces[: len(pieces) - 1 + len(pieces) % 2]))
    if str(text):
        assert encode(SLOW, [text]) == encode(FAST, [text])


@pytest.mark.parametrize(
    ("text", "before", "source"),
    [
        (Prompt("één", "Q: ", " A:"), 3, 5),
        (Prompt("één", "", ""), 0, 5),
        ("één", 0, 5),
        (Prompt("", "Q: ", " A:"), 3, 0),
    ],
)
def test_a_tokeniser_of_bytes_that_ends_its_texts(text: Text, before: int, source: int) -> None:
    tokenizer = transformers.ByT5Tokenizer()
    (tokens,) = encode(model_of(tokenizer, vocab_size=len(tokenizer)), [text])
    assert tokenizer.eos_token_id not in tokens.ids
    assert tokenizer.decode(tokens.ids) == str(text)
    assert tokens.source == [before <= i < before + source for i in range(len(tokens))]


def test_a_tokeniser_of_another_model() -> None:
    model = model_of(transformers.ByT5Tokenizer())
    assert encode(model, ["ABC"])
    with pytest.raises(
        ModelError, match=r"tokens that the model does not know \(number 198, of 'é'"
    ):
        encode(model, ["é"])
