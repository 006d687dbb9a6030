"""A server of its own process, on loopback, with OpenAI's client; what it refuses to start with."""

import contextlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import langsteer
from langsteer.errors import LangsteerError, VectorError
from langsteer.serving.app import ServeOptions, build_app
from langsteer.serving.run import bind, read_served
from tests.helpers import build_model, make_vector, run
from tests.made.hub import Hub

SW = "abcdeabcdeabcde"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny"
    built = build_model("llama", seed=3)
    built.network.save_pretrained(path)
    built.tokenizer.save_pretrained(path)
    return path


@contextlib.contextmanager
def serving(saved: Path, vectors: Path, *more: str) -> Iterator[tuple[Any, str]]:
    command = [sys.executable, "-m", "langsteer", "serve", str(saved), "-v", str(vectors), *more]
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


@pytest.fixture(scope="module")
def priors(saved: Path, vectors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of unsteered texts; the order of the answers is not that in which they are asked for."""
    texts = [SW[i % 5 :] + SW[:i] for i in range(16)]
    ready = langsteer.steered(langsteer.load_model(str(saved)), vectors)
    chooser = langsteer.calibrated(ready, ["b", "a"], texts, language="en")
    return chooser.priors.write(tmp_path_factory.mktemp("priors"))


def test_a_real_server_and_openais_client(saved: Path, vectors: Path, priors: Path) -> None:
    openai = pytest.importorskip("openai", reason="openai is not installed")
    with serving(saved, vectors, "--priors", str(priors)) as (process, url):
        client = openai.OpenAI(base_url=url, api_key="secret", max_retries=0)
        asked = {"model": "tiny-sw", "prompt": SW, "temperature": 0, "max_tokens": 5}
        whole = client.completions.create(**asked)
        assert whole.steering["vector"] == "sw"
        parts = list(client.completions.create(**asked, stream=True))
        assert "".join(part.choices[0].text for part in parts) == whole.choices[0].text
        assert parts[-1].steering["vector"] == "sw"
        choosing = {"model": "tiny", "prompt": SW, "choices": ["a", "b"], "steering": None}
        told = client.post("/choices", body=choosing, cast_to=object)
        assert told["calibration"] == {"by": "priors", "texts": 16}
        ready = langsteer.steered(langsteer.load_model(str(saved)), vectors)
        expected = langsteer.calibrated(ready, ["b", "a"], priors).choose([SW], language="en")
        shares = told["data"][0]["probabilities"][::-1]
        assert shares == pytest.approx(expected[0].probabilities, abs=1e-5)
        with pytest.raises(openai.BadRequestError, match="no vector for hi"):
            client.completions.create(**{**asked, "model": "tiny"}, extra_body={"steering": "hi"})
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=url, api_key="no", max_retries=0).models.list()
        stream = client.completions.create(**{**asked, "max_tokens": 100}, n=8, stream=True)
        parts = [next(stream)]
        process.send_signal(signal.SIGTERM)
        parts += stream
        ends = [choice.finish_reason for part in parts for choice in part.choices]
        assert len(list(filter(None, ends))) == 8  # what runs is finished
        with pytest.raises((openai.APIConnectionError, openai.InternalServerError)):
            client.completions.create(**asked)
        client.close()
        assert process.wait(20) == 0
        log = process.stderr.read()
        assert "POST /v1/completions 200" in log
        assert SW not in log


@pytest.fixture
def damaged(vectors: Path, tmp_path: Path) -> Path:
    """A folder with a good file, one that is no file of vectors, and one for another model."""
    (tmp_path / "sw.safetensors").write_bytes((vectors / "sw.safetensors").read_bytes())
    (tmp_path / "tr.safetensors").write_bytes(b"no")
    other = build_model("llama", seed=9)
    make_vector(other, language="et").save(tmp_path / "et.safetensors")
    return tmp_path


def test_a_damaged_file(damaged: Path) -> None:
    with pytest.raises(VectorError, match=r"tr\.safetensors"):
        read_served([damaged])
    served = read_served([damaged], skip=True)
    assert list(served.changes) == ["et", "sw"]
    assert served.router is None
    assert list(served.left_out) == ["tr.safetensors"]


def test_a_file_for_another_model(damaged: Path, vectors: Path) -> None:
    served, model = read_served([damaged], skip=True), build_model("llama", seed=3)
    with pytest.raises(VectorError, match=r"et\.safetensors.*has other weights"):
        served.opened(model)
    ready, left_out = served.opened(model, skip=True)
    assert list(ready.changes) == ["sw"]
    assert list(left_out) == ["tr.safetensors", "et.safetensors"]
    with TestClient(build_app(ready, "tiny", ServeOptions(left_out=left_out))) as client:
        assert client.get("/health").json()["left_out"] == list(left_out)
        told = client.get("/v1/models").json()["steering"]["left_out"]
    assert [each["file"] for each in told] == list(left_out)
    assert "other weights" in told[1]["reason"]
    with pytest.raises(VectorError, match="no vector fits"):
        read_served([damaged / "et.safetensors"]).opened(model, skip=True)
    routed = read_served([vectors])
    ready, left_out = replace(routed, changes=served.changes, files=served.files).opened(
        build_model("llama", seed=9), skip=True
    )
    assert (list(ready.changes), ready.router) == (["et"], None)
    assert list(left_out) == ["sw.safetensors", "router.safetensors"]


def test_only_damaged_files(damaged: Path) -> None:
    with pytest.raises(VectorError, match=r"no vector file to serve .*damaged|tr\.safetensors"):
        read_served([damaged / "tr.safetensors"], skip=True)


def test_two_vectors_for_a_language(vectors: Path, damaged: Path) -> None:
    with pytest.raises(VectorError, match="second vector for sw"):
        read_served([vectors, damaged / "sw.safetensors"])


def test_vectors_of_the_hub(hub: Hub, vectors: Path) -> None:
    hub.put("someone/vectors", {file.name: file.read_bytes() for file in vectors.iterdir()})
    served = read_served([Path("someone/vectors")])
    assert set(served.changes) == {"sw", "tr"}
    assert served.router is not None


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


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot read"),
        ({}, "not the results of langsteer.calibrated"),
        ({"model": {"name": "another"}}, "these priors are of another model"),
        ({"means": {"sw": [0.0, 0.0]}}, "these priors are damaged"),
    ],
)
def test_priors_that_are_not_of_this_model(
    content: Any,
    says: str,
    saved: Path,
    vectors: Path,
    priors: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "priors.json"
    if content is not None:
        changed = {**json.loads(priors.read_text()), **content} if content else {}
        file.write_text(json.dumps(changed))
    arguments = ["serve", str(saved), "-v", str(vectors), "--port", "0"]
    code, _, err = run(capsys, *arguments, "--priors", str(file))
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert str(file) in err
    assert says in err


@pytest.mark.parametrize("option", [["--engine-arguments", "--top-k 3"], ["--everywhere"]])
def test_options_of_other_engines(
    option: list[str], vectors: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "serve", "nowhere", "-v", str(vectors), *option)
    assert code == 1
    assert f"{option[0]} is not for transformers: leave it out, or name another --engine" in err
