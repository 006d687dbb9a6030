"""Fixed answers, chosen by the server as `langsteer.calibrated` does."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

import langsteer
from langsteer.errors import LangsteerError, ModelError
from langsteer.evaluation.calibrated import Choice, Priors
from langsteer.evaluation.harness.choices import choice_scores
from langsteer.model.tokens import Prompt
from langsteer.serving.app import ServeOptions, build_app
from langsteer.serving.choices import check_priors, read_priors
from langsteer.steering.generation import chat_prompt
from langsteer.steering.steered import Steered
from tests.helpers import build_model
from tests.made.full_engine import FullEngine

SW, TR, EN = "abcdeabcdeabcde", "fghijfghijfghij", "klmnoklmnoklmno"
CHOICES = [" rain", " law", " sport and games", "x"]
BEFORE, AFTER = "Text: ", "\nTopic:"
MIXED = [*(SW[i % 5 :] + SW[: i + 3] for i in range(17)), TR, TR[1:], TR[2:], EN, EN[2:]]
STEERED = ["sw"] * 17 + ["tr"] * 3 + [None] * 2
CLOSE = 1e-5


def around(texts: list[str]) -> list[Prompt]:
    return [Prompt(text, BEFORE, AFTER) for text in texts]


@pytest.fixture(scope="module")
def priors(vectors: Path) -> Priors:
    """Of texts in both languages and English, in Python."""
    model = build_model("llama", seed=3, max_position_embeddings=128)
    texts = around([text + letter for text in MIXED for letter in "pq"])
    ready = langsteer.steered(model, vectors, confidence=0.5)
    return langsteer.calibrated(ready, CHOICES, texts).priors


@pytest.fixture(scope="module")
def kept(vectors: Path, priors: Priors) -> Iterator[Any]:
    """A client of a server that has these priors."""
    model = build_model("llama", seed=3, max_position_embeddings=128)
    ready = langsteer.steered(model, vectors, confidence=0.5)
    with TestClient(build_app(ready, "tiny", ServeOptions(priors=(priors,)))) as opened:
        yield opened


def ask(client: Any, **body: Any) -> Any:
    return client.post("/v1/choices", json={"model": "tiny", "choices": CHOICES, **body})


def told(client: Any, **body: Any) -> dict[str, Any]:
    reply = ask(client, **body)
    assert reply.status_code == 200, reply.text
    said: dict[str, Any] = reply.json()
    return said


def refused(reply: Any, status: int = 400) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    error: dict[str, Any] = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def check_same(data: list[dict[str, Any]], expected: list[Choice]) -> None:
    assert [chosen["choice"] for chosen in data] == [choice.answer for choice in expected]
    assert [CHOICES[chosen["choice_index"]] for chosen in data] == [c.answer for c in expected]
    assert [chosen["steering"]["vector"] for chosen in data] == [c.steered for c in expected]
    given = [chosen["probabilities"] for chosen in data]
    np.testing.assert_allclose(given, [choice.probabilities for choice in expected], atol=CLOSE)


def raw_scores(ready: Steered, texts: list[Any], tags: list[str | None]) -> Any:
    rows = [
        choice_scores(ready.model, [text], CHOICES, [ready.changes[tag] if tag else None])[0][0]
        for text, tag in zip(texts, tags, strict=True)
    ]
    return np.array([row.tolist() for row in rows])


def test_a_request_is_calibrated_on_itself_as_in_python(client: Any, ready: Steered) -> None:
    """Prompts in two languages and English, each under its own vector or none."""
    texts = around(MIXED)
    reply = told(client, prompt=MIXED, before=BEFORE, after=AFTER)
    chooser = langsteer.calibrated(ready, CHOICES, texts)
    check_same(reply["data"], chooser.choose(texts))
    assert reply["calibration"] == {"by": "prompts", "texts": 22}
    assert [chosen["steering"]["vector"] for chosen in reply["data"]] == STEERED
    assert [chosen["prior"] for chosen in reply["data"]] == ["sw"] * 17 + ["all"] * 5
    assert [chosen["index"] for chosen in reply["data"]] == list(range(22))
    assert all(0.5 <= chosen["steering"]["confidence"] <= 1 for chosen in reply["data"])
    given = [chosen["logprobs"] for chosen in reply["data"]]
    np.testing.assert_allclose(given, raw_scores(ready, texts, STEERED), atol=CLOSE)
    usage = reply["usage"]
    lengths = sum(1 + len(str(text)) for text in texts), 22 * sum(map(len, CHOICES))
    assert (usage["prompt_tokens"], usage["choice_tokens"]) == lengths
    assert usage["total_tokens"] == sum(lengths)


def test_null_asks_for_what_is_not_calibrated(client: Any, ready: Steered) -> None:
    reply = told(client, prompt=MIXED, calibration=None)
    raw = raw_scores(ready, MIXED, STEERED)
    given = [chosen["logprobs"] for chosen in reply["data"]]
    np.testing.assert_allclose(given, raw, atol=CLOSE)
    shares = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    given = [chosen["probabilities"] for chosen in reply["data"]]
    np.testing.assert_allclose(given, shares, atol=CLOSE)
    chosen = [each["choice_index"] for each in reply["data"]]
    assert chosen == raw.argmax(axis=1).tolist()
    assert (reply["calibration"], reply["data"][0]["prior"]) == (None, None)
    calibrated = told(client, prompt=MIXED, calibration="prompts")["data"]
    assert [each["choice_index"] for each in calibrated] != chosen


@pytest.mark.parametrize("calibration", ["auto", "priors"])
def test_the_servers_priors_as_in_python(
    kept: Any, ready: Steered, priors: Priors, calibration: str
) -> None:
    texts = [SW, EN, TR]
    chooser = langsteer.calibrated(ready, CHOICES, priors)
    expected = chooser.choose(around(texts))
    asked = {"before": BEFORE, "after": AFTER, "calibration": calibration}
    reply = told(kept, prompt=texts, **asked)
    check_same(reply["data"], expected)
    assert reply["calibration"] == {"by": "priors", "texts": 44}
    assert [chosen["prior"] for chosen in reply["data"]] == ["sw", "all", "all"]
    turned = told(kept, prompt=texts, **{**asked, "choices": CHOICES[::-1]})["data"]
    for chosen, back in zip(reply["data"], turned, strict=True):
        assert back["choice"] == chosen["choice"]
        np.testing.assert_allclose(back["probabilities"][::-1], chosen["probabilities"], atol=CLOSE)
    one = told(kept, prompt=SW, **asked)["data"]
    check_same(one, expected[:1])
    assert not np.allclose(
        told(kept, prompt=SW, **{**asked, "calibration": None})["data"][0]["probabilities"],
        one[0]["probabilities"],
        atol=0.01,
    )


def test_which_calibration_is_used(kept: Any) -> None:
    by = {
        "auto": "priors",
        "priors": "priors",
        "prompts": "prompts",
    }
    for calibration, used in by.items():
        reply = told(kept, prompt=MIXED, calibration=calibration)
        assert reply["calibration"]["by"] == used
    stronger = told(kept, prompt=MIXED, steering={"strength": 2})
    assert stronger["calibration"] == {"by": "prompts", "texts": 22}
    other = told(kept, prompt=MIXED, choices=[" yes", " no"])
    assert other["calibration"]["by"] == "prompts"
    listed = kept.get("/v1/models").json()["steering"]["priors"]
    assert listed == [CHOICES]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"prompt": SW, "choices": [" yes", " no"]}, ["no priors of these", "1 of the 16 prompts"]),
        ({"prompt": MIXED[:15], "choices": [" yes", " no"]}, ["15 of the 16 prompts"]),
        ({"prompt": MIXED, "choices": CHOICES[:2], "calibration": "priors"}, ["--priors"]),
        ({"prompt": MIXED[:15], "calibration": "prompts"}, ["15 of the 16 prompts"]),
        ({"prompt": SW, "steering": {"strength": 2}}, ["vectors as they are", "1 of the 16"]),
        ({"prompt": MIXED, "steering": {"layer": 2}, "calibration": "priors"}, ["as they are"]),
        ({"prompt": SW, "steering": {"positions": "all"}}, ["as they are"]),
    ],
)  # fmt: skip
def test_what_cannot_be_calibrated_is_refused(kept: Any, body: Any, says: list[str]) -> None:
    error = refused(ask(kept, **body))
    assert (error["code"], error["param"]) == ("invalid_calibration", "calibration")
    assert all(part in error["message"] for part in says)
    assert "pass calibration null" in error["message"]
    told(kept, **{**body, "calibration": None})


@pytest.mark.parametrize(
    ("body", "tag"),
    [
        ({}, "sw"),
        ({"steering": "tr"}, "tr"),
        ({"steering": None}, None),
        ({"steering": "en"}, None),
        ({"model": "tiny-tr"}, "tr"),
    ],
)
def test_how_it_is_steered(client: Any, ready: Steered, body: Any, tag: str | None) -> None:
    (chosen,) = told(client, prompt=SW, calibration=None, **body)["data"]
    assert chosen["steering"]["vector"] == tag
    np.testing.assert_allclose(chosen["logprobs"], raw_scores(ready, [SW], [tag])[0], atol=CLOSE)


def test_strength_positions_and_layer(client: Any, ready: Steered) -> None:
    steering = {"language": "sw", "strength": -9, "positions": "all", "layer": 2}
    (chosen,) = told(client, prompt=SW, calibration=None, steering=steering)["data"]
    change: Any = replace(ready.changes["sw"].with_strength(-9.0).at("all"), layer=2)
    (scores,) = choice_scores(ready.model, [SW], CHOICES, [change])
    np.testing.assert_allclose(chosen["logprobs"], scores[0], atol=CLOSE)
    assert chosen["steering"]["layers"] == [2]


def test_a_chat(ready: Steered, priors: Priors) -> None:
    turns = [{"role": "system", "content": EN}, {"role": "user", "content": SW}]
    chooser = langsteer.calibrated(ready, CHOICES, priors)
    expected = chooser.choose([chat_prompt(ready.model, turns)], language="sw")
    with TestClient(build_app(ready, "tiny", ServeOptions(priors=(priors,)))) as client:
        reply = told(client, messages=turns)
        assert (
            "1 of the 16" in refused(ask(client, messages=turns, calibration="prompts"))["message"]
        )
        ready.tokenizer.chat_template = None
        error = refused(ask(client, messages=turns))
    check_same(reply["data"], expected)
    assert reply["data"][0]["steering"]["language"] == "sw"
    assert error["message"].endswith("has no chat template: ask with a prompt")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": SW, "model": "other"}, "model"),
        ({"prompt": SW, "steering": "hi"}, "steering"),
        ({"prompt": SW, "model": "tiny-sw", "steering": "tr"}, "steering"),
        ({}, "prompt"),
        ({"prompt": SW, "messages": [{"role": "user", "content": SW}]}, "prompt"),
        ({"messages": [{"role": "user", "content": SW}], "after": "x"}, "before"),
        ({"messages": []}, "messages"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [SW] * 129}, "prompt"),
        ({"prompt": ""}, None),
        ({"prompt": ["", SW], "after": "x"}, "prompt"),
        ({"prompt": 3}, "prompt"),
        ({"prompt": SW, "choices": ["a"]}, "choices"),
        ({"prompt": SW, "choices": "ab"}, "choices"),
        ({"prompt": SW, "choices": ["a", "a"]}, "choices"),
        ({"prompt": SW, "choices": ["a", " "]}, "choices"),
        ({"prompt": SW, "choices": [str(i) for i in range(129)]}, "choices"),
        ({"prompt": SW, "choices": ["a", "b" * 300]}, "choices"),
        ({"prompt": SW, "choices": None}, "choices"),
        ({"prompt": SW, "calibration": "file"}, "calibration"),
        ({"prompt": SW, "calibration": True}, "calibration"),
        ({"prompt": SW, "max_tokens": 3}, "max_tokens"),
    ],
)  # fmt: skip
def test_requests_that_are_refused(client: Any, body: Any, param: str | None) -> None:
    status = 404 if param == "model" else 400
    error = refused(ask(client, **{"calibration": None, **body}), status)
    assert error["param"] == param


def test_half_a_character(client: Any) -> None:
    for body in (
        b'{"model": "tiny", "prompt": "\\ud800", "choices": ["a", "b"], "calibration": null}',
        b'{"model": "tiny", "prompt": "a", "choices": ["a", "\\ud800"], "calibration": null}',
    ):
        json_body = {"Content-Type": "application/json"}
        error = refused(client.post("/v1/choices", content=body, headers=json_body))
        assert "Unicode" in error["message"]


def test_what_does_not_fit_the_model(client: Any) -> None:
    """128 positions, one of them the beginning's: 107 + 1 + 20 fit, and no more."""
    asked = {"choices": ["x" * 20, "y"], "calibration": None}
    told(client, prompt="a" * 107, **asked)
    error = refused(ask(client, prompt=[SW, "a" * 108], **asked))
    assert error["code"] == "context_length_exceeded"
    assert "128 positions" in error["message"]


def test_it_is_counted_and_not_logged(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    def number(name: str) -> float:
        lines = client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    names = (
        'langsteer_requests_total{path="/v1/choices",status="200"}',
        'langsteer_answers_total{vector="tr"}',
        'langsteer_tokens_total{kind="prompt"}',
        'langsteer_tokens_total{kind="choices"}',
    )
    before = [number(name) for name in names]
    with caplog.at_level("INFO", "langsteer.serving"):
        told(client, prompt=[TR, TR], calibration=None)
    after = [number(name) for name in names]
    grown = [b - a for a, b in zip(before, after, strict=True)]
    assert grown == [1, 2, 2 * (1 + len(TR)), 2 * sum(map(len, CHOICES))]
    assert TR not in caplog.text


def test_texts_are_logged_where_that_is_asked(
    ready: Steered, caplog: pytest.LogCaptureFixture
) -> None:
    options = ServeOptions(log_texts=True)
    with (
        TestClient(build_app(ready, "tiny", options)) as client,
        caplog.at_level("INFO", "langsteer.serving"),
    ):
        chosen = told(client, prompt=TR, calibration=None)["data"][0]["choice"]
    assert f'asked: ["{TR}"]' in caplog.text
    assert f'answered: ["{chosen}"]' in caplog.text


def test_a_full_queue_and_a_server_that_stops(ready: Steered) -> None:
    app = build_app(ready, "tiny", engine=FullEngine())
    with TestClient(app) as client:
        reply = ask(client, prompt=SW, calibration=None)
        assert refused(reply, 429)["code"] == "queue_full"
        assert int(reply.headers["Retry-After"]) >= 1
        app.state.stopping = True
        refused(ask(client, prompt=SW, calibration=None), 503)


def test_keys_sizes_and_how_many_at_once(ready: Steered) -> None:
    options = ServeOptions(keys=("one",), max_body=600, queue=3, rate=3)
    with TestClient(build_app(ready, "tiny", options)) as client:
        assert refused(ask(client, prompt=SW), 401)["code"] == "invalid_api_key"
        client.headers["Authorization"] = "Bearer one"
        refused(ask(client, prompt="a" * 600), 413)
        told(client, prompt=[SW] * 3, calibration=None)
        assert "at most 3" in refused(ask(client, prompt=[SW] * 4, calibration=None))["message"]
        assert refused(ask(client, prompt=SW), 429)["code"] == "rate_limit_exceeded"


def test_files_of_priors(priors: Priors, tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    priors.write(first)
    replace(priors, answers=priors.answers[::-1]).write(second)
    assert read_priors([first]) == {first: priors}
    with pytest.raises(LangsteerError, match=r"same answers as .*a: keep one"):
        read_priors([first, second])
    other = build_model("llama", seed=4)
    with pytest.raises(ModelError, match="a: these priors are of another model"):
        check_priors(read_priors([first]), other)
    (first / "priors.json").write_text("{}")
    with pytest.raises(LangsteerError, match=r"not the results of langsteer\.calibrated"):
        read_priors([first])
