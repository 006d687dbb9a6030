import pytest
import torch

from langsteer.errors import ModelError
from langsteer.evaluation.harness.choices import batch_calibrated, choice_scores
from langsteer.model.model import Model
from langsteer.model.tokens import Prompt, encode
from tests.helpers import ByHand, make_vector

PROMPTS = [Prompt(text, "Text: ", "\nTopic:") for text in ("habari", "ndiyo kabisa", "asante")]


def by_hand(model: Model, prompt: Prompt, choice: str) -> float:
    ids = encode(model, [prompt])[0].ids
    answer = model.tokenizer(choice, add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        logits = torch.log_softmax(model.network(torch.tensor([ids + answer])).logits[0], -1)
    return sum(float(logits[len(ids) + i - 1, token]) for i, token in enumerate(answer))


@pytest.mark.parametrize("choices", [["a", "b", "c"], ["sport", "a", "health"]])
def test_scores_equal_one_plain_pass_each(llama: Model, choices: list[str]) -> None:
    found = choice_scores(llama, PROMPTS, choices)[0]
    expected = [[by_hand(llama, prompt, choice) for choice in choices] for prompt in PROMPTS]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-4, rtol=1e-4)


def test_steered_scores_equal_adding_by_hand(llama: Model) -> None:
    vector = make_vector(llama, strength=2.0, positions="source")
    found = choice_scores(llama, PROMPTS[:1], ["a", "b"], [vector])[0]
    source = torch.tensor([encode(llama, PROMPTS[:1])[0].source])
    with ByHand(llama, 2.0 * vector.values, [source]):
        expected = choice_scores(llama, PROMPTS[:1], ["a", "b"])[0]
    assert torch.equal(found, expected)


def test_a_choice_without_tokens(llama: Model) -> None:
    with pytest.raises(ModelError, match="tokenises to nothing"):
        choice_scores(llama, PROMPTS, ["a", ""])


def test_batch_calibration_takes_the_prior_away() -> None:
    scores = torch.randn(50, 3) + torch.tensor([5.0, 0.0, -5.0])
    torch.testing.assert_close(batch_calibrated(scores).mean(0), torch.zeros(3), atol=1e-5, rtol=0)
