"""langsteer serve --engine vllm, from the command to the answers, with a tiny model."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from langsteer.engines.vllm.word import KEY
from langsteer.errors import EngineError
from langsteer.extras import installed
from langsteer.serving import vllm
from langsteer.steering.folder import load
from langsteer.steering.generation import chat_prompt, generate
from tests.helpers import build_model, make_vector
from tests.made.vllm_engine import QUIET

ENGINES = [
    pytest.mark.engines,
    pytest.mark.skipif(not installed("vllm"), reason="vLLM is not installed"),
]
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] | trim }}\n{% endfor %}"
    "{% if add_generation_prompt %}<model>{% endif %}"
)
SW = "Habari za asubuhi, rafiki yangu mpendwa"
SMALL = "--max-model-len 256 --max-num-seqs 8 --enforce-eager --block-size 32"


def test_a_server_that_does_not_start_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(vllm.sys, "executable", "/bin/false")
    with (
        pytest.raises(EngineError, match="vLLM ended with 1 before it was ready"),
        vllm.vllm_server("nowhere", [tmp_path], "tiny"),
    ):
        pass
    with (
        pytest.raises(EngineError, match="--port is set by langsteer: leave it out"),
        vllm.vllm_server("nowhere", [tmp_path], "tiny", "--port=3 --enforce-eager"),
    ):
        pass


@pytest.mark.parametrize("answer", [(200, "{}"), (400, "other")])
def test_a_server_without_the_plugin_is_refused(answer: Any) -> None:
    def handle(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(answer[0], text=answer[1])

    with (
        httpx2.Client(base_url="http://test", transport=httpx2.MockTransport(handle)) as client,
        pytest.raises(EngineError, match="vLLM runs without langsteer's plug-in"),
    ):
        vllm._check_steers(client, "tiny")


def test_the_vectors_are_told_by_whole_paths(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "vectors").mkdir()
    monkeypatch.chdir(tmp_path)
    told = vllm._config([Path("vectors"), Path("user/repo")])
    assert told == f'{{"{KEY}": {{"vectors": ["{tmp_path}/vectors", "user/repo"]}}}}'


def test_a_router_that_vllm_cannot_use_is_named(
    vectors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def running(*given: Any) -> Iterator[vllm.VllmServer]:
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        yield vllm.VllmServer("http://127.0.0.1:9", "tiny", process)
        process.communicate(b"\n")

    monkeypatch.setattr(vllm, "check_changes", lambda changes: None)
    monkeypatch.setattr(vllm, "vllm_server", running)
    monkeypatch.setattr(vllm, "serve", lambda *given: None)
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        vllm.serve_vllm("nowhere", [vectors], "tiny", listener, said.append)
    assert said[0].startswith(
        f"{vectors / 'router.safetensors'} is not used, as this engine gives no hidden states to read: "
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served")
    model = build_model("llama", 3, hidden_size=64, head_dim=32, max_position_embeddings=512)
    model.tokenizer.chat_template = TEMPLATE
    model.network.generation_config.eos_token_id = None
    model.network.save_pretrained(path / "model")
    model.tokenizer.save_pretrained(path / "model")
    for seed, tag in enumerate(("sw", "tr")):
        made = make_vector(model, seed, language=tag, strength=3.0, positions="source")
        made.save(path / "vectors" / f"{tag}.safetensors")
    return path


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[tuple[Any, Any]]:
    """The command, and a client of what it serves."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["serve", str(folder / "model"), "-v", str(folder / "vectors"), "--port", str(port)]
    words += ["--name", "tiny", "--engine", "vllm", "--dtype", "float32"]
    source = str(Path(__file__).parents[2] / "src")
    process = subprocess.Popen(
        [sys.executable, "-m", "langsteer", *words, "--engine-arguments", SMALL],
        env={**os.environ, **QUIET, "VLLM_ENABLE_V1_MULTIPROCESSING": "1", "PYTHONPATH": source},
    )
    url = f"http://127.0.0.1:{port}"
    with httpx2.Client(base_url=url, timeout=120, trust_env=False) as client:
        while process.poll() is None:
            with contextlib.suppress(httpx2.HTTPError):
                if client.get("/health", timeout=1).status_code == 200:
                    break
            time.sleep(0.2)
        yield process, client
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


class TestServed:
    pytestmark = ENGINES

    def test_answers_are_those_of_transformers(self, server: Any, folder: Path) -> None:
        _, client = server
        model = build_model("llama", 3, hidden_size=64, head_dim=32, max_position_embeddings=512)
        model.tokenizer.chat_template = TEMPLATE
        sw, tr = (load(folder / "vectors" / f"{tag}.safetensors") for tag in ("sw", "tr"))
        turns = [{"role": "user", "content": SW}]
        cases: list[tuple[dict[str, Any], Any, dict[str, Any]]] = [
            ({}, sw, {}),
            ({"steering": None}, None, {}),
            ({"model": "tiny-tr"}, tr, {}),
            (
                {"steering": {"language": "tr", "positions": "generated"}},
                tr,
                {"positions": "generated"},
            ),
            ({"messages": turns}, sw, {}),
            ({"messages": turns, "steering": {"strength": 1.0}}, sw, {"strength": 1.0}),
        ]
        said = {"model": "tiny", "max_tokens": 8, "temperature": 0, "ignore_eos": True}
        for body, change, options in cases:
            chat = "messages" in body
            path = "/v1/chat/completions" if chat else "/v1/completions"
            reply = client.post(path, json={**said, **({} if chat else {"prompt": SW}), **body})
            assert reply.status_code == 200, reply.text
            choice = reply.json()["choices"][0]
            got = choice["message"]["content"] if chat else choice["text"]
            prompt = chat_prompt(model, turns) if chat else SW
            plain = {"max_new_tokens": 8, "eos_token_id": None}
            assert got == generate(model, [prompt], change, **plain, **options)[0], body
            told = reply.json()["steering"]
            assert told["vector"] == (change.language if change is not None else None)

    def test_streams_end_with_what_was_used(self, server: Any) -> None:
        body = {"model": "tiny", "prompt": SW, "max_tokens": 4, "stream": True, "temperature": 0}
        text = server[1].post("/v1/completions", json=body).text
        assert text.rstrip().endswith("data: [DONE]")
        assert text.count('"vector": "sw"') == 1

    def test_what_is_not_understood_is_refused(self, server: Any) -> None:
        said = {"model": "tiny", "prompt": SW, "max_tokens": 4}
        for body in ({"steering": "fr"}, {"steerings": "sw"}, {"max_tokens": -1}):
            reply = server[1].post("/v1/completions", json={**said, **body})
            assert reply.status_code == 400, reply.text
            assert "message" in reply.json()["error"]

    def test_it_stops_and_leaves_nothing(self, server: Any) -> None:
        process, client = server
        assert "langsteer_requests" in client.get("/metrics").text
        assert "vllm:" in client.get("/metrics").text
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
