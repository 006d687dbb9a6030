import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from langsteer.errors import ModelError
from langsteer.model.model import Model
from langsteer.model.opening import load_model
from langsteer.progress import show_progress
from tests.helpers import build_model, tiny
from tests.made.hub import Hub, serving

SHARED = Path(__file__).parents[2] / "shared" / "data"
MODELS = {"gemma", "smollm"}  # fixtures that are real models


def listed(name: str) -> set[str]:
    """The names in a file beside this one."""
    lines = (Path(__file__).parent / name).read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


SLOW, LONG = listed("slow.txt"), listed("long.txt")
QUICK = {"llama", "gemma3", "gpt2"}  # of the architectures that a test is tried with

show_progress(False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what is slow, takes long or needs a real model."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if MODELS & fixtures:
            item.add_marker(pytest.mark.model)
        names = {getattr(item, "originalname", item.name), *fixtures}
        if LONG & names:
            item.add_marker(pytest.mark.long)
        if (SLOW | LONG) & names or architecture(item) not in QUICK:
            item.add_marker(pytest.mark.slow)


def architecture(item: pytest.Item) -> str:
    """What a test is tried with; a quick one where it is not tried with several."""
    values = getattr(getattr(item, "callspec", None), "params", {}).get("architecture")
    return values if isinstance(values, str) else min(QUICK)


@pytest.fixture(scope="session")
def gemma() -> Model:
    """The real default model."""
    try:
        return load_model("gemma-3-270m")
    except ModelError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the default model is not here: {error}")


@pytest.fixture
def llama() -> Model:
    return tiny("llama")


@pytest.fixture
def shared() -> Path:
    """Published data sets beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("the published data sets are not beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model on disk."""
    path = tmp_path_factory.mktemp("model")
    model = build_model("llama")
    model.network.save_pretrained(path)
    model.tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A stand-in of the hub, which huggingface_hub asks in its place, with an empty cache."""
    from huggingface_hub import close_session, constants

    with serving() as standing_in:
        template = standing_in.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", standing_in.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        close_session()
        yield standing_in
        close_session()
