import json
from typing import Any

import pytest
import tokenizers
import transformers

from langsteer.analysis.drift.compare import drift
from langsteer.errors import ModelError
from langsteer.model.model import Model
from langsteer.model.opening import wrap_model
from tests.helpers import build_model, build_network, character_tokenizer
from tests.made.drift import QUICK, corpus_of


@pytest.mark.parametrize(
    ("tuned", "reason"),
    [
        (lambda: build_model("qwen2"), "its architecture is qwen2 and the base's is llama"),
        (lambda: build_model("llama", num_hidden_layers=3), "its number of layers is 3"),
        (lambda: build_model("llama", hidden_size=64), "its hidden size is 64"),
        (lambda: with_tokenizer(other_vocabulary()), "reads other tokens in Swahili"),
        (
            lambda: with_tokenizer(character_tokenizer(), vocab_size=60),
            "tokens that the model does not know",
        ),
    ],
)
def test_versions_that_cannot_be_compared(base: Model, tuned: Any, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        drift(base, [("tuned", tuned())], corpus_of("sw"), options=QUICK)


def with_tokenizer(tokenizer: Any, **changes: Any) -> Model:
    return wrap_model(build_network("llama", **changes), tokenizer, name="other")


def other_vocabulary() -> Any:
    """A tokeniser of characters that gives two of them each other's ids."""
    tokenizer = character_tokenizer()
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    return replaced(tokenizer, state)


def replaced(tokenizer: Any, state: dict[str, Any]) -> Any:
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer.from_str(json.dumps(state)),
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
    )


def test_special_tokens_and_chat_template_may_differ(base: Model) -> None:
    tokenizer = character_tokenizer()
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["post_processor"] = None
    tokenizer = replaced(tokenizer, state)
    tokenizer.chat_template = "{{ messages }}"
    assert tokenizer("ab")["input_ids"] == base.tokenizer("ab")["input_ids"][1:]
    tuned = wrap_model(base.network, tokenizer, name="chat")
    found = drift(base, [("chat", tuned)], corpus_of("sw"), options=QUICK).results
    assert found.versions[0].languages["sw"].movement.raw == (0, 0, 0, 0)
