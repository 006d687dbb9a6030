from pathlib import Path

import pytest

from langsteer.model.model import Model
from langsteer.model.opening import load_model
from tests.helpers import build_model
from tests.made.instructions import SIZE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model on disk."""
    path = tmp_path_factory.mktemp("base")
    model = build_model("llama", **SIZE)
    model.network.save_pretrained(path)
    model.tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def model(folder: Path) -> Model:
    return load_model(folder)
