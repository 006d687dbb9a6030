"""The log-probability of answers, and its gradient."""

import pytest
import torch

from langsteer.model.model import Model
from langsteer.tuning import answers
from langsteer.tuning.answers import IGNORED, answer_logprobs, collate
from langsteer.tuning.job import examples
from langsteer.tuning.prompts import PLAIN
from tests.helpers import ARCHITECTURES, build_model
from tests.made.instructions import toy


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("held", [2**27, 300])
def test_log_probabilities_and_gradients_of_answers(
    architecture: str, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In chunks, at the answers only, as with all logits at once."""
    monkeypatch.setattr(answers, "_HELD", held)
    model = build_model(architecture)
    rows = [e.chosen for e in examples(model, toy(2), PLAIN, max_length=1000)]
    weights = model.blocks[0]
    for parameter in model.network.parameters():
        parameter.requires_grad_(False)
    trained = next(p for p in weights.parameters() if p.dim() == 2)
    trained.requires_grad_(True)
    found = answer_logprobs(model, collate(model, rows)).sum(1)
    found.pow(2).sum().backward()
    slope, trained.grad = trained.grad, None
    expected = []
    for row in rows:
        log_p = torch.log_softmax(
            model.network(**model.batch([row["input_ids"]])).logits[0].float(), -1
        )
        answer = [i for i, label in enumerate(row["labels"]) if label != IGNORED]
        assert row["labels"][answer[0] :] == row["input_ids"][answer[0] :]
        assert row["labels"][-1] == model.tokenizer.eos_token_id
        expected.append(sum(log_p[i - 1, row["input_ids"][i]] for i in answer))
    torch.stack(expected).pow(2).sum().backward()
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(slope, trained.grad, rtol=1e-3, atol=1e-4)


def test_a_head_that_is_trained_has_its_gradient() -> None:
    model = build_model("llama", tie_word_embeddings=False)
    rows = [e.chosen for e in examples(model, toy(1), PLAIN)]
    model.network.lm_head.weight.requires_grad_(True)
    answer_logprobs(model, collate(model, rows)).sum().backward()
    assert float(model.network.lm_head.weight.grad.abs().sum()) > 0


def test_a_prompt_gives_no_loss(model: Model) -> None:
    """The gradient at the final states of tokens that no answer token follows is nothing."""
    rows = [e.chosen for e in examples(model, toy(2), PLAIN)]
    inputs = collate(model, rows)
    kept: list[torch.Tensor] = []
    assert model.norm is not None
    hook = model.norm.register_forward_hook(lambda module, args, output: kept.append(output))
    found = answer_logprobs(model, inputs)
    hook.remove()
    (slopes,) = torch.autograd.grad(found.sum(), kept[0])
    answers = inputs["labels"] != IGNORED
    follows = torch.nn.functional.pad(answers[:, 1:], (0, 1))
    assert bool((slopes[~follows] == 0).all())
    assert bool((slopes[follows].abs().sum(-1) > 0).all())
    assert bool((found[~answers] == 0).all())
