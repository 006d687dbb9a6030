"""How many tokens a model reads; what is longer is refused in one line, before the model runs."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from langsteer.errors import ModelError
from langsteer.model.model import Model
from langsteer.model.positions import positions_of
from langsteer.model.tokens import Prompt, encode
from langsteer.states.capture import mean_states
from langsteer.steering.generation import generate
from tests.helpers import build_model, tiny

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 100}


@pytest.mark.parametrize(
    ("settings", "positions"),
    [
        ({}, None),
        ({"max_position_embeddings": None}, None),
        ({"max_position_embeddings": 100}, 100),
        ({"max_position_embeddings": 100, "alibi": True}, None),
        ({"max_position_embeddings": 100, "sliding_window": 10}, 100),
        ({"max_position_embeddings": 100, "rope_parameters": {"rope_type": "default"}}, 100),
        ({"max_position_embeddings": 100, "rope_parameters": YARN}, 400),
        ({"max_position_embeddings": 400, "rope_parameters": YARN}, 400),
        ({"max_position_embeddings": 100, "rope_scaling": {"type": "linear", "factor": 2.0}}, 200),
        ({"max_position_embeddings": 100, "rope_parameters": {"full_attention": YARN}}, 400),
        ({"max_position_embeddings": 400, "rope_parameters": {"rope_type": "longrope"}}, 400),
    ],
)
def test_by_configuration(settings: dict[str, Any], positions: int | None) -> None:
    assert positions_of(SimpleNamespace(**settings)) == positions


LONG = "x" * 200
SHORT = {"gpt2": 128, "opt": 128, "llama": 128}


@pytest.fixture(params=SHORT)
def short(request: pytest.FixtureRequest) -> Model:
    return build_model(request.param, max_position_embeddings=128)


def test_a_text_that_is_too_long(short: Model) -> None:
    assert short.positions == 128
    encode(short, ["y" * 127])
    with pytest.raises(
        ModelError, match=r"text 2 has 129 tokens, and tiny-.* has 128 positions: 'zzz"
    ):
        encode(short, ["y", "z" * 128, "y"])
    with pytest.raises(
        ModelError, match=r"text 1 has 201 .*'x+…' .and 1 more like it.; shorten it"
    ):
        mean_states(short, [LONG, "y", LONG], [1])
    with pytest.raises(ModelError, match="the text has 129 tokens"):
        encode(short, [Prompt("a" * 100, "b" * 28)])
    with pytest.raises(ModelError, match="129 tokens are more than the 128 positions"):
        short.batch([[5] * 129])


def test_an_answer_that_is_too_long(short: Model) -> None:
    options: dict[str, Any] = {"min_new_tokens": 8}
    generate(short, ["y" * 119], max_new_tokens=8, **options)
    with pytest.raises(
        ModelError, match=r"121 tokens and 8 new ones are more than the 128 .*at most 7"
    ):
        generate(short, ["y" * 120], max_new_tokens=8, **options)


@torch.inference_mode()
@pytest.mark.parametrize("settings", [{"sliding_window": 16}, {"rope_parameters": dict(YARN)}])
def test_what_reaches_further_is_read(settings: dict[str, Any]) -> None:
    """Past a window, and past the positions that were scaled."""
    if "rope_parameters" in settings:
        settings = {"rope_parameters": {**YARN, "rope_theta": 10000.0}}
    model = build_model("mistral", max_position_embeddings=100, **settings)
    reach = 100 if "sliding_window" in settings else 400
    assert model.positions == reach
    assert len(encode(model, ["y" * (reach - 1)])[0]) == reach
    mean_states(model, ["y" * (reach - 1)], [1])


def test_without_an_end() -> None:
    from transformers import BloomConfig

    assert positions_of(BloomConfig()) is None


def test_tokens_that_the_model_does_not_know() -> None:
    model = build_model("llama")
    model.tokenizer.add_tokens([f"<more{i}>" for i in range(40)])
    with pytest.raises(
        ModelError, match=r"makes tokens that the model does not know .number 1\d\d"
    ):
        encode(model, ["<more39>"])


def test_text_that_is_not_unicode() -> None:
    with pytest.raises(ModelError, match="not Unicode: it holds half a character"):
        encode(tiny("llama"), ["neno \udcff"])
