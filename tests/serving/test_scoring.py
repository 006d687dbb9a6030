"""Choices that are scored while answers are written: each is what it is alone."""

import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch

from langsteer.evaluation.harness.choices import choice_scores
from langsteer.model.tokens import encode, encode_suffix
from langsteer.serving import engine as engines
from langsteer.serving.app import ServeOptions
from langsteer.serving.asked import Asked
from langsteer.serving.engine import EmbeddedEngine
from langsteer.serving.errors import RequestError
from langsteer.serving.rows import Piece, Row, Sampling
from langsteer.serving.scoring import ChoiceRow, alike, score_rows
from langsteer.serving.writing import WholeBatches, resolve_rows, writer_for
from langsteer.steering.generation import generate
from langsteer.steering.steered import Steered
from tests.helpers import build_model, make_vector
from tests.made.server import listening

SW, TR, EN = "abcdeabcdeabcde", "fghijfghijfghij", "klmnoklmnoklmno"
TEXTS = [(SW, "sw"), (EN, None), (TR, "tr"), (SW[:4], "sw"), (TR + TR, "tr"), (EN, "sw")]
CHOICES = (" rain", " law", "x")
CLOSE = 1e-5


def steered_model() -> Steered:
    """Both vectors act on what is written too, so that they would act on whatever is run beside."""
    model = build_model("llama", seed=3)
    made = {
        tag: make_vector(model, seed, language=tag, strength=4.0, positions="all")
        for seed, tag in enumerate(("sw", "tr"))
    }
    return Steered(model, made)


def choice_row(ready: Steered, text: str, tag: str | None, choices: Any = CHOICES) -> ChoiceRow:
    ids = tuple(tuple(encode_suffix(ready.model, choice)) for choice in choices)
    return ChoiceRow(encode(ready.model, [text])[0], text, Asked(tag), ids)


def alone(ready: Steered, text: str, tag: str | None, choices: Any = CHOICES) -> Any:
    change = ready.changes[tag] if tag else None
    return choice_scores(ready.model, [text], choices, [change])[0][0].numpy()


def row(ready: Steered, text: str, tag: str | None, tokens: int) -> Row:
    def ignore(piece: Piece) -> None:
        pass

    sampling = Sampling(tokens, temperature=0)
    return Row(encode(ready.model, [text])[0], text, Asked(tag), sampling, ignore)


def written_alone(ready: Steered, text: str, tag: str | None, tokens: int) -> str:
    change = ready.changes[tag] if tag else None
    return generate(ready.model, [text], change, max_new_tokens=tokens)[0]


def score(ready: Steered, rows: list[ChoiceRow]) -> None:
    resolve_rows(ready, rows)
    for group in alike(rows):
        score_rows(ready.model, group)


def all_alone(ready: Steered) -> list[Any]:
    return [alone(ready, text, tag) for text, tag in TEXTS]


def check_same(rows: list[ChoiceRow], expected: list[Any]) -> None:
    for scored, values in zip(rows, expected, strict=True):
        assert scored.error is None
        np.testing.assert_allclose(scored.logprobs, values, atol=CLOSE)


@pytest.mark.parametrize("whole", [False, True])
def test_between_two_steps_of_what_is_written(whole: bool) -> None:
    ready = steered_model()
    ready.network.generation_config.min_new_tokens = 1 if whole else None
    expected = [written_alone(ready, text, tag, 8) for text, tag in TEXTS[:3]]
    scores = all_alone(ready)
    writer = writer_for(ready, lambda rows: None)
    assert isinstance(writer, WholeBatches) == whole
    written = [row(ready, text, tag, 8) for text, tag in TEXTS[:3]]
    writer.join(written[:2])
    for step in range(10):
        asked = [choice_row(ready, text, tag) for text, tag in TEXTS]
        with writer.aside():
            score(ready, asked)
        check_same(asked, scores)
        if step == 3:
            writer.join(written[2:])
        writer.step()
    assert not writer.rows
    assert [each.text for each in written] == expected
    assert not any(block._forward_hooks for block in ready.model.blocks)


def test_what_is_written_steers_unless_it_is_off() -> None:
    ready = steered_model()
    plain = alone(ready, EN, None)
    writer = writer_for(ready, lambda rows: None)
    writer.join([row(ready, TR, "tr", 8)])
    beside, aside = choice_row(ready, EN, None), choice_row(ready, EN, None)
    score(ready, [beside])
    with writer.aside():
        score(ready, [aside])
    assert not np.allclose(beside.logprobs, plain, atol=0.01)
    np.testing.assert_allclose(aside.logprobs, plain, atol=CLOSE)
    writer.clear()


def test_steering_is_back_where_scoring_fails() -> None:
    ready = steered_model()
    expected = written_alone(ready, SW, "sw", 8)
    writer = writer_for(ready, lambda rows: None)
    written = row(ready, SW, "sw", 8)
    writer.join([written])
    with pytest.raises(ZeroDivisionError), writer.aside():
        raise ZeroDivisionError
    while writer.rows:
        writer.step()
    assert written.text == expected
    assert written.text != written_alone(ready, SW, None, 8)


def test_an_engine_scores_and_writes_by_turns() -> None:
    ready, ended = steered_model(), list[ChoiceRow]()
    expected, scores = written_alone(ready, SW, "sw", 30), all_alone(ready)
    engine = EmbeddedEngine(ready, batch=2, queue=20)
    written = row(ready, SW, "sw", 30)
    engine.submit([written])
    asked = [choice_row(ready, text, tag) for text, tag in TEXTS]
    gone = choice_row(ready, EN, None)
    gone.cancelled = True
    for each in (*asked, gone):
        each.notify = ended.append
    engine.submit([*asked, gone])
    engine.close()
    assert written.text == expected
    check_same(asked, scores)
    assert set(map(id, ended)) == set(map(id, [*asked, gone]))
    assert isinstance(gone.error, RequestError)
    assert gone.logprobs == ()
    with pytest.raises(RequestError, match="stopping"):
        engine.submit([choice_row(ready, EN, None)])


def test_few_are_read_at_a_time_and_more_than_the_queue_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ready, sizes = steered_model(), list[int]()
    monkeypatch.setattr(engines, "MOST_READ", 60)
    engine = EmbeddedEngine(ready, batch=8, queue=4, on_batch=sizes.append)
    asked = [choice_row(ready, EN, None) for _ in range(4)]  # of 16 + 10 tokens each
    with pytest.raises(RequestError, match="at most 4 answers at once, and 5"):
        engine.submit([*asked, choice_row(ready, EN, None)])
    engine.submit(asked)
    engine.close()
    assert sizes == [2, 2]
    assert all(each.logprobs == asked[0].logprobs for each in asked)


def test_one_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = steered_model()
    expected, scores = written_alone(ready, SW, "sw", 12), all_alone(ready)
    too_strong = ready.changes["tr"].with_strength(3e38)
    monkeypatch.setitem(ready.changes, "tr", too_strong)  # type: ignore[arg-type]
    engine = EmbeddedEngine(ready)
    written = row(ready, SW, "sw", 12)
    engine.submit([written])
    asked = [choice_row(ready, text, tag) for text, tag in TEXTS]
    engine.submit(asked)
    engine.close()
    for scored, (_, tag), values in zip(asked, TEXTS, scores, strict=True):
        if tag == "tr":
            assert isinstance(scored.error, RequestError)
            assert "not finite" in str(scored.error)
        else:
            np.testing.assert_allclose(scored.logprobs, values, atol=CLOSE)
    assert written.text == expected


def test_a_failure_of_the_model_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = steered_model()

    def fail(*given: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(engines, "score_rows", fail)
    engine = EmbeddedEngine(ready)
    asked, ended = choice_row(ready, EN, None), threading.Event()
    asked.notify = lambda row: ended.set()
    engine.submit([asked])
    assert ended.wait(10)
    assert isinstance(asked.error, RuntimeError)
    monkeypatch.undo()
    again = choice_row(ready, EN, None)
    engine.submit([again])
    engine.close()
    np.testing.assert_allclose(again.logprobs, alone(ready, EN, None), atol=CLOSE)


def post(url: str, path: str, **body: Any) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    content = json.dumps({"model": "tiny", **body})
    connection.request("POST", path, content, {"Content-Type": "application/json"})
    reply = connection.getresponse()
    told = json.loads(reply.read())
    connection.close()
    return reply.status, told


def gauge(url: str, name: str) -> float:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def until(url: str, name: str, value: float) -> None:
    for _ in range(200):
        if gauge(url, name) == value:
            return
        time.sleep(0.02)
    pytest.fail(f"{name} never was {value}")


def test_choices_asked_of_a_server_that_writes(ready: Steered) -> None:
    """A steered answer is under way while choices are asked; a client goes, and leaves the queue."""
    change = ready.changes["tr"].at("all")
    expected = generate(ready.model, [TR], change, max_new_tokens=40)[0]
    raw = alone(ready, SW, "sw")
    assert not np.allclose(raw, alone(ready, SW, None), atol=0.01)
    asked: dict[str, Any] = {"choices": list(CHOICES), "calibration": None}
    options = ServeOptions(batch=1, queue=2)
    with listening(ready, options, seconds=0.03) as url, ThreadPoolExecutor(1) as pool:
        writing = {"prompt": TR, "temperature": 0, "max_tokens": 40}
        steering = {"language": "tr", "positions": "all"}
        first = pool.submit(post, url, "/v1/completions", **writing, steering=steering)
        until(url, "langsteer_running_rows", 1)
        for _ in range(3):
            status, told = post(url, "/v1/choices", prompt=SW, **asked)
            assert status == 200
            np.testing.assert_allclose(told["data"][0]["logprobs"], raw, atol=CLOSE)
        assert not first.done()
        assert first.result()[1]["choices"][0]["text"] == expected


def test_who_goes_leaves_the_queue(ready: Steered) -> None:
    asked: dict[str, Any] = {"choices": list(CHOICES), "calibration": None}
    options = ServeOptions(batch=1, queue=30)
    with listening(ready, options, seconds=0.1) as url:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
        many = json.dumps({"model": "tiny", "prompt": [SW] * 30, **asked})
        connection.request("POST", "/v1/choices", many, {"Content-Type": "application/json"})
        for _ in range(100):
            if gauge(url, "langsteer_waiting_rows") > 20:
                break
            time.sleep(0.01)
        else:
            pytest.fail("they never waited")
        status, told = post(url, "/v1/choices", prompt=[SW] * 30, **asked)
        assert (status, told["error"]["code"]) == (429, "queue_full")
        connection.close()
        began = time.perf_counter()
        until(url, "langsteer_waiting_rows", 0)
        assert time.perf_counter() - began < 1.5  # all of them would take longer
        assert post(url, "/v1/choices", prompt=SW, **asked)[0] == 200


def test_nothing_is_left_of_scoring() -> None:
    ready = steered_model()
    before = ready.model.last_logits(ready.model.batch([[5, 6]]), 1)
    score(ready, [choice_row(ready, text, tag) for text, tag in TEXTS])
    assert torch.equal(before, ready.model.last_logits(ready.model.batch([[5, 6]]), 1))
