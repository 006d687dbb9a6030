"""The methods of a comparison, on invented items in the published formats and a tiny model."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("lm_eval")


from langsteer.errors import BenchmarkError, FitError, MethodError, MissingExtraError
from langsteer.evaluation.benchmarks.sib200 import TOPICS
from langsteer.evaluation.methods import METHODS, Setting, asking, get_method
from langsteer.evaluation.methods.common import PROMPT, kept
from langsteer.evaluation.methods.prompts import split_cue
from langsteer.fitting import learning as fitting
from langsteer.model.model import Model
from langsteer.steering.projection import Projection
from langsteer.steering.vector import SteeringVector
from langsteer.storage.files import write_text
from langsteer.text.corpus import ParallelCorpus
from tests.helpers import build_model, pairs
from tests.made.published import tsv, write
from tests.made.settings import prompts_of, setting

# --- the registry


def test_every_method_that_is_promised() -> None:
    assert list(METHODS) == [
        "direct",
        "english",
        "few_shot",
        "few_shot_english",
        "native_instruction",
        "english_instruction",
        "chain_of_thought",
        "xlt",
        "prompt_optimisation",
        "translate_file",
        "translate_mt",
        "translate_service",
        "self_translate",
        "lora_sft",
        "lora_english",
        "projection",
        "projection_all",
        "learned",
        "mean_difference",
        "principal_component",
        "probe",
        "learned_together",
        "low_rank",
    ]
    assert get_method("few_shot + learned").name == "few_shot+learned"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fewshot", "no method 'fewshot'; did you mean 'few_shot'"),
        ("???", "there are direct, english"),
        ("projection+learned", "both change the hidden states"),
        ("learned+mean_difference", "both change the hidden states"),
        ("translate_file+learned", "the text is English already"),
        ("english+learned", "the text is English already"),
        ("few_shot+lora_sft", "only steering or a projection can come second"),
        ("few_shot+learned+probe", "a stack is of two methods"),
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
    usual = get_method("mean_difference").plan(given)
    moved = get_method("mean_difference@prompt").plan(given)
    stack = get_method("few_shot+mean_difference@prompt").plan(given, k=1)
    assert isinstance(usual.change, SteeringVector)
    for plan in (moved, stack):
        assert isinstance(plan.change, SteeringVector)
        assert torch.equal(plan.change.values, usual.change.values)
        assert (usual.change.positions, plan.change.positions) == ("source", "prompt")
    assert moved.settings["positions"] == "prompt"
    fitted = get_method("mean_difference").plan(given, positions="prompt")
    assert isinstance(fitted.change, SteeringVector)
    assert fitted.change.positions == "prompt"
    assert fitted.change.scores["trials"] != usual.change.scores["trials"]
    again = get_method("mean_difference").plan(given)
    assert again.training_seconds == round(usual.training_seconds, 3)  # both are kept
    assert get_method("projection@all").title == "Projection, one layer, at all tokens"


def test_an_option_that_a_method_does_not_have(model: Model, data: Path) -> None:
    given = setting(model, data)
    with pytest.raises(MethodError, match="few_shot has no option 'shots': it has k, part"):
        get_method("few_shot").plan(given, shots=3)
    with pytest.raises(MethodError, match="direct has no option 'k': it has none"):
        get_method("direct+probe").plan(given, k=3)


# --- direct, English


def test_direct_and_a_limit_that_is_the_same_in_every_language(model: Model, data: Path) -> None:
    given = setting(model, data)
    plan = get_method("direct").plan(given)
    assert [doc["id"] for doc in plan.docs] == [str(i) for i in range(200, 212)]
    assert (plan.language, plan.form, plan.change, plan.model) == ("sw", "english", None, None)
    limited = replace(given, limit=4)
    few = [get_method(name).plan(limited) for name in ("direct", "english")]
    assert len(few[0].docs) == 4
    assert [d["id"] for d in few[0].docs] == [d["id"] for d in few[1].docs]
    assert few[1].docs[0]["text"].startswith("news")
    assert few[1].language == "en"


def test_english_has_the_form_asked_for(model: Model, data: Path) -> None:
    plan = get_method("english").plan(setting(model, data, form="native"))
    assert plan.form == "native"
    (data / "sib200" / "eng_Latn" / "test.tsv").unlink()
    with pytest.raises(MethodError, match="there is no original to ask"):
        get_method("english").plan(setting(model, data))


# --- few-shot


def test_few_shot_examples_are_balanced_and_the_same_everywhere(model: Model, data: Path) -> None:
    given = setting(model, data)
    here = get_method("few_shot").plan(given, k=14)
    there = get_method("few_shot_english").plan(given, k=14)
    assert [doc["id"] for doc in here.examples] == [doc["id"] for doc in there.examples]
    assert Counter(doc["category"] for doc in here.examples) == dict.fromkeys(TOPICS, 2)
    assert {"habari"} == {doc["text"].split()[0] for doc in here.examples}
    assert {"news"} == {doc["text"].split()[0] for doc in there.examples}
    assert here.chosen_on == {doc["id"] for doc in here.examples}
    assert (here.examples_language, there.examples_language) == (None, "en")
    other = get_method("few_shot").plan(replace(given, seed=1), k=14)
    assert [doc["id"] for doc in here.examples] != [doc["id"] for doc in other.examples]
    prompt = prompts_of(there, given)[0]
    assert prompt.count("news number") == 14
    assert prompt.endswith("Text: habari number 200\nThe topic of this text is")


def test_english_examples_have_an_english_frame(model: Model, data: Path) -> None:
    given = setting(model, data, "xcopa", form="native")
    plan = get_method("few_shot_english").plan(given, k=2)
    prompt = prompts_of(plan, given)[0]
    assert prompt.count("It rained on dev") == 2
    assert prompt.count(" because ") + prompt.count(" therefore ") == 2


def test_few_shot_never_takes_what_is_asked(model: Model, data: Path) -> None:
    given = setting(model, data)
    with pytest.raises(MethodError, match="cannot learn from the part test"):
        get_method("few_shot").plan(given, part="test")
    path = data / "sib200" / "swh_Latn" / "train.tsv"
    rows: list[tuple[object, ...]] = [("index_id", "category", "text")]
    rows += [(1, "travel", "habari number 200"), (2, "travel", "habari nyingine")]
    write(path, tsv(rows))
    (data / "sib200" / "eng_Latn" / "train.tsv").unlink()
    plan = get_method("few_shot").plan(given, k=1)
    assert [doc["index_id"] for doc in plan.examples] == [2]
    with pytest.raises(MethodError, match="2 examples were asked for"):
        get_method("few_shot").plan(given, k=2)
    with pytest.raises(MethodError, match="at least one example"):
        get_method("few_shot").plan(given, k=0)


# --- prompts


def test_instructions(model: Model, data: Path) -> None:
    given = setting(model, data)
    for name, tag in (("native_instruction", "sw"), ("english_instruction", "en")):
        plan = get_method(name).plan(given)
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
    plan = get_method(name).plan(given, tokens=7)
    direct = prompts_of(get_method("direct").plan(given), given)
    for prompt, before, plain in zip(prompts_of(plan, given), asked, direct, strict=True):
        body, cue = split_cue(plain)
        assert body in before
        assert prompt == f"{before} It is about x.\n{cue}"
    assert (plan.extra_tokens, plan.extra_seconds) == (90, 1.5)
    assert all(PROMPT in doc for doc in plan.docs)


def test_thinking_runs_and_can_be_steered(model: Model, data: Path) -> None:
    given = setting(model, data, limit=2)
    plan = get_method("chain_of_thought").plan(given, tokens=5)
    assert plan.extra_tokens > 10
    stack = get_method("chain_of_thought+mean_difference").plan(given, tokens=5)
    assert isinstance(stack.change, SteeringVector)
    assert stack.settings["mean_difference"]["layer"] == stack.change.layer
    with pytest.raises(MethodError, match="at least one token"):
        get_method("xlt").plan(given, tokens=0)


def test_thinking_where_the_answer_is_written(model: Model, tmp_path: Path) -> None:
    rows = [(f"Question: What is {i} + 1?", i + 1) for i in range(3)]
    write(tmp_path / "data" / "mgsm" / "mgsm_sw.tsv", tsv(rows))
    given = setting(model, tmp_path / "data", "mgsm", form="english")
    plan = get_method("chain_of_thought").plan(given)
    prompt = prompts_of(plan, given)[0]
    assert prompt.endswith("What is 0 + 1?\nAnswer:\nLet's think step by step in English.")
    assert plan.config["generation_kwargs"]["max_gen_toks"] == 256
    assert plan.extra_tokens == 0
    with pytest.raises(MethodError, match="chooses by accuracy, and MGSM has no answer choices"):
        get_method("prompt_optimisation").plan(given)
    with pytest.raises(MethodError, match="xlt is for tasks with one short answer"):
        get_method("xlt").plan(setting(model, tmp_path, "flores_to_english"))


def test_the_cue_of_a_prompt() -> None:
    assert split_cue("Text: a\nTopic:") == ("Text: a", "Topic:")
    assert split_cue("It rained because") == ("It rained because", "It rained because")
    assert split_cue("Text:\n") == ("Text:\n", "Text:\n")


# --- prompt optimisation


def test_the_best_prompt_on_development_items(
    model: Model, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = setting(model, data)
    tried: list[str] = []

    def accuracy(given: Setting, rendered: Any, calibrated: bool) -> tuple[float, float]:
        tried.append(rendered[0].prompt)
        return (0.9 if "Chagua" in rendered[0].prompt else 0.2), -1.0

    monkeypatch.setattr("langsteer.evaluation.methods.optimised.accuracy", accuracy)
    path = tmp_path / "pool.yaml"
    write_text(path, "- name: mine\n  instruction: 'Chagua kwa {language}.'\n")
    plan = get_method("prompt_optimisation").plan(given, pool=path)
    assert plan.settings["prompt"]["name"] == "mine"
    assert prompts_of(plan, given)[0].startswith("Chagua kwa Swahili.\n\nText: habari")
    assert plan.chosen_on == {f"development-{i}" for i in range(100, 109)}
    assert len(tried) == len(plan.settings["pool"]) > 8
    assert plan.training_seconds > 0
    again = get_method("prompt_optimisation").plan(given, pool=path)
    assert len(tried) == len(plan.settings["pool"])
    assert again.settings == plan.settings
    get_method("prompt_optimisation").plan(given, pool=path, items=5)
    assert len(tried) == 2 * len(plan.settings["pool"])


def test_prompts_are_tried_on_the_model(model: Model, data: Path) -> None:
    given = setting(model, data)
    pool = [{"instruction": "a"}, {"form": "native"}, {"config": {"doc_to_text": "{{text}}"}}]
    plan = get_method("prompt_optimisation").plan(given, pool=pool, only=True)
    assert len(plan.settings["pool"]) == 3
    assert plan.settings["development_accuracy"] == max(
        row["accuracy"] for row in plan.settings["pool"]
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "is a list of mappings"),
        ("{", "is not JSON or YAML"),
        ('[{"instructions": "a"}]', "prompt 1: no field 'instructions'; there are name, form"),
        ('[{"form": "rhyme"}]', "no form 'rhyme'; there are english, native"),
        ('[{"config": {"doc_to_target": "0"}}]', "config may hold doc_to_text"),
        ("[]", "the pool has no prompt"),
    ],
)
def test_a_pool_that_cannot_be_used(
    text: str, message: str, model: Model, data: Path, tmp_path: Path
) -> None:
    path = write_text(tmp_path / "pool.json", text)
    with pytest.raises(MethodError, match=message):
        get_method("prompt_optimisation").plan(setting(model, data), pool=path, only=True)
    with pytest.raises(MethodError, match="cannot read the pool"):
        get_method("prompt_optimisation").plan(setting(model, data), pool=tmp_path / "none.json")


def test_without_dspy(model: Model, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "dspy", None)
    with pytest.raises(MissingExtraError, match=r"needs dspy: pip install 'langsteer\[dspy\]'"):
        get_method("prompt_optimisation").plan(setting(model, data), optimiser="dspy")


def test_what_dspy_proposes_is_in_the_pool(model: Model, data: Path) -> None:
    dspy = pytest.importorskip("dspy")
    from dspy.utils import DummyLM

    answer = {"proposed_instruction": "Do it well.", "proposed_prefix_for_output_field": "Right:"}
    with dspy.context(lm=DummyLM([answer] * 40)):
        plan = get_method("prompt_optimisation").plan(setting(model, data), optimiser="dspy")
    assert "dspy 1" in [row["name"] for row in plan.settings["pool"]]
    with pytest.raises(MethodError, match="needs a model that proposes"):
        get_method("prompt_optimisation").plan(setting(model, data), optimiser="dspy")


# --- hidden states


def refuse(*args: Any, **options: Any) -> None:
    raise AssertionError("learned again")


def test_vectors_are_kept_between_runs(
    model: Model, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = setting(model, data)
    plan = get_method("mean_difference").plan(given, layer=1)
    assert isinstance(plan.change, SteeringVector)
    assert plan.settings["layer"] == 1

    monkeypatch.setattr(fitting, "learn", refuse)
    again = get_method("mean_difference").plan(given, layer=1)
    assert again.change is not None
    assert again.training_seconds == pytest.approx(plan.training_seconds, abs=0.01)
    for changed in (
        replace(given, corpus=pairs(59)),
        replace(given, model=build_model("llama", seed=5)),
        replace(given, seed=3),
    ):
        with pytest.raises(AssertionError, match="learned again"):
            get_method("mean_difference").plan(changed, layer=1)
    path = given.work / "vectors" / "mean_difference" / "sw.safetensors"
    path.write_bytes(b"damaged")
    with pytest.raises(AssertionError, match="learned again"):
        get_method("mean_difference").plan(given, layer=1)


def test_projections(model: Model, data: Path) -> None:
    given = setting(model, data)
    few = {"ridges": [0.1], "alphas": [0.25, 0.5]}
    one = get_method("projection").plan(given, **few)
    every = get_method("projection_all").plan(given, **few)
    assert isinstance(one.change, Projection)
    assert len(one.settings["layers"]) == 1
    assert every.settings["layers"] == [0, 1, 2, 3]
    with pytest.raises(
        MethodError, match="projection has no option 'strengths': it has layers, ridges"
    ):
        get_method("projection").plan(given, strengths=[1])


def test_the_same_method_at_other_positions_is_kept_apart(
    model: Model, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = setting(model, data, limit=2, all_languages=lambda: pairs(60))
    ways: list[dict[str, Any]] = [{"steps": 4}, {"steps": 4, "positions": "source"}]
    names = ("learned", "learned_together")
    made = [get_method(name).plan(given, **way).change for name in names for way in ways]
    monkeypatch.setattr(fitting, "learn", refuse)
    monkeypatch.setattr(fitting, "learn_all", refuse)
    kept = [get_method(name).plan(given, **way).change for name in names for way in ways]
    assert [change.positions for change in kept] == ["prompt", "source"] * 2
    assert [change.positions for change in made] == ["prompt", "source"] * 2


def test_one_vector_for_all_languages(model: Model, data: Path) -> None:
    corpus = ParallelCorpus(
        {**pairs(60).texts, "et": tuple(reversed(pairs(60).texts["sw"]))}, "en", "two"
    )
    given = setting(model, data, limit=2, all_languages=lambda: corpus)
    plan = get_method("learned_together").plan(given, steps=4, strengths=[1.0])
    assert isinstance(plan.change, SteeringVector)
    assert plan.change.language == "sw"
    folder = given.work / "vectors" / "learned_together"
    other = SteeringVector.load(folder / "et.safetensors")
    assert torch.equal(other.values, plan.change.values)
    again = get_method("learned_together").plan(given, steps=4, strengths=[1.0])
    assert again.training_seconds == pytest.approx(plan.training_seconds, abs=1e-3)
    (folder / "sw.safetensors").unlink()  # it is made again
    assert torch.equal(
        get_method("learned_together").plan(given, steps=4, strengths=[1.0]).change.values,
        plan.change.values,
    )


def test_a_low_rank_map(model: Model, data: Path) -> None:
    given = setting(model, data)
    plan = get_method("low_rank").plan(given, steps=5, rank=2, strengths=[0.5, 1.0])
    assert isinstance(plan.change, Projection)
    assert plan.settings["rank"] == 2
    assert plan.settings["alpha"] in (0.5, 1.0)
    again = get_method("low_rank").plan(given, steps=5, rank=2, strengths=[0.5, 1.0])
    assert again.training_seconds == pytest.approx(plan.training_seconds, abs=0.01)
    with pytest.raises(
        MethodError, match="low_rank has no option 'ridge': it has strengths, layer"
    ):
        get_method("low_rank").plan(given, ridge=1)


def test_what_cannot_be_fitted(model: Model, data: Path) -> None:
    with pytest.raises(MethodError, match="learned needs a parallel corpus"):
        get_method("learned").plan(setting(model, data, corpus=None))
    with pytest.raises(MethodError, match="en is the language that others are aligned to"):
        get_method("probe").plan(setting(model, data, language="en"))
    with pytest.raises(FitError, match="no option 'magic'"):
        get_method("learned").plan(setting(model, data), magic=1)
    german = ParallelCorpus({"de": pairs().texts["sw"], "en": pairs().texts["en"]}, "en", "other")
    with pytest.raises(Exception, match="other has no Swahili"):
        get_method("learned").plan(setting(model, data, corpus=german))


def test_few_shot_with_a_vector_on_top(model: Model, data: Path) -> None:
    given = setting(model, data)
    plan = get_method("few_shot+mean_difference").plan(given, k=2, steering={"layer": 2})
    assert plan.shots == 2
    assert isinstance(plan.change, SteeringVector)
    assert plan.change.layer == 2
    assert plan.training_seconds > 0


# --- what is kept


def test_what_is_kept_is_made_again_when_it_was_made_of_something_else(tmp_path: Path) -> None:
    path, made = tmp_path / "a.txt", []

    def make() -> str:
        made.append(1)
        write_text(path, "made")
        return "made"

    for about in ({"seed": 0}, {"seed": 0}, {"seed": 1}):
        found, seconds = kept(path, about, lambda p: p.read_text(), make)
        assert found == "made"
        assert seconds >= 0
    assert len(made) == 2
    (tmp_path / "a.txt.json").write_text("[")
    kept(path, {"seed": 1}, lambda p: p.read_text(), make)
    path.unlink()
    kept(path, {"seed": 1}, lambda p: p.read_text(), make)
    assert len(made) == 4
    assert json.loads((tmp_path / "a.txt.json").read_text())["about"] == {"seed": 1}


def test_a_benchmark_without_a_part_to_learn_from(model: Model, data: Path) -> None:
    given = setting(model, data, "xcopa")
    plan = get_method("few_shot").plan(given, k=2)
    assert plan.chosen_on == {doc["id"] for doc in plan.examples}
    with pytest.raises(MethodError, match="the part train, which XCOPA does not have"):
        get_method("few_shot").plan(given, part="train")
    with pytest.raises(BenchmarkError, match="has no German"):
        get_method("direct").plan(replace(given, language="de"))
