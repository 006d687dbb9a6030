import os
from pathlib import Path

import pytest

from langsteer.errors import ModelError
from langsteer.model.model import Model
from langsteer.model.opening import load_model
from langsteer.progress import show_progress
from tests.helpers import build_model, tiny

SHARED = Path(__file__).parents[2] / "shared" / "data"

show_progress(False)


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
