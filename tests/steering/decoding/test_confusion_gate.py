"""The language confusion gate, untrained: when it masks, and what."""

import pytest
import torch
from torch import Tensor

from langsteer.model.model import Model
from langsteer.steering.decoding.confusion_gate import ConfusionGate
from tests.made.scripts import TOKENS, build, number

LOW = -20.0
BANNED = float("-inf")


@pytest.fixture(scope="module")
def model() -> Model:
    """With output embeddings of length 1, but for Latin tokens: 10."""
    built = build()
    weight = built.head.weight
    with torch.no_grad():
        weight /= weight.norm(dim=1, keepdim=True)
        for text in (" the", " and", "Rome"):
            weight[number(text)] *= 10
    return built


def logits(**high: float) -> Tensor:
    scores = torch.full((1, len(TOKENS)), LOW)
    for name, score in high.items():
        scores[0, number(NAMES[name])] = score
    return scores


NAMES = {"the": " the", "kai": " και", "to": " το", "comma": ",", "x": "xα"}
PROMPT = [1, 4, 5]


def gated(gate: ConfusionGate, written: list[str], scores: Tensor) -> set[str]:
    """What is banned at the step after `written`."""
    ids = [*PROMPT, *map(number, written)]
    for width in range(len(PROMPT), len(ids)):
        gate(torch.tensor([ids[:width]]), scores)
    masked = gate(torch.tensor([ids]), scores)
    return {TOKENS[i] for i in (masked[0] == BANNED).nonzero()[:, 0].tolist()}


def test_a_slip_into_latin_is_masked(model: Model) -> None:
    gate = ConfusionGate(model)
    slip = logits(the=9.0, kai=8.0, to=7.0)  # " the" leads by the length of its embedding alone
    assert gated(gate, [" το"], slip) == {" the", " and", "Rome", "xα", "日本"}


def test_nothing_before_the_first_letter(model: Model) -> None:
    slip = logits(the=9.0, kai=8.0, to=7.0)
    assert gated(ConfusionGate(model), [], slip) == set()
    assert gated(ConfusionGate(model), [","], slip) == set()


def test_the_script_so_far_is_never_masked(model: Model) -> None:
    masked = gated(ConfusionGate(model), [" the", ","], logits(the=9.0, kai=8.0, to=7.0))
    assert masked <= {"日本"}


def test_nothing_where_no_other_is_among_the_likeliest(model: Model) -> None:
    gate = ConfusionGate(model)
    assert gated(gate, [" το"], logits(the=60.0, kai=5.0)) == set()


def test_latin_that_does_not_lead_by_its_length_stays(model: Model) -> None:
    assert gated(ConfusionGate(model), [" το"], logits(x=9.0, kai=8.0, to=7.0)) == set()


def test_with_a_language_from_the_first_token_on(model: Model) -> None:
    gate = ConfusionGate(model, "el")
    assert gated(gate, [], logits(the=9.0, kai=8.0)) == {" the", " and", "Rome", "日本", "ن"}
    assert gated(gate, [" the"], logits(the=9.0, kai=8.0)) == {" the", " and", "Rome", "日本", "ن"}
    assert gated(gate, [], logits(the=60.0, comma=59.8)) == set()


def test_a_new_text_begins_a_new_prompt(model: Model) -> None:
    gate = ConfusionGate(model)
    slip = logits(the=9.0, kai=8.0, to=7.0)
    assert gated(gate, [" το"], slip)
    longer = torch.tensor([[1, *[number(" το")] * 8]])
    assert not (gate(longer, slip) == BANNED).any()
