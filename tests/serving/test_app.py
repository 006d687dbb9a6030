"""The endpoints, in process."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from langsteer.serving.app import ServeOptions, build_app
from langsteer.steering.generation import generate
from langsteer.steering.sequence import ChangeSequence
from langsteer.steering.steered import Steered
from tests.made.full_engine import FullEngine

SW, TR, EN = "abcdeabcdeabcde", "fghijfghijfghij", "klmnoklmnoklmno"


def ask(client: Any, **body: Any) -> Any:
    path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
    return client.post(path, json={"model": "tiny", "temperature": 0, "max_tokens": 6, **body})


def text(reply: Any) -> str:
    assert reply.status_code == 200, reply.text
    return str(reply.json()["choices"][0]["text"])


def events(reply: Any) -> list[dict[str, Any]]:
    assert reply.status_code == 200, reply.text
    lines = [line for line in reply.text.split("\n\n") if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_models_by_language(client: Any) -> None:
    listed = [model["id"] for model in client.get("/v1/models").json()["data"]]
    assert listed == ["tiny", "tiny-auto", "tiny-sw", "tiny-tr"]


@pytest.mark.parametrize(("prompt", "tag"), [(SW, "sw"), (TR, "tr"), (EN, None)])
def test_each_request_is_steered_by_its_language(
    client: Any, ready: Steered, prompt: str, tag: str | None
) -> None:
    reply = ask(client, prompt=prompt)
    change = ready.changes[tag] if tag else None
    assert text(reply) == generate(ready.model, [prompt], change, max_new_tokens=6)[0]
    told = reply.json()["steering"]
    assert told["vector"] == tag
    assert told["language"] == (tag or "en")
    assert 0.5 <= told["confidence"] <= 1


def test_the_vectors_change_what_is_said(ready: Steered) -> None:
    for prompt, tag in ((SW, "sw"), (TR, "tr")):
        plain, moved = (
            generate(ready.model, [prompt], change, max_new_tokens=6)[0]
            for change in (None, ready.changes[tag])
        )
        assert plain != moved


@pytest.mark.parametrize(
    ("body", "tag"),
    [
        ({"steering": "tr"}, "tr"),
        ({"steering": {"language": "tr"}}, "tr"),
        ({"steering": None}, None),
        ({"steering": "en"}, None),
        ({"model": "tiny-tr"}, "tr"),
        ({"model": "tiny-auto"}, "sw"),
        ({"model": "tiny-tr", "steering": {"positions": "prompt"}}, "tr"),
    ],
)
def test_a_language_is_named(client: Any, ready: Steered, body: Any, tag: str | None) -> None:
    reply = ask(client, prompt=SW, **body)
    change = ready.changes[tag] if tag else None
    assert text(reply) == generate(ready.model, [SW], change, max_new_tokens=6)[0]
    assert reply.json()["steering"]["vector"] == tag


def test_strength_and_positions(client: Any, ready: Steered) -> None:
    reply = ask(
        client, prompt=SW, steering={"language": "sw", "strength": -9, "positions": "generated"}
    )
    change = ready.changes["sw"].with_strength(-9.0).at("generated")
    assert text(reply) == generate(ready.model, [SW], change, max_new_tokens=6)[0]
    told = reply.json()["steering"]
    assert (told["strength"], told["positions"]) == (-9.0, "generated")


def test_a_vector_at_another_layer(client: Any, ready: Steered) -> None:
    reply = ask(client, prompt=SW, steering={"language": "sw", "layer": 3})
    change = replace(ready.changes["sw"], layer=3)
    assert text(reply) == generate(ready.model, [SW], change, max_new_tokens=6)[0]
    assert reply.json()["steering"]["layers"] == [3]
    assert text(reply) != text(ask(client, prompt=SW, steering="sw"))


def test_layers_that_stay(ready: Steered) -> None:
    sequence = ChangeSequence((ready.changes["sw"],))
    with TestClient(build_app(Steered(ready.model, {"sw": sequence}), "tiny")) as client:
        told = client.get("/v1/models").json()["steering"]["vectors"]
        assert [vector["layer_moves"] for vector in told] == [False]
        assert ask(client, prompt=SW, steering={"layer": 3}).status_code == 400
        assert ask(client, prompt=SW).status_code == 200
    with TestClient(build_app(ready, "tiny", engine=FullEngine())) as client:
        reply = ask(client, prompt=SW, steering={"language": "sw", "layer": 3})
        assert "leaves vectors at their layers" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    "steering",
    ["hi", "no language", 3, [], {"langauge": "sw"}, {"language": 3}, {"strength": "much"},
     {"layer": 4}, {"layer": -1}, {"layer": "2"}, {"layer": True}, {"strength": 1e9}, {"strength": True}, {"positions": "everywhere"}, {"positions": []}],
    ids=str,
)  # fmt: skip
def test_steering_that_is_not_understood(client: Any, steering: Any) -> None:
    reply = ask(client, prompt=SW, steering=steering)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "steering"
    assert reply.json()["error"]["type"] == "invalid_request_error"


def test_a_name_and_a_field_that_disagree(client: Any) -> None:
    assert ask(client, prompt=SW, model="tiny-sw", steering="tr").status_code == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"prompt": SW, "model": "other"}, 404),
        ({"prompt": SW, "logit_bias": {"3": 1}}, 400),
        ({"prompt": SW, "echo": True}, 400),
        ({"prompt": SW, "suffix": "."}, 400),
        ({"prompt": SW, "best_of": 2}, 400),
        ({"prompt": SW, "tools": [{"type": "function"}]}, 400),
        ({"messages": [{"role": "user", "content": SW}], "echo": True}, 400),
        ({"messages": [{"role": "user", "content": SW}], "tools": [{"type": "function"}]}, 400),
        ({"messages": [{"role": "user", "content": SW}], "store": True}, 400),
        (
            {
                "messages": [{"role": "user", "content": SW}],
                "response_format": {"type": "json_object"},
            },
            400,
        ),
        ({"prompt": SW, "frequency_penalty": 1}, 400),
        ({"prompt": SW, "temperature": 9}, 400),
        ({"prompt": SW, "stop": ""}, 400),
        ({"prompt": ""}, 400),
        ({"prompt": []}, 400),
        ({}, 400),
        ({"messages": [{"role": "system", "content": "hi"}]}, 400),
        ({"messages": []}, 400),
        ({"messages": [{"role": "user", "content": "a"}], "top_logprobs": 2}, 400),
    ],
)
def test_requests_that_are_refused(client: Any, body: Any, status: int) -> None:
    reply = ask(client, **body)
    assert reply.status_code == status, reply.text
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


def test_half_a_character(client: Any) -> None:
    body = b'{"model": "tiny", "prompt": "\\ud800"}'
    reply = client.post(
        "/v1/completions", content=body, headers={"Content-Type": "application/json"}
    )
    assert reply.status_code == 400
    assert "Unicode" in reply.json()["error"]["message"]


def test_what_does_not_fit_the_model(client: Any) -> None:
    for body in ({"prompt": "a" * 200}, {"prompt": SW, "max_tokens": 4000}):
        reply = ask(client, **body)
        assert reply.status_code == 400
        assert reply.json()["error"]["code"] == "context_length_exceeded"
        assert "128 positions" in reply.json()["error"]["message"]


def test_prompts_of_several_languages_in_a_batch(client: Any) -> None:
    prompts = [SW, EN[:4], TR + TR, EN, SW[:7]]
    together = ask(client, prompt=prompts, n=2).json()
    alone = [ask(client, prompt=prompt).json() for prompt in prompts]
    told = [choice["text"] for choice in together["choices"]]
    assert told[0::2] == told[1::2] == [reply["choices"][0]["text"] for reply in alone]
    vectors = [used["vector"] for used in together["steering"]]
    assert vectors == [reply["steering"]["vector"] for reply in alone]
    assert len(set(vectors)) == 3
    usage = [reply["usage"]["prompt_tokens"] for reply in alone]
    assert together["usage"]["prompt_tokens"] == sum(usage)


@pytest.mark.parametrize("n", [1, 2])
def test_a_stream_says_the_same(client: Any, n: int) -> None:
    whole = ask(client, prompt=SW, n=n).json()
    parts = events(ask(client, prompt=SW, n=n, stream=True, stream_options={"include_usage": True}))
    for index in range(n):
        said = [c for part in parts for c in part["choices"] if c["index"] == index]
        assert "".join(c["text"] for c in said) == whole["choices"][index]["text"]
        assert said[-1]["finish_reason"] == whole["choices"][index]["finish_reason"]
    assert parts[-1]["usage"] == whole["usage"]
    assert parts[-1]["steering"] == whole["steering"]
    assert parts[-2]["steering"] == whole["steering"]


def test_stop_is_cut_off_streamed_or_not(client: Any) -> None:
    plain = text(ask(client, prompt=SW, max_tokens=12))
    assert len(plain) > 6
    stop = plain[4:6]
    expected = plain[: plain.index(stop)]
    reply = ask(client, prompt=SW, max_tokens=12, stop=[stop, "never~"])
    assert text(reply) == expected
    assert reply.json()["choices"][0]["finish_reason"] == "stop"
    parts = events(ask(client, prompt=SW, max_tokens=12, stop=stop, stream=True))
    assert "".join(part["choices"][0]["text"] for part in parts) == expected


def test_a_seed_draws_the_same_whoever_is_beside(client: Any) -> None:
    draw = {"temperature": 1.5, "top_p": 0.9, "seed": 7, "max_tokens": 12}
    first = ask(client, prompt=SW, n=3, **draw).json()["choices"]
    again = ask(client, prompt=[SW, TR], n=3, **draw).json()["choices"]
    assert [c["text"] for c in first] == [c["text"] for c in again[:3]]
    assert len({c["text"] for c in first}) == 3
    other = ask(client, prompt=SW, **{**draw, "seed": 99}).json()["choices"]
    assert other[0]["text"] != first[0]["text"]


def test_logprobs(client: Any) -> None:
    choice = ask(client, prompt=SW, logprobs=2).json()["choices"][0]
    told = choice["logprobs"]
    assert "".join(told["tokens"]) == choice["text"]
    for token, logprob, top in zip(
        told["tokens"], told["token_logprobs"], told["top_logprobs"], strict=True
    ):
        assert logprob == max(top.values()) == top[token]
        assert len(top) == 2
        assert math.exp(logprob) <= 1


def test_chat(client: Any, ready: Steered) -> None:
    messages = [
        {"role": "system", "content": EN},
        {"role": "user", "content": [{"type": "text", "text": SW}]},
    ]
    reply = ask(client, messages=messages, logprobs=True, top_logprobs=1).json()
    turns = [{"role": "system", "content": EN}, {"role": "user", "content": SW}]
    said = reply["choices"][0]["message"]["content"]
    assert said == ready.chat(turns, max_new_tokens=6)
    assert reply["steering"]["vector"] == "sw"
    assert len(reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) == 1
    parts = events(ask(client, messages=messages, stream=True))
    assert parts[0]["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(part["choices"][0]["delta"]["content"] for part in parts) == said
    assert parts[-1]["steering"] == reply["steering"]


def test_health_metrics_and_paths_that_there_are_not(client: Any) -> None:
    ask(client, prompt=SW)
    assert client.get("/health").json() == {"status": "ok"}
    for path in ("/health", "/", "/metrics", "/v1/models"):
        head, whole = client.head(path), client.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == whole.headers["content-type"]
    assert client.head("/v1/completions").status_code == 405
    metrics = client.get("/metrics").text
    assert 'langsteer_answers_total{vector="sw"}' in metrics
    assert SW not in metrics
    for method, path, status in (
        ("GET", "/v1/no", 404),
        ("POST", "/v1/completions/", 404),
        ("POST", "/v1/chat/completions/", 404),
        ("DELETE", "/v1/completions", 405),
    ):
        reply = client.request(method, path, json={}, follow_redirects=False)
        assert reply.status_code == status
        assert reply.json()["error"]["message"] == f"there is no {method} '{path}' here"


def test_keys_and_sizes(ready: Steered) -> None:
    options = ServeOptions(keys=("one", "two"), max_body=300)
    with TestClient(build_app(ready, "tiny", options)) as client:
        assert client.get("/health").status_code == 200
        for headers in ({}, {"Authorization": "Bearer three"}, {"Authorization": "two"}):
            reply = client.get("/v1/models", headers=headers)
            assert reply.status_code == 401
            assert reply.json()["error"]["code"] == "invalid_api_key"
        client.headers["Authorization"] = "Bearer two"
        assert client.get("/v1/models").status_code == 200
        assert ask(client, prompt="a" * 400).status_code == 413
        assert ask(client, prompt=SW).status_code == 200


def test_a_full_queue(ready: Steered) -> None:
    with TestClient(build_app(ready, "tiny", engine=FullEngine())) as client:
        reply = ask(client, prompt=SW)
    assert reply.status_code == 429
    assert int(reply.headers["Retry-After"]) >= 1
    assert reply.json()["error"]["type"] == "rate_limit_error"


def test_a_server_that_stops_refuses(ready: Steered) -> None:
    app = build_app(ready, "tiny")
    with TestClient(app) as client:
        app.state.stopping = True
        assert client.get("/health").status_code == 503
        assert ask(client, prompt=SW).status_code == 503


def test_next_to_no_temperature_takes_the_likeliest_token(client: Any) -> None:
    assert text(ask(client, prompt=SW, temperature=1e-300)) == text(ask(client, prompt=SW))


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        (b"{junk", None, "the body is not JSON"),
        (b"[]", None, "the body is a JSON object"),
        (b'{"model": "tiny", "prompt": 3}', "prompt", "prompt: "),
        (b'{"model": "tiny", "prompt": "a", "stop": [""]}', "stop", "stop: up to four texts"),
        (b'{"model": "tiny", "prompt": "a", "echos": 1}', "echos", "echos: there is no such field"),
        (b'{"model": "tiny", "prompt": "a", "echo": true}', "echo", "echo: it is not supported"),
        (b'{"model": "tiny", "prompt": "a", "tools": [1]}', "tools", "tools: it is not supported"),
        (b'{"\\ud800": 1}', None, "the name of a field: the text is not Unicode"),
        (b'{"model": "tiny", "prompt": [3, 4]}', "prompt", "prompt: token ids are not supported"),
        (b'{"model": "tiny", "prompt": [[3], [4]]}', "prompt", "prompt: token ids are not supported"),
        (b"[" * 100_000, None, "the body is nested too deeply"),
        (b'{"prompt": 1' + b"0" * 5000 + b"}", None, "the body has a number of more than 4300"),
        (b'{"prompt": "caf\xe9"}', None, "the body is not UTF-8: invalid continuation byte, at byte"),
        (b'{"model": "tiny-sw", "prompt": "a", "steering": null}', "steering", "the model's name asks for sw, and steering for null"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_said(client: Any, body: bytes, param: Any, said: str) -> None:
    reply = client.post(
        "/v1/completions", content=body, headers={"Content-Type": "application/json"}
    )
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400, param)
    assert error["message"].startswith(said)
