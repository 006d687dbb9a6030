"""A tiny model with two vectors and a router, served."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("prometheus_client", reason="the extra serve is not installed")
pytest.importorskip("httpx2", reason="httpx2 is not installed")

from fastapi.testclient import TestClient

from langsteer.fitting.router import fit_router
from langsteer.model.model import Model
from langsteer.serving.app import ServeOptions, build_app
from langsteer.steering.steered import Steered, steered
from tests.helpers import build_model, make_vector
from tests.made.server import listening

LETTERS = {"sw": "abcde", "tr": "fghij", "en": "klmno"}
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] | trim }}\n{% endfor %}"
    "{% if add_generation_prompt %}<model>{% endif %}"
)


def lines(letters: str) -> list[str]:
    return ["".join(letters[(i * k + k // 2) % 5] for k in range(1, 25)) for i in range(1, 31)]


def build() -> Model:
    built = build_model("llama", seed=3, max_position_embeddings=128)
    built.tokenizer.chat_template = TEMPLATE
    return built


@pytest.fixture(scope="session")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vectors")
    model = build()
    for seed, tag in enumerate(("sw", "tr")):
        vector = make_vector(model, seed, language=tag, strength=4.0, positions="prompt")
        vector.save(path / f"{tag}.safetensors")
    texts = {tag: lines(letters) for tag, letters in LETTERS.items()}
    fit_router(model, texts, with_builtin=False).save(path / "router.safetensors")
    return path


@pytest.fixture
def ready(vectors: Path) -> Steered:
    """A network of its own: the hooks of an engine come and go in another thread."""
    return steered(build(), vectors, confidence=0.5)


@pytest.fixture(scope="session")
def client(vectors: Path) -> Iterator[Any]:
    served = steered(build(), vectors, confidence=0.5)
    with TestClient(build_app(served, "tiny", ServeOptions(max_tokens=6))) as opened:
        yield opened


@pytest.fixture(scope="module")
def url(vectors: Path) -> Iterator[str]:
    """The address of a server that listens."""
    served = steered(build(), vectors, confidence=0.5)
    with listening(served, ServeOptions(max_tokens=6)) as address:
        yield address
