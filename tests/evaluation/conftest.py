"""SIB-200, made up, for whatever asks its items."""

from pathlib import Path

import pytest

from tests.made.topics import made_sib200


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """SIB-200 in three languages, as published, in letters that the tiny tokeniser has."""
    return made_sib200(tmp_path / "data")
