"""The methods of a comparison: their names, stacks, other tokens and options."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("lm_eval")


from langsteer.errors import MethodError
from langsteer.evaluation.methods import EVALUATION_METHODS, get_method, in_order
from langsteer.model.model import Model
from langsteer.steering.vector import SteeringVector
from tests.made.settings import setting


def test_every_method_that_is_promised() -> None:
    assert list(EVALUATION_METHODS) == [
        "direct",
        "english",
        "few_shot",
        "few_shot_english",
        "native_instruction",
        "english_instruction",
        "chain_of_thought",
        "xlt",
        "prompt_optimisation",
        "self_translate",
        "translate_mt",
        "translate_service",
        "translate_file",
        "only_script",
        "within_reach",
        "confusion_gate",
        "lora_english",
        "lora_sft",
        "mean_difference",
        "principal_component",
        "probe",
        "answers",
        "pivot_words",
        "language_words",
        "low_rank",
        "projection",
        "projection_all",
        "subspace_removal",
        "lrp2",
        "mrre",
        "recover",
        "itlc",
        "language_vector",
        "learned",
        "learned_together",
    ]
    assert get_method("few_shot + learned").name == "few_shot+learned"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fewshot", "no method 'fewshot'; did you mean 'few_shot'"),
        ("???", "there are direct, english"),
        ("learned_together+learned", "both change the hidden states"),
        ("learned:2+mean_difference@generated", "nothing is generated while strengths are chosen"),
        ("translate_file+learned", "the text is English already"),
        ("english+learned", "the text is English already"),
        ("few_shot+lora_sft", "only steering or a projection can come second"),
        ("few_shot+xlt+learned", "a stack is of two methods"),
        ("few_shot+lerned", "did you mean 'learned'"),
        ("lerned@prompt", "did you mean 'learned'"),
        ("learned@promt", "there are the positions source, prompt, generated, all"),
        ("few_shot@prompt", "few_shot changes no hidden states"),
    ],
)
def test_a_method_that_cannot_be_had(name: str, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        get_method(name)


def test_a_method_at_other_tokens(model: Model, data: Path) -> None:
    given = setting(model, data, limit=2)
    usual = get_method("mean_difference").prepare(given)
    moved = get_method("mean_difference@prompt").prepare(given)
    stack = get_method("few_shot+mean_difference@prompt").prepare(given, k=1)
    assert isinstance(usual.change, SteeringVector)
    for plan in (moved, stack):
        assert isinstance(plan.change, SteeringVector)
        assert torch.equal(plan.change.values, usual.change.values)
        assert (usual.change.positions, plan.change.positions) == ("source", "prompt")
    assert moved.settings["positions"] == "prompt"
    fitted = get_method("mean_difference").prepare(given, positions="prompt")
    assert isinstance(fitted.change, SteeringVector)
    assert fitted.change.positions == "prompt"
    assert fitted.change.scores["trials"] != usual.change.scores["trials"]
    again = get_method("mean_difference").prepare(given)
    assert again.training_seconds == round(usual.training_seconds, 3)  # both are kept
    assert get_method("projection@all").title == "Projection, one layer, at all tokens"


def test_an_option_that_a_method_does_not_have(model: Model, data: Path) -> None:
    given = setting(model, data)
    with pytest.raises(MethodError, match="few_shot has no option 'shots': it has k, part"):
        get_method("few_shot").prepare(given, shots=3)
    with pytest.raises(MethodError, match="direct has no option 'k': it has none"):
        get_method("direct+probe").prepare(given, k=3)


def test_a_report_lists_methods_as_the_registry_does() -> None:
    assert in_order(reversed(EVALUATION_METHODS)) == [
        *(name for name in EVALUATION_METHODS if name != "english"),
        "english",
    ]
    names = [
        "xlt",
        "mine",
        "learned@prompt",
        "probe",
        "few_shot+probe",
        "learned",
        "direct+learned",
    ]
    assert in_order(names) == [
        *("xlt", "probe", "learned", "learned@prompt", "mine", "direct+learned", "few_shot+probe")
    ]
