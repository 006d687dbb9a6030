"""Requests that are passed on to llama-server, with a program that stands in for it and answers what it was asked."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import pytest
from fastapi.testclient import TestClient

from langsteer.errors import EngineError, ExportError
from langsteer.serving.app import ServeOptions
from langsteer.serving.llama_server import build_llama_app, llama_server
from langsteer.serving.sections import Sections, hearing, texts_of
from langsteer.steering.change import Change
from langsteer.steering.folder import read_changes
from langsteer.steering.router import read_router
from langsteer.text.identify import Identified
from tests.helpers import make_vector
from tests.made.llama_server import write_program

SW, TR, EN = "abcdeabcde", "fghijfghij", "klmnoklmno"
HEARD = {SW: Identified("sw", 0.99), TR: Identified("tr", 0.99), EN: Identified("en", 0.99)}
UNSURE = Identified("sw", 0.5)


def hear(texts: Any) -> list[Identified | None]:
    return [HEARD.get(text, UNSURE) for text in texts]


def write_model(folder: Path, layers: int = 4, hidden: int = 32) -> Path:
    path = folder / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(layers)
    writer.add_embedding_length(hidden)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def changes(vectors: Path) -> Mapping[str, Change]:
    return read_changes(vectors)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_program(tmp_path_factory.mktemp("program"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def client(program: Path, model: Path, changes: Mapping[str, Change]) -> Iterator[Any]:
    with llama_server(model, "tiny", changes, everywhere=True, program=program) as server:
        sections = Sections("tiny", changes, hear)
        with TestClient(build_llama_app(server, sections, ServeOptions(max_tokens=6))) as opened:
            yield opened


def ask(client: Any, path: str = "/v1/completions", **body: Any) -> Any:
    return client.post(path, json={"model": "tiny", **body})


def told(reply: Any) -> dict[str, Any]:
    """What llama-server was asked."""
    assert reply.status_code == 200, reply.text
    asked: dict[str, Any] = json.loads(reply.json()["choices"][0]["text"])
    return asked


@pytest.mark.parametrize(
    ("body", "section", "vector"),
    [
        ({"prompt": SW}, "tiny-sw", "sw"),
        ({"prompt": [TR, TR]}, "tiny-tr", "tr"),
        ({"prompt": EN}, "tiny", None),
        ({"prompt": "xyz"}, "tiny", None),  # the router is unsure
        ({"prompt": EN, "steering": "tr"}, "tiny-tr", "tr"),
        ({"prompt": SW, "steering": "en"}, "tiny", None),
        ({"prompt": SW, "steering": None}, "tiny", None),
        ({"prompt": EN, "model": "tiny-sw"}, "tiny-sw", "sw"),
        ({"prompt": SW, "model": "tiny-auto"}, "tiny-sw", "sw"),
        ({"prompt": SW, "steering": {"positions": "all"}}, "tiny-sw", "sw"),
    ],
)
def test_a_request_goes_to_its_section(
    client: Any, body: dict[str, Any], section: str, vector: str | None
) -> None:
    reply = ask(client, **body)
    assert told(reply)["model"] == section
    assert "steering" not in told(reply)
    assert reply.json()["steering"]["vector"] == vector
    assert reply.json()["model"] == body.get("model", "tiny")


def test_what_else_is_asked_is_passed_on(client: Any) -> None:
    asked = {"prompt": SW, "temperature": 0.5, "top_k": 7, "logit_bias": [[3, -1]], "n_predict": 9}
    assert told(ask(client, **asked)) == {**asked, "model": "tiny-sw"}
    assert told(ask(client, prompt=SW))["max_tokens"] == 6
    assert told(ask(client, prompt=SW, max_tokens=2))["max_tokens"] == 2


def test_chats_and_other_interfaces_that_it_serves(client: Any) -> None:
    turns = [
        {"role": "user", "content": EN},
        {"role": "assistant", "content": EN},
        {"role": "user", "content": [{"type": "text", "text": SW}]},
    ]
    for path, body in (
        ("/v1/chat/completions", {"messages": turns}),
        ("/v1/messages", {"messages": turns}),
        ("/v1/responses", {"input": SW}),
    ):
        reply = ask(client, path, **body)
        assert told(reply)["model"] == "tiny-sw"
        assert reply.json()["path"] == path


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"model": "other"}, "no model 'other': there are tiny, tiny-auto, tiny-sw, tiny-tr"),
        ({"model": ["tiny"]}, "no model"),
        ({"steering": "hi"}, "no vector for hi"),
        ({"steering": {"language": "sw", "strength": 0.5}}, r"leave steering\.strength out"),
        ({"steering": {"positions": "prompt"}}, r"leave steering\.positions out"),
        ({"model": "tiny-sw", "steering": "tr"}, "the model's name asks for sw"),
        ({"prompt": [SW, TR]}, "several languages"),
        ({"max_tokens": 13}, "thirteen is too many"),  # llama-server's own
    ],
)
def test_what_is_refused(client: Any, body: dict[str, Any], message: str) -> None:
    reply = ask(client, **{"prompt": SW, **body})
    assert reply.status_code == (404 if message.startswith("no model") else 400)
    assert re.search(message, reply.json()["error"]["message"])


def test_a_body_that_is_none(client: Any) -> None:
    for content in (b"{", b"[]", b"\xff"):
        assert client.post("/v1/completions", content=content).status_code == 400
    assert client.post("/v1/none", json={}).json()["error"]["message"] == "Not Found"


def test_a_stream_comes_through(client: Any) -> None:
    with client.stream(
        "POST", "/v1/completions", json={"model": "tiny-sw", "prompt": EN, "stream": True}
    ) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in reply.iter_lines() if line]
    parts = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert lines[-1] == "data: [DONE]"
    assert [part["choices"][0]["text"] for part in parts[:3]] == ["a", "b", "c"]
    assert {part["model"] for part in parts} == {"tiny-sw"}
    assert [part.get("steering", {}).get("vector") for part in parts] == [None, None, None, "sw"]


def test_models_health_and_keys(program: Path, model: Path, changes: Mapping[str, Change]) -> None:
    with llama_server(model, "tiny", changes, everywhere=True, program=program) as server:
        options = ServeOptions(keys=("secret",))
        app = build_llama_app(server, Sections("tiny", changes, hear), options)
        with TestClient(app) as client:
            assert client.get("/health").json() == {"status": "ok"}
            assert ask(client, prompt=SW).status_code == 401
            client.headers["Authorization"] = "Bearer secret"
            listed = [entry["id"] for entry in client.get("/v1/models").json()["data"]]
            assert listed == ["tiny", "tiny-auto", "tiny-sw", "tiny-tr"]
            assert told(ask(client, prompt=SW))["model"] == "tiny-sw"
            assert "langsteer_requests_total" in client.get("/metrics").text
        with pytest.raises(EngineError, match="Invalid API Key"):
            replace(server, key="other").places([1], 1, 1, "tiny")
        with TestClient(app) as client:
            app.state.stopping = True
            assert client.get("/health").status_code == 503


def test_a_server_that_is_gone(program: Path, model: Path, changes: Mapping[str, Change]) -> None:
    with llama_server(model, "tiny", changes, everywhere=True, program=program) as server:
        app = build_llama_app(server, Sections("tiny", changes, hear))
    with TestClient(app) as client:
        assert client.get("/health").status_code == 503
        reply = ask(client, prompt=SW)
        assert (reply.status_code, reply.json()["error"]["type"]) == (502, "server_error")


def test_a_section_that_is_not_steered_is_not_served(
    program: Path, model: Path, changes: Mapping[str, Change]
) -> None:
    sw = changes["sw"]
    none = {"sw": sw, "xx": replace(sw, language="xx")}  # type: ignore[type-var]
    with (
        pytest.raises(EngineError, match="took no vector for xx"),
        llama_server(model, "tiny", none, everywhere=True, program=program),
    ):
        pass


def test_positions_need_a_word(program: Path, model: Path, changes: Mapping[str, Change]) -> None:
    with (
        pytest.raises(ExportError, match="acts on the positions 'prompt'"),
        llama_server(model, "tiny", changes, program=program),
    ):
        pass


def test_what_hears(vectors: Path, changes: Mapping[str, Change], monkeypatch: Any) -> None:
    from langsteer.serving import sections
    from tests.helpers import build_model

    assert hearing({"sw": changes["sw"]}, None, "m.gguf") is None
    monkeypatch.setattr(sections, "load_model", lambda name: build_model("llama", seed=3))
    by_states = hearing(changes, read_router(vectors), "m.gguf")
    assert by_states is not None
    assert [heard and heard.language for heard in by_states([SW * 2, TR * 2])] == ["sw", "tr"]
    assert by_states([""]) == [None]
    monkeypatch.setattr(sections, "identifiable", lambda tag: tag != "tr")
    assert hearing(changes, None, "m.gguf") is None
    monkeypatch.setattr(sections, "identifiable", lambda tag: True)
    monkeypatch.setattr(sections, "identify", lambda texts, tags: [tuple(tags)])
    by_words = hearing(changes, None, "m.gguf")
    assert by_words is not None
    assert by_words([SW]) == [("sw", "tr", "en")]


def test_one_vector_is_every_texts_and_several_must_be_named(
    changes: Mapping[str, Change],
) -> None:
    from langsteer.serving.errors import RequestError

    alone = Sections("tiny", {"sw": changes["sw"]})
    asked = alone.asked({"model": "tiny"})
    assert alone.section(alone.used(asked, [EN])) == "tiny-sw"
    with pytest.raises(RequestError, match="several vectors and no router"):
        Sections("tiny", changes).asked({"model": "tiny"})


def test_texts_of_bodies_that_are_odd() -> None:
    for body in ({}, {"messages": 3}, {"messages": [{"role": "user"}]}, {"messages": ["a"]}):
        assert texts_of(body) == [""]
    assert texts_of({"prompt": [[1, 2], "a"]}) == ["", "a"]
    assert texts_of({"prompt": 7}) == [""]


def test_the_command_with_llama_server(program: Path, model: Path, tmp_path: Path) -> None:
    """Served by a process of its own, which takes llama-server with it when it ends."""
    from tests.helpers import tiny

    make_vector(tiny("llama")).save(tmp_path / "sw.safetensors")
    command = [sys.executable, "-m", "langsteer", "serve", str(model), "--port", "0"]
    command += ["-v", str(tmp_path), "--engine", "llama-server", "--llama-server", str(program)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if match := re.search(r"serving tiny on (http://\S+)/v1, .* by llama-server", line):
                break
        else:
            pytest.fail("it did not start")
        import httpx2

        url = match[1] + "/v1/completions"
        reply = httpx2.post(url, json={"model": "tiny", "prompt": EN}, trust_env=False)
        assert told(reply)["model"] == "tiny-sw"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert str(program) not in listed.stdout
