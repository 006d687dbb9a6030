"""Tasks of the harness over items."""

import warnings

import pytest

pytest.importorskip("lm_eval")

from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks import (
    get_benchmark,
    make_task,
)
from tests.made.tasks import asked, sib

SIB = get_benchmark("sib200")


def test_task_asks_exactly_the_docs_in_order() -> None:
    docs = sib(5)[::-1]
    task = make_task(SIB, "sw", docs, name="mine")
    assert task.task_name == "mine"
    assert [doc["id"] for doc in task.eval_docs] == ["4", "3", "2", "1", "0"]
    task.build_all_requests()
    assert [request.doc["id"] for request in task.instances[::7]] == ["4", "3", "2", "1", "0"]


def test_shots_are_the_first_examples_in_order() -> None:
    task = make_task(SIB, "sw", sib(1), shots=2, examples=sib(5)[1:])
    assert asked(task)[0][0] == (
        "Text: Text 1.\nThe topic of this text is travel\n\n"
        "Text: Text 2.\nThe topic of this text is politics\n\n"
        "Text: Text 0.\nThe topic of this text is"
    )
    with pytest.raises(BenchmarkError, match="SIB-200: 3 shots of 2 examples"):
        make_task(SIB, "sw", sib(1), shots=3, examples=sib(2))


def test_config_overrides_keys_of_the_task() -> None:
    task = make_task(SIB, "sw", sib(1), config={"description": "Say the topic.\n\n"})
    assert asked(task)[0][0].startswith("Say the topic.\n\nText: Text 0.")


def test_making_a_task_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_task(SIB, "sw", sib(2), shots=1, examples=sib(1))
    assert not caplog.records


def test_tasks_run_in_the_harness() -> None:
    from lm_eval.evaluator import evaluate
    from lm_eval.models.dummy import DummyLM

    mgsm = [{"id": "1", "question": "1+1?", "answer": None, "answer_number": 2}]
    flores = [{"id": "1", "text": "Paka.", "reference": "A cat."}]
    asked_in = [{"id": "1", "prompt": "Habari?", "source": "flores", "language": "sw"}]
    tasks = {
        "a": make_task(SIB, "sw", sib(3), name="a"),
        "b": make_task(get_benchmark("mgsm"), "sw", mgsm, name="b"),
        "c": make_task(get_benchmark("language_confusion_flores"), "sw", asked_in, name="c"),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tasks["d"] = make_task(get_benchmark("flores_to_english"), "sw", flores, name="d")
        found = evaluate(DummyLM(), tasks, bootstrap_iters=0)
    results = found["results"]
    assert 0 <= results["a"]["acc,none"] <= 1
    assert results["b"]["exact_match,flexible-extract"] == 0
    assert set(results["d"]) >= {"chrf++,none", "sentence_chrf++,none"}
    assert [sample["doc"]["id"] for sample in found["samples"]["a"]] == ["0", "1", "2"]
