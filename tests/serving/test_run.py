"""A server of its own process, on loopback, with OpenAI's client; what it refuses to start with."""

import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from langsteer.errors import LangsteerError, VectorError
from langsteer.serving.run import bind, read_served
from tests.helpers import build_model, run

SW = "abcdeabcdeabcde"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny"
    built = build_model("llama", seed=3)
    built.network.save_pretrained(path)
    built.tokenizer.save_pretrained(path)
    return path


@contextlib.contextmanager
def serving(saved: Path, vectors: Path) -> Iterator[tuple[Any, str]]:
    command = [sys.executable, "-m", "langsteer", "serve", str(saved), "-v", str(vectors)]
    process = subprocess.Popen(
        [*command, "--port", "0", "--api-key", "secret"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if match := re.search(r"serving tiny on (http://\S+/v1)", line):
                yield process, match[1]
                break
        else:
            pytest.fail("it did not start")
    finally:
        process.kill()
        process.wait()


def test_a_real_server_and_openais_client(saved: Path, vectors: Path) -> None:
    openai = pytest.importorskip("openai", reason="openai is not installed")
    with serving(saved, vectors) as (process, url):
        client = openai.OpenAI(base_url=url, api_key="secret", max_retries=0)
        asked = {"model": "tiny-sw", "prompt": SW, "temperature": 0, "max_tokens": 5}
        whole = client.completions.create(**asked)
        assert whole.steering["vector"] == "sw"
        parts = list(client.completions.create(**asked, stream=True))
        assert "".join(part.choices[0].text for part in parts) == whole.choices[0].text
        assert parts[-1].steering["vector"] == "sw"
        with pytest.raises(openai.BadRequestError, match="no vector for hi"):
            client.completions.create(**{**asked, "model": "tiny"}, extra_body={"steering": "hi"})
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=url, api_key="no", max_retries=0).models.list()
        client.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        log = process.stderr.read()
        assert "POST /v1/completions 200" in log
        assert SW not in log


def test_a_damaged_file(vectors: Path, tmp_path: Path) -> None:
    (tmp_path / "sw.safetensors").write_bytes((vectors / "sw.safetensors").read_bytes())
    (tmp_path / "tr.safetensors").write_bytes(b"no")
    with pytest.raises(VectorError, match=r"tr\.safetensors"):
        read_served([tmp_path], False, print)
    said: list[str] = []
    changes, router = read_served([tmp_path], True, said.append)
    assert list(changes) == ["sw"]
    assert router is None
    assert "tr.safetensors" in said[0]


def test_a_port_that_is_taken(
    saved: Path, vectors: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(LangsteerError, match=f"port {port}"):
            bind("127.0.0.1", port)
        code, _, err = run(capsys, "serve", str(saved), "-v", str(vectors), "--port", str(port))
    assert code == 1
    assert len(err.strip().splitlines()) == 1


def test_a_vector_for_another_model(
    vectors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = build_model("llama", seed=8)
    other.network.save_pretrained(tmp_path)
    other.tokenizer.save_pretrained(tmp_path)
    code, _, err = run(capsys, "serve", str(tmp_path), "-v", str(vectors), "--port", "0")
    assert code == 1
    assert "has other weights" in err
