"""The ban on other scripts."""

import pytest
import torch

from langsteer.model.model import Model
from langsteer.steering.decoding.only_script import OnlyScript, without
from langsteer.steering.generation import generate
from tests.made.scripts import build, number


@pytest.fixture(scope="module")
def model() -> Model:
    return build()


def test_what_is_written_is_in_the_script(model: Model) -> None:
    prompts = [" the and Rome", "Rome the"]
    free = generate(model, prompts, max_new_tokens=24, do_sample=True, top_k=0)
    assert any(word in "".join(free) for word in (" the", " and", "Rome", "日本", "ن"))
    held = generate(
        model,
        prompts,
        max_new_tokens=24,
        do_sample=True,
        top_k=0,
        logits_processor=[OnlyScript(model, "el")],
    )
    written = "".join(held)
    assert not any(word in written for word in (" the", " and", "Rome", "日本", "ن"))
    assert any(word in written for word in (" και", " το", "α", "ν."))


def test_other_languages_may_be_let_in(model: Model) -> None:
    scores = torch.zeros(1, model.vocab_size)
    ids = torch.zeros(1, 1, dtype=torch.long)
    assert OnlyScript(model, "el", also=("en",))(ids, scores)[0, number("Rome")] == 0
    assert OnlyScript(model, "el")(ids, scores)[0, number("Rome")] == float("-inf")


def test_nothing_is_banned_where_nothing_would_be_left() -> None:
    scores = torch.tensor([[1.0, float("-inf"), 2.0], [1.0, 0.0, 2.0]])
    banned = torch.tensor([[True, False, True], [True, False, True]])
    inf = float("-inf")
    expected = torch.tensor([[1.0, inf, 2.0], [inf, 0.0, inf]])
    assert torch.equal(without(scores, banned), expected)
