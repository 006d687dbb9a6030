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
import psutil
import pytest
from fastapi.testclient import TestClient

from langsteer.errors import EngineError, ExportError, VectorError
from langsteer.serving import heard as lingua
from langsteer.serving import llama_server as module
from langsteer.serving.heard import Choices
from langsteer.serving.llama_server import (
    LlamaSections,
    Started,
    chosen_among,
    has_template,
    llama_server,
)
from langsteer.serving.proxy import build_proxy
from langsteer.steering.change import Change
from langsteer.steering.folder import read_changes
from langsteer.steering.logit_bias import request_bias
from langsteer.steering.router import read_router
from langsteer.steering.sequence import ChangeSequence
from langsteer.text.identify import Identified
from tests.helpers import build_model, make_bias, make_vector, run, tiny
from tests.made.llama_server import write_program

SW, TR, EN = "abcdeabcde", "fghijfghij", "klmnoklmno"
HEARD = {SW: Identified("sw", 0.99), TR: Identified("tr", 0.99), EN: Identified("en", 0.99)}
UNSURE = Identified("sw", 0.5)


class Ear:
    """Hears what a test says."""

    languages = ("sw", "tr", "en")

    def identify(self, texts: Any) -> list[Identified]:
        return [HEARD.get(text, UNSURE) for text in texts]


def write_model(
    folder: Path, layers: int = 4, hidden: int = 32, template: str | None = None
) -> Path:
    path = folder / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(layers)
    writer.add_embedding_length(hidden)
    if template is not None:
        writer.add_chat_template(template)
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
def started(model: Path, program: Path) -> Started:
    return Started(model, "tiny", everywhere=True, program=program)


@pytest.fixture(scope="module")
def client(started: Started, changes: Mapping[str, Change]) -> Iterator[Any]:
    everywhere = {tag: change.at("all") for tag, change in changes.items()}
    with (
        llama_server(started, changes) as server,
        TestClient(
            build_proxy(LlamaSections(server, "tiny", 6), Choices(everywhere, Ear()), "tiny")
        ) as opened,
    ):
        yield opened


def ask(client: Any, path: str = "/v1/completions", **body: Any) -> Any:
    content = json.dumps({"model": "tiny", **body})
    return client.post(path, content=content, headers={"Content-Type": "application/json"})


def told(reply: Any) -> dict[str, Any]:
    """What llama-server was asked."""
    assert reply.status_code == 200, reply.text
    asked: dict[str, Any] = json.loads(reply.json()["choices"][0]["text"])
    return asked


@pytest.mark.parametrize(
    ("body", "section", "vector"),
    [
        ({"prompt": SW}, "tiny-sw", "sw"),
        ({"prompt": [TR]}, "tiny-tr", "tr"),
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


def test_biases_go_with_the_request(started: Started) -> None:
    bias, vector = make_bias(tiny("llama"), "sw", strength=0.5), make_vector(tiny("llama"))
    turkish = make_bias(tiny("llama"), "tr", seed=1)
    changes = {"sw": ChangeSequence((vector, bias), strength=2.0), "tr": turkish}
    with (
        llama_server(started, changes) as server,
        TestClient(
            build_proxy(LlamaSections(server, "tiny", 6), Choices(changes, Ear()), "tiny")
        ) as client,
    ):
        asked = told(ask(client, prompt=SW))
        assert asked["model"] == "tiny-sw"
        assert asked["logit_bias"] == [list(p) for p in request_bias(bias.values).items()]
        wanted = [list(pair) for pair in request_bias(turkish.values).items()]
        for own in ({"7": -3.0, "no": 2}, [[7, -3.0], ["no", 2]]):
            asked = told(ask(client, prompt=TR, logit_bias=own))
            assert asked["model"] == "tiny"  # there is no vector, and so no section
            assert asked["logit_bias"] == [*wanted, [7, -3.0], ["no", 2]]
        assert "logit_bias" not in told(ask(client, prompt=EN))
        assert ask(client, prompt=TR).json()["steering"]["vector"] == "tr"


def test_chats_and_what_else_it_serves(client: Any) -> None:
    turns = [{"role": "user", "content": EN}, {"role": "user", "content": SW}]
    reply = ask(client, "/v1/chat/completions", messages=turns)
    assert told(reply)["model"] == "tiny-sw"
    assert reply.json()["path"] == "/v1/chat/completions"
    reply = ask(client, "/v1/responses", input=SW)
    assert told(reply) == {"model": "tiny", "input": SW}
    assert reply.headers["x-langsteer-vector"] == "none"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(
            ("POST", path)
            for path in (
                "/models/load", "/models/unload", "/models", "/slots/0?action=erase", "/slots", "/props",
                "/lora-adapters", "/tools", "/cors-proxy", "/v1/streams/lookup",
                "/v1/chat/completions/control",
            )
        ),
        *(
            ("GET", path)
            for path in ("/models", "/models/sse", "/slots", "/props", "/lora-adapters", "/tools", "/")
        ),
    ],
)  # fmt: skip
def test_nobody_administers_it(client: Any, method: str, path: str) -> None:
    content = {"json": {"model": "tiny"}} if method == "POST" else {}
    reply = client.request(method, path, **content)
    assert reply.status_code == 404
    assert reply.json()["error"]["message"].startswith(f"there is no {method} '/")


def test_a_chat_needs_a_template(started: Started, tmp_path: Path) -> None:
    file = write_model(tmp_path, template="{{ messages }}")
    assert has_template(replace(started, model=file), {})
    assert not has_template(started, {})
    assert has_template(started, {"LLAMA_ARG_CHAT_TEMPLATE": "chatml"})
    for given in ("--chat-template chatml", "--chat-template-file=t"):
        assert has_template(replace(started, arguments=given), {})


def test_a_chat_without_a_template_is_refused(
    started: Started, changes: Mapping[str, Change]
) -> None:
    with (
        llama_server(started, changes) as server,
        TestClient(
            build_proxy(
                LlamaSections(server, "tiny", 6, chats=False), Choices(changes, Ear()), "tiny"
            )
        ) as client,
    ):
        turns = [{"role": "user", "content": SW}]
        for path in (
            "/v1/chat/completions",
            "/chat/completions",
            "/v1/messages",
            "/apply-template",
        ):
            reply = ask(client, path, messages=turns)
            assert reply.status_code == 400
            told_why = "tiny has no chat template: ask /v1/completions, with a prompt"
            assert reply.json()["error"]["message"] == told_why
        assert ask(client, prompt=SW).status_code == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"model": "other"}, "no model 'other': there are tiny, tiny-auto, tiny-sw, tiny-tr"),
        ({"model": ["tiny"]}, "no model"),
        ({"steering": "hi"}, "no vector for hi"),
        ({"steering": {"language": "sw", "strength": 0.5}}, r"leave steering\.strength out"),
        ({"steering": {"positions": "prompt"}}, r"leave steering\.positions out"),
        ({"model": "tiny-sw", "steering": "tr"}, "the model's name asks for sw"),
        ({"prompt": [SW, TR]}, "get different vectors"),
        ({"steeering": "sw"}, "'steeering' is not understood: the field is called steering"),
        ({"prompt": "\ud800"}, "the text is not Unicode"),
        ({"max_tokens": 13}, "thirteen is too many"),  # llama-server's own
    ],
)
def test_what_is_refused(client: Any, body: dict[str, Any], message: str) -> None:
    reply = ask(client, **{"prompt": SW, **body})
    assert reply.status_code == (404 if message.startswith("no model") else 400)
    assert re.search(message, reply.json()["error"]["message"])


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


def test_the_vector_that_is_told_acts_everywhere(client: Any) -> None:
    steering = ask(client, prompt=SW).json()["steering"]
    assert (steering["positions"], steering["strength"]) == ("all", 4.0)


def test_a_server_that_is_gone(started: Started, changes: Mapping[str, Change]) -> None:
    with llama_server(started, changes) as server:
        assert server.alive
    app = build_proxy(LlamaSections(server, "tiny", 6), Choices(changes, Ear()), "tiny")
    with TestClient(app) as client:
        assert client.get("/health").status_code == 503
        assert ask(client, prompt=SW).status_code == 503


def test_a_section_that_is_not_steered_is_not_served(
    started: Started, changes: Mapping[str, Change]
) -> None:
    sw = changes["sw"]
    none = {"sw": sw, "xx": replace(sw, language="xx")}  # type: ignore[type-var]
    with pytest.raises(EngineError, match="took no vector for xx"), llama_server(started, none):
        pass


def test_positions_need_a_word(started: Started, changes: Mapping[str, Change]) -> None:
    strict = replace(started, everywhere=False)
    with (
        pytest.raises(ExportError, match="acts on the positions 'prompt'"),
        llama_server(strict, changes),
    ):
        pass


def test_arguments_of_its_own(started: Started, changes: Mapping[str, Change]) -> None:
    given = replace(started, arguments="--threads 1 --ctx-size '512'")
    with llama_server(given, changes) as server:
        arguments = server.process.args
    assert isinstance(arguments, list)
    assert arguments[5:9] == ["--threads", "1", "--ctx-size", "512"]
    for taken in ("--port 80", "--models-max=1"):
        with (
            pytest.raises(EngineError, match="is set by langsteer"),
            llama_server(replace(started, arguments=taken), changes),
        ):
            pass


def test_what_hears(
    vectors: Path, changes: Mapping[str, Change], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = chosen_among({"sw": changes["sw"]}, None, "m.gguf")
    assert isinstance(alone.router, lingua.Ear)
    monkeypatch.setattr(module, "load_model", lambda name: build_model("llama", seed=3))
    chosen = chosen_among(changes, read_router(vectors), "m.gguf")
    assert [heard.language for heard in chosen.identify([SW * 2, TR * 2])] == ["sw", "tr"]
    assert {change.positions for change in chosen.changes.values()} == {"all"}
    monkeypatch.setattr(module, "load_model", lambda name: build_model("llama", seed=4))
    with pytest.raises(VectorError, match="has other weights"):
        chosen_among(changes, read_router(vectors), "m.gguf")


@pytest.mark.parametrize(
    "option", [["--rows", "2"], ["--dtype", "float32"], ["--carry"], ["--priors", "p"]]
)
def test_options_that_are_not_for_it(
    option: list[str], vectors: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["serve", "tiny.gguf", "-v", str(vectors), "--engine", "llama-server"]
    code, _, err = run(capsys, *arguments, *option)
    assert code == 1
    assert f"{option[0]} is not for llama-server" in err


def test_a_model_that_is_no_gguf_file(
    vectors: Path, program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["serve", "gemma-3-270m", "-v", str(vectors), "--engine", "llama-server"]
    code, _, err = run(capsys, *arguments, "--everywhere", "--llama-server", str(program))
    assert code == 1
    assert "llama-server runs a GGUF file, and gemma-3-270m is none" in err


@pytest.mark.parametrize("killed", [False, True])
def test_the_command_with_llama_server(model: Path, tmp_path: Path, killed: bool) -> None:
    """Served by a process of its own, which takes llama-server with it when it ends, and ends when
    llama-server does.
    """
    program = write_program(tmp_path)
    make_vector(tiny("llama")).save(tmp_path / "sw.safetensors")
    command = [sys.executable, "-m", "langsteer", "serve", str(model), "--port", "0"]
    command += ["-v", str(tmp_path), "--engine", "llama-server", "--llama-server", str(program)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if match := re.search(r"serving tiny with llama-server on (http://\S+)/v1", line):
                break
        else:
            pytest.fail("it did not start")
        import httpx2

        url = match[1] + "/v1/completions"
        asked = {"model": "tiny", "prompt": EN, "steering": "sw"}
        reply = httpx2.post(url, json=asked, trust_env=False)
        assert told(reply)["model"] == "tiny-sw"
        chat = {"model": "tiny", "messages": [{"role": "user", "content": EN}]}
        refused = httpx2.post(f"{match[1]}/v1/chat/completions", json=chat, trust_env=False)
        assert "no chat template" in refused.text  # the file has none
        if killed:
            (server,) = psutil.Process(process.pid).children()
            server.kill()
            assert process.wait(20) == 1
            assert "langsteer: llama-server ended by itself, with -9: " in process.stderr.read()
            return
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert str(program) not in listed.stdout
