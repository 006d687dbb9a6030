"""Fields of requests that are not supported, at values that ask for nothing; models by their names; chats without a template."""

from typing import Any

from fastapi.testclient import TestClient

from langsteer.serving.app import build_app
from langsteer.steering.steered import Steered

SW, TR, EN = "abcdeabcdeabcde", "fghijfghijfghij", "klmnoklmnoklmno"


def ask(client: Any, **body: Any) -> Any:
    path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
    return client.post(path, json={"model": "tiny", "temperature": 0, "max_tokens": 6, **body})


def test_a_model_by_its_name(client: Any) -> None:
    one = {"id": "tiny-sw", "object": "model", "created": 0, "owned_by": "langsteer"}
    assert client.get("/v1/models/tiny-sw").json() == one
    for name in ("other", "a/b", ""):
        reply = client.get(f"/v1/models/{name}")
        assert reply.status_code == 404
        error = reply.json()["error"]
        assert (error["code"], error["param"]) == ("model_not_found", "model")
        assert error["message"].startswith(f"there is no model '{name}': there are tiny, tiny-auto")


def test_a_chat_without_a_template(ready: Steered) -> None:
    ready.tokenizer.chat_template = None
    with TestClient(build_app(ready, "tiny")) as client:
        reply = ask(client, messages=[{"role": "user", "content": SW}])
    assert reply.status_code == 400
    assert reply.json()["error"]["message"].endswith(
        "has no chat template: ask /v1/completions, with a prompt"
    )


NOTHING: dict[str, Any] = {
    "audio": None,
    "best_of": 1,
    "echo": False,
    "frequency_penalty": 0,
    "function_call": "none",
    "functions": [],
    "logit_bias": {},
    "metadata": {},
    "modalities": ["text"],
    "moderation": None,
    "parallel_tool_calls": True,
    "prediction": None,
    "presence_penalty": 0.0,
    "reasoning_effort": None,
    "response_format": {"type": "text"},
    "service_tier": "auto",
    "store": False,
    "suffix": "",
    "tool_choice": "none",
    "tools": [],
    "verbosity": "medium",
    "web_search_options": None,
}


def test_fields_that_ask_for_nothing(client: Any) -> None:
    plain = ask(client, prompt=SW).json()["choices"]
    named = ask(client, prompt=SW, **NOTHING, user="u", safety_identifier="s")
    assert named.json()["choices"] == plain
    assert ask(client, prompt=SW, **dict.fromkeys(NOTHING)).json()["choices"] == plain
    turns: list[dict[str, Any]] = [
        {"role": "user", "content": SW},
        {
            "role": "assistant",
            "content": SW,
            "refusal": None,
            "tool_calls": None,
            "annotations": [],
        },
        {"role": "user", "content": TR},
    ]
    bare = [{"role": turn["role"], "content": turn["content"]} for turn in turns]
    said = ask(client, messages=bare).json()["choices"]
    for fields in (NOTHING, dict.fromkeys(NOTHING)):
        reply = ask(client, messages=turns, **fields)
        assert reply.status_code == 200, reply.text
        assert reply.json()["choices"] == said
