"""Calibration inside the harness: its own accuracy comes out calibrated, and what cannot be is left alone."""

import logging

import numpy as np
import pytest

pytest.importorskip("lm_eval", reason="lm-eval is not installed")

import datasets
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask

from langsteer.evaluation.harness.calibrating import calibrated_answers
from langsteer.evaluation.harness.choices import choice_scores
from langsteer.evaluation.harness.model import LangsteerLM
from langsteer.evaluation.harness.tasks import run_tasks
from langsteer.evaluation.statistics import calibrate, correct
from langsteer.model.model import Model

CHOICES = (" rain", " law", " sport")


def requests(choices: list[tuple[str, ...]], task: str = "topics_sw") -> list[Instance]:
    return [
        Instance("loglikelihood", {}, (f"text {i}", choice), j, (task, i, 1))
        for i, own in enumerate(choices)
        for j, choice in enumerate(own)
    ]


def answers(count: int) -> list[tuple[float, bool]]:
    rng = np.random.default_rng(0)
    return [(float(value), bool(value < -1)) for value in -rng.exponential(size=count)]


def test_each_answers_mean_over_the_task_is_taken_off() -> None:
    asked, given = requests([CHOICES] * 20), answers(60)
    after = calibrated_answers(asked, given)
    before = np.array([value for value, _ in given]).reshape(20, 3)
    np.testing.assert_allclose([value for value, _ in after], calibrate(before).ravel())
    assert [greedy for _, greedy in after] == [greedy for _, greedy in given]


def test_tasks_are_calibrated_apart() -> None:
    first, second = requests([CHOICES] * 16), requests([CHOICES] * 16, "topics_el")
    given = answers(96)
    together = calibrated_answers([*first, *second], given)
    apart = calibrated_answers(first, given[:48]) + calibrated_answers(second, given[48:])
    assert together == apart


@pytest.mark.parametrize(
    ("choices", "why"),
    [
        ([(" a", " b"), (" c", " d")] * 10, "choices of their own"),
        ([(" a",)] * 20, "one answer"),
        ([CHOICES] * 15, "15 items are too few"),
    ],
)
def test_what_has_no_mean_is_left_and_said(
    choices: list[tuple[str, ...]], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    asked = requests(choices)
    given = answers(len(asked))
    with caplog.at_level(logging.WARNING):
        assert calibrated_answers(asked, given) == given
    assert f"topics_sw is not calibrated: {why}" in caplog.text.replace(
        "its items have ", ""
    ).replace("there is ", "")


def test_the_harness_reports_calibrated_accuracy(llama: Model) -> None:
    docs = [{"text": f"text {i} " + "abcdefg"[i % 7] * 3, "label": i % 3} for i in range(24)]
    data = {"test": datasets.Dataset.from_list(docs)}
    task = ConfigurableTask(
        config={
            "task": "topics",
            "custom_dataset": lambda **_: data,
            "test_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": "{{text}}",
            "doc_to_target": "label",
            "doc_to_choice": ["rain", "law", "sport and games"],
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        }
    )
    prompts = [str(doc["text"]) for doc in docs]
    (scores,) = choice_scores(llama, prompts, [f" {c}" for c in ("rain", "law", "sport and games")])
    right = correct(calibrate(scores.double().numpy()), [i % 3 for i in range(24)]).mean() / 100
    said = run_tasks(LangsteerLM(llama, calibrated=True), {"topics": task})["results"]["topics"]
    assert said["acc,none"] == pytest.approx(right)
    raw = run_tasks(LangsteerLM(llama), {"topics": task})["results"]["topics"]
    assert raw["acc,none"] != pytest.approx(right)
