"""llama.cpp itself, with a tiny model of invented weights: whether exports and the server steer as langsteer does."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch

from langsteer.engines.llama_cpp import find_server
from langsteer.errors import EngineError
from langsteer.export.check import everywhere
from langsteer.export.formats import check_export, export
from langsteer.model.model import Model
from langsteer.model.opening import load_model
from langsteer.steering.vector import SteeringVector
from tests.helpers import make_vector
from tests.made.gguf_model import write_model

pytestmark = pytest.mark.engines
KINDS = gguf.GGMLQuantizationType
PROMPT = "Habari za asubuhi"


@pytest.fixture(scope="module")
def program() -> Path:
    try:
        return find_server()
    except EngineError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LANGSTEER_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("LLAMA_ARG_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, program: Path) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny.gguf")


@pytest.fixture(scope="module")
def model(file: Path) -> Model:
    return load_model(file)


@pytest.fixture(scope="module")
def vectors(model: Model) -> list[SteeringVector]:
    return [
        make_vector(model, seed, language=tag, layer=layer, strength=0.3)
        for seed, (tag, layer) in enumerate({"sw": 1, "tr": 2, "et": 3}.items())
    ]


@pytest.mark.parametrize("to", ["gguf", "llama-server"])
def test_exports_steer_as_langsteer_does(
    to: str, vectors: list[SteeringVector], file: Path, tmp_path: Path
) -> None:
    options = {"model": file} if to == "llama-server" else {}
    files = export(vectors, to, tmp_path, **options)
    report = check_export(vectors, to, files, file)
    assert report.problems == {}
    assert [checked.language for checked in report.checked] == ["sw", "tr", "et"]
    for checked in report.checked:
        assert checked.steered.largest < 1e-4
        assert checked.rest < 1e-4
        assert checked.effect > 1e-3
    report.require()


def test_a_quantised_file(vectors: list[SteeringVector], tmp_path: Path) -> None:
    file = write_model(tmp_path / "q8.gguf", KINDS.Q8_0)
    files = export(vectors[:1], "gguf", tmp_path / "sw.gguf")
    report = check_export(vectors[:1], "gguf", files, file)
    assert report.quantised
    assert report.problems == {}
    assert report.checked[0].unsteered.largest > 0.01


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"layer": 2}, "something else besides"),
        ({"strength": 0.6}, "does 1.[3-9]"),
        ({"values": torch.ones(31)}, "as if the vector were not there"),  # the server is healthy
    ],
)
def test_a_file_that_does_otherwise_is_noticed(
    changes: dict[str, Any],
    problem: str,
    vectors: list[SteeringVector],
    file: Path,
    tmp_path: Path,
) -> None:
    sw = vectors[0]
    files = export(replace(sw, **changes), "gguf", tmp_path / "sw.gguf")
    with pytest.raises(EngineError, match=problem):
        check_export(sw, "gguf", files, file).require()


@pytest.fixture(scope="module")
def client(file: Path, vectors: list[SteeringVector]) -> Iterator[Any]:
    pytest.importorskip("fastapi", reason="the extra serve is not installed")
    from fastapi.testclient import TestClient

    from langsteer.serving.heard import Choices
    from langsteer.serving.llama_server import LlamaSections, Started, llama_server
    from langsteer.serving.proxy import build_proxy

    changes = {vector.language: vector for vector in vectors}
    with (
        llama_server(Started(file, "tiny"), changes) as server,
        TestClient(
            build_proxy(LlamaSections(server, "tiny", 8), Choices(changes), "tiny")
        ) as opened,
    ):
        yield opened


def greedy(model: Model, vector: SteeringVector | None, tokens: int = 8) -> str:
    row = list(model.tokenizer(PROMPT)["input_ids"])
    start = len(row)
    with torch.inference_mode(), everywhere(model, [vector] if vector else []):
        for _ in range(tokens):
            row.append(int(model.last_logits(model.batch([row]), 1)[0, 0, :128].argmax()))
    return str(model.tokenizer.decode(row[start:]))


def test_the_server_writes_what_transformers_writes(
    client: Any, model: Model, vectors: list[SteeringVector]
) -> None:
    """Of the first 128 tokens, which are whole characters."""
    asked = {"model": "tiny", "prompt": PROMPT, "temperature": 0, "max_tokens": 8}
    asked["logit_bias"] = [[token, False] for token in range(128, 259)]
    written = []
    for tag, vector in ((None, None), *((vector.language, vector) for vector in vectors)):
        reply = client.post("/v1/completions", json={**asked, "steering": tag}).json()
        written.append(reply["choices"][0]["text"])
        assert written[-1] == greedy(model, vector)
        assert reply["steering"]["vector"] == tag
        named = {**asked, "model": f"tiny-{tag}" if tag else "tiny", "stream": True}
        streamed = {} if tag else {"steering": None}
        lines = client.post("/v1/completions", json={**named, **streamed}).text.splitlines()
        events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        assert "".join(event["choices"][0]["text"] for event in events) == written[-1]
        assert events[-1]["steering"]["vector"] == tag
    assert len(set(written)) == 4


def test_a_section_whose_vector_the_server_leaves_out_is_not_served(
    file: Path, vectors: list[SteeringVector], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fastapi", reason="the extra serve is not installed")
    from langsteer.export import llama_server as preset
    from langsteer.serving.llama_server import Started, llama_server

    monkeypatch.setattr(preset, "_check_model", lambda file, vectors: None)
    other = replace(vectors[0], values=torch.ones(31))
    with (
        pytest.raises(EngineError, match="took no vector for sw"),
        llama_server(Started(file, "tiny"), {"sw": other}),
    ):
        pass
