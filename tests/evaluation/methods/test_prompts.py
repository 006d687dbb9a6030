"""Instructions, a chain of thought, and cross-lingual-thought prompting."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")


from langsteer.errors import MethodError
from langsteer.evaluation.methods import Setting, asking, get_method
from langsteer.evaluation.methods.common import PROMPT
from langsteer.evaluation.methods.prompts import split_cue
from langsteer.model.model import Model
from langsteer.steering.vector import SteeringVector
from tests.made.published import tsv, write
from tests.made.settings import prompts_of, setting


def test_instructions(model: Model, data: Path) -> None:
    given = setting(model, data)
    for name, tag in (("native_instruction", "sw"), ("english_instruction", "en")):
        plan = get_method(name).prepare(given)
        instruction = given.benchmark.instructions[tag]
        assert prompts_of(plan, given)[0] == (
            f"{instruction}\n\nText: habari number 200\nThe topic of this text is"
        )
        assert plan.settings == {"instruction": instruction}


@pytest.mark.parametrize("name", ["chain_of_thought", "xlt"])
@pytest.mark.parametrize("benchmark", ["sib200", "xcopa"])
def test_the_answers_are_scored_after_what_the_model_wrote(
    name: str, benchmark: str, model: Model, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = setting(model, data, benchmark, limit=3)
    asked: list[str] = []

    def write_for(
        given: Setting, docs: Any, prompts: list[str], tokens: int, stop: Any, change: Any
    ) -> asking.Written:
        asked.extend(prompts)
        return asking.Written([" It is\nabout x."] * len(prompts), 90, 1.5)

    monkeypatch.setattr("langsteer.evaluation.methods.prompts.write", write_for)
    plan = get_method(name).prepare(given, tokens=7)
    direct = prompts_of(get_method("direct").prepare(given), given)
    for prompt, before, plain in zip(prompts_of(plan, given), asked, direct, strict=True):
        body, cue = split_cue(plain)
        assert body in before
        assert prompt == f"{before} It is about x.\n{cue}"
    assert (plan.extra_tokens, plan.extra_seconds) == (90, 1.5)
    assert all(PROMPT in doc for doc in plan.docs)


def test_thinking_runs_and_can_be_steered(model: Model, data: Path) -> None:
    given = setting(model, data, limit=2)
    plan = get_method("chain_of_thought").prepare(given, tokens=5)
    assert plan.extra_tokens > 10
    stack = get_method("chain_of_thought+mean_difference").prepare(given, tokens=5)
    assert isinstance(stack.change, SteeringVector)
    assert stack.settings["mean_difference"]["layer"] == stack.change.layer
    with pytest.raises(MethodError, match="tokens should be greater than 0, not 0"):
        get_method("xlt").prepare(given, tokens=0)


def test_thinking_where_the_answer_is_written(model: Model, tmp_path: Path) -> None:
    rows = [(f"Question: What is {i} + 1?", i + 1) for i in range(3)]
    write(tmp_path / "data" / "mgsm" / "mgsm_sw.tsv", tsv(rows))
    given = setting(model, tmp_path / "data", "mgsm", form="english")
    plan = get_method("chain_of_thought").prepare(given)
    prompt = prompts_of(plan, given)[0]
    assert prompt.endswith("What is 0 + 1?\nAnswer:\nLet's think step by step in English.")
    assert plan.config["generation_kwargs"]["max_gen_toks"] == 256
    assert plan.extra_tokens == 0
    with pytest.raises(MethodError, match="chooses by accuracy, and MGSM has no answer choices"):
        get_method("prompt_optimisation").prepare(given)
    with pytest.raises(MethodError, match="xlt is for tasks with one short answer"):
        get_method("xlt").prepare(setting(model, tmp_path, "flores_to_english"))


def test_the_cue_of_a_prompt() -> None:
    assert split_cue("Text: a\nTopic:") == ("Text: a", "Topic:")
    assert split_cue("It rained because") == ("It rained because", "It rained because")
    assert split_cue("Text:\n") == ("Text:\n", "Text:\n")
