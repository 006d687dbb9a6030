"""The layer in front of another engine, with an engine that only says what it was asked."""

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import uvicorn
from fastapi.testclient import TestClient

from langsteer.errors import EngineError, VectorError
from langsteer.serving.app import ServeOptions
from langsteer.serving.heard import Choices, Ear, choices
from langsteer.serving.proxy import build_proxy
from langsteer.serving.run import bind
from langsteer.serving.vllm import check_changes
from langsteer.steering.projection import Projection
from tests.helpers import make_vector, tiny
from tests.made.echo import Echo

SW = "Habari za asubuhi, rafiki yangu mpendwa, leo ni siku nzuri sana"
ET = "Tere hommikust, kallis sõber, täna on väga ilus päev ja me läheme jalutama"
EN = "Good morning, my dear friend, it is a very beautiful day today"
FR = "Bonjour, mon cher ami, il fait très beau temps aujourd'hui"
FIELDS = frozenset({"model", "prompt", "messages", "n", "stream", "max_tokens", "vllm_xargs"})


def changes() -> dict[str, Any]:
    model = tiny("llama")
    return {
        "sw": make_vector(model, 1, language="sw", strength=2.0, positions="source"),
        "et": make_vector(model, 2, language="et", strength=1.0, positions="prompt"),
    }


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    made = Echo()
    listener = bind("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(made.app, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    made.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    yield made
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def client(echo: Echo) -> Iterator[Any]:
    pytest.importorskip("lingua", reason="the extra langid is not installed")
    with TestClient(build_proxy(echo, choices(changes()), "tiny")) as opened:
        yield opened


def ask(client: Any, **body: Any) -> Any:
    path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
    content = json.dumps({"model": "tiny", **body})  # half a character as \\ud800
    return client.post(path, content=content, headers={"Content-Type": "application/json"})


def word(reply: Any) -> dict[str, Any] | None:
    """What the engine was told of vectors."""
    assert reply.status_code == 200, reply.text
    said = reply.json()["said"]
    assert said["model"] == "inside"
    assert "steering" not in said
    given = said.get("vllm_xargs", {}).get("langsteer")
    return None if given is None else json.loads(given)


@pytest.mark.parametrize(
    ("prompt", "tag", "heard"),
    [(SW, "sw", "sw"), (ET, "et", "et"), (EN, None, "en"), (FR, None, "fr"), ("Ni", None, "und")],
)
def test_each_prompt_is_heard(client: Any, prompt: str, tag: str | None, heard: str) -> None:
    reply = ask(client, prompt=prompt)
    strength = {"sw": 2.0, "et": 1.0}.get(tag or "")
    positions = {"sw": "source", "et": "prompt"}.get(tag or "")
    told = {"language": tag, "strength": strength, "positions": positions}
    assert word(reply) == (told if tag else None)
    record = reply.json()["steering"]
    assert record["vector"] == tag
    assert record["language"] == heard
    assert record["requested"] == "auto"
    assert reply.headers["x-langsteer-vector"] == (tag or "none")
    assert reply.json()["model"] == "tiny"


def test_what_is_unsure_is_left_alone() -> None:
    class Unsure(Ear):
        def identify(self, texts: Any) -> Any:
            return [type(told)(told.language, 0.89) for told in super().identify(texts)]

    sure = choices(changes())
    assert sure.router is not None
    unsure = Choices(sure.changes, Unsure(sure.router.languages))
    assert sure.choose(sure.identify([SW])[0]) is sure.changes["sw"]
    assert unsure.choose(unsure.identify([SW])[0]) is None


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"steering": "et"}, {"language": "et", "strength": 1.0, "positions": "prompt"}),
        ({"model": "tiny-et"}, {"language": "et", "strength": 1.0, "positions": "prompt"}),
        ({"model": "tiny-auto"}, {"language": "sw", "strength": 2.0, "positions": "source"}),
        (
            {"steering": {"strength": 0.5, "positions": "all"}},
            {"language": "sw", "strength": 0.5, "positions": "all"},
        ),
        ({"steering": None}, None),
        ({"steering": "en"}, None),
        ({"steering": {"language": None, "strength": 3}}, None),
    ],
)
def test_a_vector_is_named(client: Any, body: Any, told: Any) -> None:
    assert word(ask(client, prompt=SW, **body)) == told


def test_the_texts_of_a_chat_are_its_users(client: Any) -> None:
    turns = [
        {"role": "system", "content": ET},
        {"role": "user", "content": [{"type": "text", "text": EN}, {"type": "text", "text": FR}]},
        {"role": "assistant", "content": FR},
        {"role": "user", "content": [{"type": "text", "text": SW}, {"type": "image_url"}]},
    ]
    reply = ask(client, messages=turns)
    assert word(reply) == {
        "language": "sw",
        "strength": 2.0,
        "positions": "source",
        "texts": [EN, FR, SW],
    }
    assert reply.json()["said"]["messages"] == turns


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"steering": "fr"}, 400, "there is no vector for fr: there are et, sw"),
        ({"steering": {"strenth": 1}}, 400, "steering has no 'strenth'"),
        ({"steering": {"strength": "1"}}, 400, "steering.strength is a number"),
        ({"model": "tiny-fr"}, 404, "there is no model 'tiny-fr'"),
        ({"model": "tiny-sw", "steering": "et"}, 400, "the model's name asks for sw"),
        ({"vllm_xargs": {"langsteer": "sw"}}, 400, "vectors are chosen by steering"),
        ({"prompt": [SW, ET]}, 400, "the prompts of this request get different vectors"),
        ({"prompt": [3, 4]}, 400, "a language is told from a user's text"),
        ({"prompt": 3}, 400, "prompt is a text, tokens, or a list of either"),
        ({"use_beam_search": True}, 400, "vLLM does not steer a beam search"),
        ({"messages": "hello"}, 400, "messages is a list of turns"),
        ({"steeering": "sw"}, 400, "'steeering' is not understood: the field is called steering"),
        ({"prompt": "Mji \ud800"}, 400, "the text is not Unicode: it holds half a character"),
        ({"stop": "\ud800"}, 400, "'stop': the text is not Unicode"),
        ({"\ud800": 1}, 400, "'\\ud800': the text is not Unicode"),
        ({"messages": [{"role": "system", "content": "\udc00"}]}, 400, "the text is not Unicode"),
    ],
)
def test_what_is_not_understood_is_refused(
    client: Any, body: Any, status: int, message: str
) -> None:
    reply = ask(client, **{"prompt": SW, **body})
    assert reply.status_code == status
    assert message in reply.json()["error"]["message"]
    assert reply.json()["error"]["type"] == "invalid_request_error"


def test_a_field_that_the_engine_would_ignore_is_refused(client: Any, echo: Echo) -> None:
    echo.known = FIELDS
    try:
        reply = ask(client, prompt=SW, Steering="et")
        assert reply.status_code == 400
        assert "'Steering' is not understood" in reply.json()["error"]["message"]
        assert ask(client, prompt=SW, steering="et", max_tokens=3).status_code == 200
    finally:
        echo.known = None


def test_tokens_may_be_steered_by_name(client: Any) -> None:
    told = word(ask(client, prompt=[[1, 2], [3]], steering="et"))
    assert told is not None
    assert told["language"] == "et"
    reply = ask(client, prompt=[SW, SW], n=2)
    assert [record["vector"] for record in reply.json()["steering"]] == ["sw", "sw"]
    assert reply.headers["x-langsteer-vector"] == "sw"


def test_streams_say_what_was_used(client: Any) -> None:
    reply = ask(client, prompt=[SW, SW], n=2, stream=True)
    events = [line.removeprefix("data: ") for line in reply.text.split("\n\n") if line]
    assert events.pop() == "[DONE]"
    told = [json.loads(event) for event in events]
    assert {event["model"] for event in told} == {"tiny"}
    assert [("steering" in event) for event in told] == [False, True] * 4 + [True]
    assert {event["steering"]["vector"] for event in told[1:8:2]} == {"sw"}
    assert [record["vector"] for record in told[-1]["steering"]] == ["sw", "sw"]
    assert told[0]["choices"][0]["text"] == "é"


def test_what_the_engine_refuses_is_passed_on(client: Any) -> None:
    reply = ask(client, prompt=SW, max_tokens=0)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"] == "max_tokens must be 1 or more"


def test_what_clients_need_passes_through(client: Any) -> None:
    reply = client.post("/tokenize?a=b&c=d%20e", json={"model": "tiny", "prompt": "a"})
    assert reply.json()["path"] == "tokenize"
    assert reply.json()["query"] == "a=b&c=d%20e"
    assert json.loads(reply.json()["body"]) == {"model": "tiny", "prompt": "a"}
    assert reply.headers["x-langsteer-vector"] == "none"
    for body in ({"model": "tiny-sw"}, {"model": "tiny", "steering": None}):
        refused = client.post("/v1/responses", json=body)
        assert refused.status_code == 400
        assert "requests to /v1/responses are not steered" in refused.json()["error"]["message"]
    assert client.get("/version").json()["path"] == "version"
    assert client.options("/tokenize").json()["path"] == "tokenize"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        *(
            ("POST", path, 404)
            for path in (
                "/sleep", "/wake_up", "/pause", "/resume", "/abort_requests", "/reset_prefix_cache",
                "/collective_rpc", "/v1/load_lora_adapter", "/v1/unload_lora_adapter",
                "/update_weights", "/start_profile", "/scale_elastic_ep", "/invocations",
                "/v1/responses/resp_1/cancel", "/models/unload", "/", "/tokenize/", "//tokenize",
            )
        ),
        *(("GET", path, 404) for path in ("/server_info", "/models", "/load", "/tokenizer_info")),
        ("OPTIONS", "/sleep", 404),
        ("GET", "/tokenize", 405),
        ("POST", "/version", 405),
        ("PUT", "/v1/completions", 405),
        ("DELETE", "/v1/models", 405),
    ],
)  # fmt: skip
def test_nobody_administers_the_engine(client: Any, method: str, path: str, status: int) -> None:
    content = {"json": {"model": "tiny"}} if method == "POST" else {}
    reply = client.request(method, f"http://testserver{path}", **content)
    assert reply.status_code == status, reply.text
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b'{"model": "elsewhere", "prompt": "a"}', 404, "there is no model 'elsewhere'"),
        (b"[" * 100_000, 400, "the body is nested too deeply"),
        (b"no", 400, "the body is not JSON"),
        (b"[]", 400, "the body is not an object"),
        (b'{"steerin": "sw"}', 400, "'steerin' is not understood: the field is called steering"),
        (b'{"prompt": "\\ud800"}', 400, "the text is not Unicode"),
    ],
)
def test_what_passes_through_is_read(
    client: Any, content: bytes, status: int, message: str
) -> None:
    reply = client.post("/tokenize", content=content)
    assert reply.status_code == status
    assert reply.json()["error"]["message"].startswith(message)


@pytest.mark.parametrize("path", ["/a/../v1/completions", "/a/%2e%2e/v1/completions"])
def test_a_path_says_where_it_leads(client: Any, path: str) -> None:
    scope = {
        "type": "http",
        "method": "GET",
        "path": path.replace("%2e", "."),
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
    }
    sent: list[Any] = []

    async def ask_raw() -> None:
        async def receive() -> Any:
            return {"type": "http.request", "body": b""}

        async def send(message: Any) -> None:
            sent.append(message)

        await client.app(scope, receive, send)

    asyncio.run(ask_raw())
    assert sent[0]["status"] == 404


def test_texts_are_said_where_they_matter(client: Any) -> None:
    turns = [{"role": "user", "content": SW}]
    told = word(ask(client, messages=turns, steering={"positions": "prompt"}))
    assert told == {"language": "sw", "strength": 2.0, "positions": "prompt"}


def test_models_health_and_metrics(client: Any, echo: Echo) -> None:
    listed = [model["id"] for model in client.get("/v1/models").json()["data"]]
    assert listed == ["tiny", "tiny-auto", "tiny-et", "tiny-sw"]
    text = client.get("/metrics").text
    assert "vllm_something 1" in text
    assert "langsteer_requests" in text
    assert client.get("/health").status_code == 200
    assert (client.head("/health").status_code, client.head("/health").text) == (200, "")
    echo.alive = False
    assert client.get("/health").status_code == 503
    echo.alive = True


def test_a_model_by_its_name_and_paths_that_there_are_not(client: Any) -> None:
    one = {"id": "tiny-et", "object": "model", "created": 0, "owned_by": "langsteer"}
    assert client.get("/v1/models/tiny-et").json() == one
    assert client.get("/v1/models/inside").json()["error"]["code"] == "model_not_found"
    for path in ("/v1/completions/", "/v1/chat/completions/"):
        reply = client.post(path, json={"model": "tiny", "prompt": SW}, follow_redirects=False)
        assert reply.status_code == 404
        assert reply.json()["error"]["message"] == f"there is no POST '{path}' here"


def test_keys_are_the_layers_own(echo: Echo) -> None:
    app = build_proxy(echo, Choices(changes()), "tiny", ServeOptions(keys=("secret",)))
    with TestClient(app) as client:
        assert ask(client, prompt=SW, steering=None).status_code == 401
        own = {"Authorization": "Bearer secret", "X-Request-Id": "7"}
        body = {"model": "tiny", "prompt": SW, "steering": None}
        reply = client.post("/v1/completions", json=body, headers=own)
        assert "authorization" not in reply.json()["headers"]
        assert reply.json()["headers"]["x-request-id"] == "7"
        unheard = client.post("/v1/completions", json={**body, "steering": "auto"}, headers=own)
        assert "no router that tells languages apart" in unheard.json()["error"]["message"]


def test_an_engine_that_is_gone(echo: Echo) -> None:
    class Gone(Echo):
        def __init__(self) -> None:
            super().__init__()
            with bind("127.0.0.1", 0) as listener:
                self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    with TestClient(build_proxy(Gone(), Choices(changes()), "tiny")) as client:
        reply = ask(client, prompt=SW, steering="sw")
    assert reply.status_code == 503
    assert reply.json()["error"]["code"] == "engine_gone"


def test_the_engine_is_told_when_a_client_goes(echo: Echo) -> None:
    listener = bind("127.0.0.1", 0)
    app = build_proxy(echo, Choices(changes()), "tiny")
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/completions"
    body = {"model": "tiny", "prompt": SW, "steering": "sw", "max_tokens": 99}
    with pytest.raises(httpx2.TimeoutException):
        httpx2.post(url, json=body, timeout=0.5, trust_env=False)
    assert echo.gone.wait(8)
    server.should_exit = True
    thread.join(10)


def test_vectors_that_vllm_cannot_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from langsteer.serving import vllm

    made = changes()
    monkeypatch.setattr(vllm, "installed_version", lambda: "0.32.4")
    check_changes(made)
    maps, offsets = {1: torch.eye(32)}, {1: torch.zeros(32)}
    projection = Projection(maps, offsets, "tr", "en", made["sw"].model)
    with pytest.raises(VectorError, match="vLLM adds vectors, and that of tr is a projection"):
        check_changes({**made, "tr": projection})
    for version in ("0.31.0", "0.33.0", "1.0"):
        monkeypatch.setattr(vllm, "installed_version", lambda version=version: version)
        with pytest.raises(EngineError, match=rf"knows vLLM 0.32.\*, and {version} is installed"):
            check_changes(made)


@pytest.mark.parametrize("path", ["/v1/choices", "/v1/choices/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_choices_are_for_another_engine(client: Any, method: str, path: str) -> None:
    body = {"model": "tiny", "prompt": SW, "choices": ["a", "b"]}
    reply = client.request(method, path, json=body)
    assert reply.status_code == 404
    error = reply.json()["error"]
    assert error["code"] == "not_supported"
    assert "langsteer serve --engine transformers" in error["message"]
