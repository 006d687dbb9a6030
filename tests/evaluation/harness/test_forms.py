"""Every form of task: which tokens are steered, and that scores are those of a plain pass."""

import logging
from typing import Any

import pytest
import torch

pytest.importorskip("lm_eval", reason="lm-eval is not installed")

import datasets
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM

from langsteer.errors import StateError, VectorError
from langsteer.evaluation.harness.coverage import Coverage
from langsteer.evaluation.harness.model import LangsteerLM
from langsteer.evaluation.harness.requests import Asked
from langsteer.evaluation.harness.shown import WRITTEN, shown_items
from langsteer.evaluation.harness.tasks import run_tasks
from langsteer.model.model import Model
from langsteer.states.intervention import PositionKind
from langsteer.steering.vector import SteeringVector
from tests.helpers import ByHand, build_model, vector_at

DOCS = [
    {
        "premise": "Mvua ilinyesha",
        "hypothesis": "Maji mengi",
        "label": 0,
        "sentence": "Yeye _ alilia sana",
    },
    {"premise": "Jua", "hypothesis": "Kulikuwa na joto", "label": 1, "sentence": "Wao _ walicheka"},
]
WHOLE = {
    "doc_to_text": "",
    "doc_to_choice": "{{[premise+', right? Yes, '+hypothesis, premise+', right? No, '+hypothesis]}}",
}
TWO_CONTEXTS = {
    "doc_to_text": lambda doc: doc["label"],
    "doc_to_choice": lambda doc: [
        f"{doc['sentence'].split(' _')[0]} {name}" for name in ("Ali", "Ana")
    ],
    "doc_to_target": lambda doc: doc["sentence"].split("_ ")[1],
}
ONE = {"output_type": "loglikelihood", "doc_to_choice": None, "metric_list": [{"metric": "acc"}]}
FORMS: dict[str, dict[str, Any]] = {
    "context": {"doc_to_text": "Is it so: {{premise}}?", "doc_to_choice": ["yes", "no"]},
    "whole": WHOLE,
    "whole after an example": {**WHOLE, "doc_to_text": "Bahari, right? No, Mto\n\n"},
    "text in choices": {
        "doc_to_text": "{{premise}}, right?",
        "doc_to_choice": "{{['Yes, '+hypothesis, 'No, '+hypothesis]}}",
    },
    "two contexts": TWO_CONTEXTS,
    "starts alike": {"doc_to_text": "", "doc_to_choice": ["the sea of", "the sun of"]},
    "one answer": {**ONE, "doc_to_text": "{{premise}}", "doc_to_target": " {{hypothesis}}"},
    "one text": {**ONE, "doc_to_text": "", "doc_to_target": "{{premise}}"},
    "rolling": {
        "output_type": "loglikelihood_rolling",
        "doc_to_choice": None,
        "doc_to_text": "",
        "doc_to_target": "{{premise}}. {{hypothesis}}",
        "metric_list": [{"metric": "word_perplexity"}],
    },
    "written": {
        "output_type": "generate_until",
        "doc_to_choice": None,
        "doc_to_text": "So: {{premise}}.",
        "doc_to_target": "{{hypothesis}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8, "do_sample": False},
        "metric_list": [{"metric": "exact_match"}],
    },
}
STEERED: dict[str, tuple[list[str], list[str], list[str]]] = {
    # source, prompt, generated: what is steered of the first item
    "context": (["Mvua ilinyesha"], ["Is it so: ", "Mvua ilinyesha", "?"], [" ye", " n"]),
    "whole": (
        ["Mvua ilinyesha", "Maji meng", "Maji meng"],
        [" ", "Mvua ilinyesha", ", right? ", "Maji meng", "Maji meng"],
        ["Yes, ", "No, "],
    ),
    "whole after an example": (
        ["Mvua ilinyesha", "Maji meng", "Maji meng"],
        [
            "Bahari, right? No, Mto",
            "\n\n ",
            "Mvua ilinyesha",
            ", right? ",
            "Maji meng",
            "Maji meng",
        ],
        ["Yes, ", "No, "],
    ),
    "text in choices": (
        ["Mvua ilinyesha", "Maji meng", "Maji meng"],
        ["Mvua ilinyesha", ", right?", "Maji meng", "Maji meng"],
        [" Yes, ", " No, "],
    ),
    "two contexts": (["Yeye Ali", "Yeye Ana"], ["Yeye Ali", "Yeye Ana"], [" alilia san"] * 2),
    "starts alike": ([" the s"], [" the s"], ["ea o", "un o"]),
    "one answer": (["Mvua ilinyesha"], ["Mvua ilinyesha"], [" Maji meng"]),
    "one text": (["Mvua ilinyesh"], ["Mvua ilinyesh"], []),
    "rolling": (["Mvua ilinyesha. Maji meng"], ["Mvua ilinyesha. Maji meng"], []),
    "written": (["Mvua ilinyesha"], ["So: ", "Mvua ilinyesha", "."], [WRITTEN]),
}
KINDS: tuple[PositionKind, ...] = ("source", "prompt", "generated")


def make_task(name: str = "t_sw", docs: Any = DOCS, **changes: Any) -> ConfigurableTask:
    config = {
        "task": name,
        "custom_dataset": lambda **_: {"test": datasets.Dataset.from_list(docs)},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_target": "label",
        "metric_list": [{"metric": "acc"}],
    }
    return ConfigurableTask(config=config | changes)


def answers(lm: Any, task: ConfigurableTask) -> list[Any]:
    """What the harness is told: a log-likelihood a request, or the text that was written."""
    samples = run_tasks(lm, {"t_sw": task})["samples"]["t_sw"]
    flat = [value for sample in samples for (value,) in sample["resps"]]
    return [value[0] if isinstance(value, tuple) else value for value in flat]


def steered_texts(lm: LangsteerLM, task: ConfigurableTask, change: SteeringVector) -> list[str]:
    (item,) = shown_items(lm, "t_sw", task, change, "sw")
    return [stretch.text for stretch in item.stretches if stretch.steered]


@pytest.mark.parametrize("form", FORMS)
def test_which_tokens_are_steered(form: str, llama: Model) -> None:
    lm, task = LangsteerLM(llama), make_task(**FORMS[form])
    for positions, wanted in zip(KINDS, STEERED[form], strict=True):
        assert steered_texts(lm, task, vector_at(llama, 1, positions)) == wanted
    everywhere = "".join(steered_texts(lm, task, vector_at(llama, 1, "all")))
    assert all(text in everywhere for wanted in STEERED[form] for text in wanted)


@pytest.mark.parametrize("form", FORMS)
def test_unsteered_is_what_hf_says_and_steered_is_not(form: str, llama: Model) -> None:
    task = make_task(**FORMS[form])
    theirs = answers(HFLM(llama.network, tokenizer=llama.tokenizer, batch_size=2), task)
    plain = answers(LangsteerLM(llama), task)
    lm = LangsteerLM(llama, vectors={"sw": vector_at(llama, 1)})
    steered = answers(lm, task)
    assert plain == (theirs if form == "written" else pytest.approx(theirs, abs=1e-3))
    assert all(a != b for a, b in zip(plain, steered, strict=True))
    assert lm.coverage[("", "t_sw")] == Coverage(2, 0)


def by_hand(model: Model, asked: Asked, change: SteeringVector) -> float:
    """One pass without a cache, `change` added at the item's text; all tokens that are scored."""
    ids = asked.context + asked.answer
    text = torch.tensor([asked.source + asked.text])[:, :-1]
    with torch.no_grad(), ByHand(model, change.values, [text]):
        logits = model.network(torch.tensor([ids[:-1]]), use_cache=False).logits[0]
    logprobs = torch.log_softmax(logits.float(), -1)
    first = len(asked.context) - asked.scored
    return sum(float(logprobs[i - 1, ids[i]]) for i in range(first, len(ids)))


@pytest.mark.parametrize("form", [form for form in FORMS if form not in ("written", "rolling")])
@pytest.mark.parametrize("shared", [True, False])
def test_steered_scores_are_those_of_a_plain_pass(
    form: str, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shared:
        monkeypatch.setattr("langsteer.evaluation.harness.caches.cache_window", lambda model: 0)
    model = build_model("gemma3", seed=4)
    change, task = vector_at(model, 1), make_task(**FORMS[form])
    lm = LangsteerLM(model, vectors={"sw": change})
    found = answers(lm, task)
    requests = sorted(task.instances, key=lambda request: (request.doc_id, request.idx))
    wanted = [by_hand(model, asked, change) for asked in lm.reader.asked(requests)]
    assert found == pytest.approx(wanted, abs=1e-3)


def test_what_all_choices_begin_with_is_read_once(llama: Model) -> None:
    lm = LangsteerLM(llama)
    answers(lm, make_task(docs=DOCS[:1], **WHOLE))
    start, ends = " Mvua ilinyesha, right? ", ("Yes, Maji mengi", "No, Maji mengi")
    assert lm.cost.tokens == 1 + len(start) + sum(len(end) - 1 for end in ends)


def test_a_change_that_touches_nothing_is_an_error(llama: Model) -> None:
    task = make_task(doc_to_text="{{premise}}?", doc_to_choice=["y", "n"], target_delimiter="")
    lm = LangsteerLM(llama, vectors={"sw": vector_at(llama, 1, "generated")})
    with pytest.raises(
        VectorError, match="t_sw: the change at 'generated' touched no token of 2 items"
    ):
        answers(lm, task)
    with lm.variants({"plain": None, "steered": vector_at(llama, 1, "generated")}):
        lm.use("plain")
        assert len(answers(lm, task)) == 4
        lm.use("steered")
        with pytest.raises(VectorError, match="--show-tokens"):
            answers(lm, task)


def test_items_that_are_missed_are_counted(llama: Model, caplog: pytest.LogCaptureFixture) -> None:
    docs = [{"a": "the sea", "b": "the sun"}, {"a": "old", "b": "new"}, {"a": "one", "b": "ore"}]
    choices = make_task(
        docs=docs,
        doc_to_text="",
        doc_to_choice="{{[a, b]}}",
        doc_to_target=lambda _: 0,
        target_delimiter="",
    )
    lm = LangsteerLM(llama, vectors={"sw": vector_at(llama, 1)})
    with caplog.at_level(logging.WARNING):
        answers(lm, choices)
    assert lm.coverage[("", "t_sw")] == Coverage(3, 1)
    assert "touched no token of 1 of 3 items" in caplog.text


@pytest.mark.parametrize("form", ["context", "whole", "rolling", "written"])
def test_scores_that_are_no_numbers(form: str) -> None:
    model = build_model("llama")
    with torch.no_grad():
        model.network.get_input_embeddings().weight[model.tokenizer.convert_tokens_to_ids("v")] = (
            torch.nan
        )
    with pytest.raises(
        StateError, match=r"the (log-likelihoods|logits of .*) are not finite in float32"
    ):
        answers(LangsteerLM(model), make_task(**FORMS[form]))


def test_a_change_that_makes_no_numbers_fails_alone(llama: Model) -> None:
    task, lm = make_task(**FORMS["context"]), LangsteerLM(llama)
    with lm.variants({"plain": None, "steered": vector_at(llama, 1).with_strength(1e39)}):
        lm.use("plain")
        assert len(answers(lm, task)) == 4
        lm.use("steered")
        with pytest.raises(StateError, match="or steer with less strength"):
            answers(lm, task)
