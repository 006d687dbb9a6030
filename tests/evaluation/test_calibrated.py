"""Fixed answers chosen with the model's liking for each taken off."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import langsteer
from langsteer.errors import LangsteerError, ModelError, VectorError
from langsteer.evaluation.calibrated import Calibrated, Priors, calibrated
from langsteer.evaluation.harness.choices import choice_scores
from langsteer.evaluation.statistics import FEWEST_CALIBRATED, calibrate
from langsteer.model.model import Model
from langsteer.model.tokens import Prompt
from langsteer.steering.steered import Steered
from langsteer.steering.vector import SteeringVector
from tests.helpers import vector_at

ANSWERS = (" rain", " law", " sport and games")
TEXTS = [Prompt(f"text {i} " + "abcdefg"[i % 7] * 3, "Text: ", "\nTopic:") for i in range(20)]


def two_vectors(model: Model) -> dict[str, SteeringVector]:
    return {"sw": vector_at(model, 0), "el": replace(vector_at(model, 1, seed=1), language="el")}


def test_scores_are_batch_calibrated(llama: Model) -> None:
    (raw,) = choice_scores(llama, TEXTS, ANSWERS)
    chooser = langsteer.calibrated(llama, ANSWERS, TEXTS)
    np.testing.assert_allclose(chooser.scores(TEXTS), calibrate(raw.double().numpy()), atol=1e-6)
    choices = chooser.choose(TEXTS)
    best = chooser.scores(TEXTS).argmax(axis=1)
    assert [choice.answer for choice in choices] == [ANSWERS[i] for i in best]
    assert all(sum(choice.probabilities) == pytest.approx(1) for choice in choices)
    assert all(choice.steered is None for choice in choices)


def test_an_answer_that_is_always_likeliest_is_not_always_chosen(llama: Model) -> None:
    (raw,) = choice_scores(llama, TEXTS, ANSWERS)
    assert len(set(raw.argmax(dim=1).tolist())) == 1
    chosen = langsteer.calibrated(llama, ANSWERS, TEXTS).choose(TEXTS)
    assert len({choice.answer for choice in chosen}) > 1


def test_a_language_has_its_own_prior_under_its_own_vector(llama: Model) -> None:
    vectors = two_vectors(llama)
    ready = Steered(llama, vectors)
    one = calibrated(ready, ANSWERS, TEXTS, language="sw")
    assert set(one.priors.means) == {"all", "sw"}
    (raw,) = choice_scores(llama, TEXTS, ANSWERS, [vectors["sw"]])
    np.testing.assert_allclose(one.priors.means["sw"], raw.double().mean(0), atol=1e-6)
    assert {choice.steered for choice in one.choose(TEXTS[:3], language="sw")} == {"sw"}
    english = one.scores(TEXTS, language="en")
    (plain,) = choice_scores(llama, TEXTS, ANSWERS)
    np.testing.assert_allclose(english, plain.double() - raw.double().mean(0), atol=1e-5)


def test_priors_are_kept_in_a_file(llama: Model, tmp_path: Path) -> None:
    before = calibrated(llama, ANSWERS, TEXTS)
    file = before.priors.write(tmp_path)
    after = calibrated(llama, ANSWERS, file)
    assert after.priors == before.priors
    np.testing.assert_array_equal(after.scores(TEXTS[:2]), before.scores(TEXTS[:2]))


@pytest.mark.parametrize(
    ("answers", "texts", "message"),
    [
        (ANSWERS, TEXTS[: FEWEST_CALIBRATED - 1], "15 texts are too few"),
        ([" one"], TEXTS, "two answers or more"),
        (" rain", TEXTS, "answers are a list of texts, not ' rain'"),
        (None, TEXTS, "answers are a list of texts, not None"),
        ([1, 2], TEXTS, "an answer is a text, not 1"),
        (ANSWERS, [*TEXTS, 7], "text 21 is 7, and not a string"),
        (ANSWERS, TEXTS[0], "a single text was given"),
        (ANSWERS, 16, "texts are a list, not 16"),
        ([" one", " one"], TEXTS, "all different"),
        ([" one", " "], TEXTS, "none empty"),
    ],
)
def test_what_cannot_be_calibrated(llama: Model, answers: Any, texts: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        calibrated(llama, answers, texts)


def test_what_texts_are_chosen_for(llama: Model) -> None:
    chooser = calibrated(llama, ANSWERS, TEXTS)
    assert chooser.choose([]) == []
    assert chooser.scores([]).shape == (0, len(ANSWERS))
    wrong: tuple[Any, ...] = ("one text", TEXTS[0], [1], None)
    for texts in wrong:
        with pytest.raises(ModelError, match="text"):
            chooser.choose(texts)


def test_priors_serve_their_answers_in_any_order(llama: Model, tmp_path: Path) -> None:
    before = calibrated(llama, ANSWERS, TEXTS)
    after = calibrated(llama, ANSWERS[::-1], before.priors.write(tmp_path))
    assert after.answers == ANSWERS[::-1]
    np.testing.assert_allclose(after.scores(TEXTS), before.scores(TEXTS)[:, ::-1], atol=1e-6)
    assert [c.answer for c in after.choose(TEXTS)] == [c.answer for c in before.choose(TEXTS)]


def test_priors_with_a_byte_order_mark_are_read(llama: Model, tmp_path: Path) -> None:
    priors = calibrated(llama, ANSWERS, TEXTS).priors
    file = priors.write(tmp_path)
    file.write_text(file.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert calibrated(llama, ANSWERS, file).priors == priors


def test_priors_of_others_are_refused(llama: Model, tmp_path: Path) -> None:
    priors = calibrated(llama, ANSWERS, TEXTS).priors
    with pytest.raises(ModelError, match="of other answers: ' rain'"):
        calibrated(llama, ANSWERS[:2], priors)
    other = Priors({"name": "another"}, priors.answers, priors.means, priors.texts)
    with pytest.raises(ModelError, match="of another model"):
        calibrated(llama, ANSWERS, other)
    file = priors.write(tmp_path)
    values = json.loads(file.read_text())
    damages: tuple[dict[str, object], ...] = (
        {"means": {}},
        {"means": {"all": [1.0]}},
        {"means": {"all": None}},
        {"texts": 3},
        {"texts": {}},
        {"texts": {"all": 0}},
    )
    for damage in damages:
        file.write_text(json.dumps({**values, **damage}))
        with pytest.raises(LangsteerError):
            calibrated(llama, ANSWERS, file)


def test_several_languages_need_a_router_or_a_name(llama: Model) -> None:
    with pytest.raises(VectorError, match="name the language"):
        calibrated(Steered(llama, two_vectors(llama)), ANSWERS, TEXTS)


def test_it_is_what_langsteer_offers() -> None:
    assert langsteer.calibrated is calibrated
    assert langsteer.Calibrated is Calibrated
