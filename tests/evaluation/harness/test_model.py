"""The harness's model: the same scores as its own, steering where it should be, and clear errors."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("lm_eval", reason="lm-eval is not installed")

import datasets
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.hf_steered import SteeredModel
from lm_eval.models.huggingface import HFLM

from langsteer.errors import ModelError, VectorError
from langsteer.evaluation.harness.model import LangsteerLM
from langsteer.evaluation.harness.tasks import TaskInfo, run_tasks
from langsteer.model.model import Model
from langsteer.model.tokens import Prompt
from langsteer.steering.generation import generate
from langsteer.steering.vector import SteeringVector
from tests.helpers import vector_at

DOCS = [
    {"id": str(i), "text": text, "label": i % 3, "a": "mvua kubwa", "b": "jua"}
    for i, text in enumerate(
        [
            "Mvua ilinyesha jana.",
            "Bunge lilipitisha sheria mpya",
            "Timu ilishinda",
            "Wao waliondoka",
        ]
    )
]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def make_task(name: str = "topics_sw", **changes: Any) -> ConfigurableTask:
    data = {"test": datasets.Dataset.from_list(DOCS)}
    config = {
        "task": name,
        "custom_dataset": lambda **_: data,
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "Text: {{text}}\nTopic:",
        "doc_to_target": "label",
        "doc_to_choice": ["rain", "law", "sport and games"],
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    return ConfigurableTask(config=config | changes)


def scores(lm: Any, task: ConfigurableTask | None = None) -> list[list[float]]:
    task = task or make_task()
    samples = run_tasks(lm, {task.config.task: task})["samples"][task.config.task]
    return [[value for value, _ in sample["filtered_resps"]] for sample in samples]


def close(first: list[list[float]], second: list[list[float]]) -> bool:
    return torch.allclose(torch.tensor(first), torch.tensor(second), atol=1e-3)


def hf(model: Model) -> HFLM:
    return HFLM(pretrained=model.network, tokenizer=model.tokenizer, batch_size=2)


def test_it_is_registered() -> None:
    assert get_model("langsteer") is LangsteerLM


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"doc_to_choice": ["{{a}}", "{{b}}", "x"], "target_delimiter": ""},
        {"doc_to_text": "", "target_delimiter": ""},
        {"doc_to_text": "{{text}}   "},
    ],
)
def test_scores_equal_those_of_hf(llama: Model, changes: dict[str, Any]) -> None:
    ours, theirs = scores(LangsteerLM(llama), make_task(**changes)), scores(
        hf(llama), make_task(**changes)
    )  # fmt: skip
    assert close(ours, theirs)
    assert len({value for row in ours for value in row}) >= 3


def test_contexts_that_are_too_long_are_cut_as_in_hf(llama: Model) -> None:
    ours = LangsteerLM(llama, max_length=20)
    theirs = HFLM(pretrained=llama.network, tokenizer=llama.tokenizer, batch_size=2, max_length=20)
    assert close(scores(ours), scores(theirs))


def test_scores_equal_those_of_steered(llama: Model, tmp_path: Path) -> None:
    change = vector_at(llama, 1, "all")
    part = {"steering_vector": change.values[None], "action": "add", "steering_coefficient": 1.0}
    torch.save({"layers.1": part}, tmp_path / "steer.pt")
    tokenizer = llama.tokenizer
    theirs = SteeredModel(
        pretrained=llama.network,
        steer_path=str(tmp_path / "steer.pt"),
        tokenizer=tokenizer,
        batch_size=2,
    )
    # The harness steers the beginning-of-sequence token too, so this text has none.
    theirs.tok_encode = lambda string, *a, **k: list(  # type: ignore[method-assign]
        tokenizer(string, add_special_tokens=False)["input_ids"]
    )
    ours = LangsteerLM(llama, vectors={"sw": change})
    ours.tok_encode = theirs.tok_encode  # type: ignore[method-assign]
    assert close(scores(ours), scores(theirs))
    assert not close(scores(ours), scores(LangsteerLM(llama)))


def test_only_the_text_of_the_item_is_steered(llama: Model) -> None:
    lm = LangsteerLM(llama, vectors={"sw": vector_at(llama, 1)})
    request = Instance("loglikelihood", DOCS[0], ("Text: Mvua ilinyesha jana.\nTopic:", " x"), 0)
    request.metadata = ("topics_sw", 0, 1)
    (asked,) = lm.reader.asked([request])
    marked = "".join(
        llama.tokenizer.decode([i])
        for i, inside in zip(asked.context, asked.source, strict=True)
        if inside
    )
    assert marked == "Mvua ilinyesha jana."


def test_the_task_tells_the_language(llama: Model) -> None:
    lm = LangsteerLM(llama, vectors={"sw": vector_at(llama, 1), "et": vector_at(llama, 1, seed=5)})
    sw, et = (scores(lm, make_task(name)) for name in ("t_sw", "t_est_Latn"))
    none = scores(LangsteerLM(llama, vectors={"et": vector_at(llama, 1)}), make_task("t_sw"))
    assert close(none, scores(LangsteerLM(llama)))
    assert not close(sw, et)
    assert not close(sw, none)
    named = LangsteerLM(
        llama, vectors={"sw": vector_at(llama, 1)}, tasks={"topics": TaskInfo("sw", ("text",))}
    )
    assert close(scores(named, make_task("topics")), sw)


def test_variants_share_a_pass_and_answer_in_turn(llama: Model) -> None:
    change = vector_at(llama, 1)
    alone = scores(LangsteerLM(llama, vectors={"sw": change})), scores(LangsteerLM(llama))
    lm = LangsteerLM(llama)
    calls = []
    hook = llama.blocks[0].register_forward_pre_hook(lambda *_: calls.append(1))
    with lm.variants({"steered": change, "plain": None}):
        lm.use("plain")
        plain = scores(lm)
        ran = len(calls)
        lm.use("steered")
        steered = scores(lm)
    hook.remove()
    assert len(calls) == ran
    assert close(steered, alone[0])
    assert close(plain, alone[1])
    assert lm.costs["plain"].tokens == lm.costs["steered"].tokens > 0
    with pytest.raises(ModelError, match="no variant"):
        lm.use("steered")


def test_generation_is_steered_and_stops(llama: Model) -> None:
    change = vector_at(llama, 1)
    task = make_task(
        output_type="generate_until",
        doc_to_choice=None,
        doc_to_target="text",
        generation_kwargs={"until": ["\n"], "max_gen_toks": 6, "do_sample": False},
        metric_list=[{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    )
    lm = LangsteerLM(llama, vectors={"sw": change})
    found = run_tasks(lm, {"topics_sw": task})["samples"]["topics_sw"]
    prompts = [Prompt(doc["text"], "Text: ", "\nTopic:") for doc in DOCS]
    wanted = [generate(llama, [p], change, max_new_tokens=6)[0].split("\n")[0] for p in prompts]
    assert [sample["filtered_resps"][0] for sample in found] == wanted
    assert lm.complete([str(prompts[0])], 6, ["\n"], change, [DOCS[0]["text"]]) == wanted[:1]


def test_rolling_likelihoods_equal_those_of_hf(llama: Model) -> None:
    requests = [
        Instance("loglikelihood_rolling", {}, ("some text to be read",), 0) for _ in range(2)
    ]
    ours, theirs = (
        lm.loglikelihood_rolling(requests, True) for lm in (LangsteerLM(llama), hf(llama))
    )
    assert ours == pytest.approx(theirs, abs=1e-3)


def test_vectors_from_a_folder(llama: Model, tmp_path: Path) -> None:
    change = vector_at(llama, 1)
    change.save(tmp_path / "sw.safetensors")
    lm = LangsteerLM(llama, vectors=str(tmp_path))
    assert close(scores(lm), scores(LangsteerLM(llama, vectors={"sw": change})))
    double = LangsteerLM(llama, vectors=tmp_path, strength=2.0)
    by_hand = SteeringVector(**{**vars(change), "strength": 2.0})
    assert close(scores(double), scores(LangsteerLM(llama, vectors={"sw": by_hand})))
    change.save(tmp_path / "again.safetensors")
    with pytest.raises(VectorError, match="several vectors for sw"):
        LangsteerLM(llama, vectors=tmp_path)
    with pytest.raises(VectorError, match="no vector file"):
        LangsteerLM(llama, vectors=tmp_path / "..")


def test_a_vector_of_another_model_is_refused(llama: Model) -> None:
    from tests.helpers import tiny

    with pytest.raises(VectorError, match="does not fit"):
        LangsteerLM(llama, vectors={"sw": vector_at(tiny("gpt2"), 1)})


def test_an_answer_without_tokens_is_named(llama: Model) -> None:
    request = Instance("loglikelihood", DOCS[0], ("Text:", ""), 0)
    request.task_name = "topics_sw"
    with pytest.raises(ModelError, match="'' of task topics_sw tokenises to nothing"):
        LangsteerLM(llama).loglikelihood([request])
