"""Rows that come while an engine runs."""

from pathlib import Path
from typing import Any

import pytest
import torch

from langsteer.engines.vllm import rows as module
from langsteer.engines.vllm.catalogue import Catalogue, make_catalogue
from langsteer.engines.vllm.rows import RowsRunning, check_rows, read_row, write_rows
from langsteer.engines.vllm.start import EngineModel, catalogue_of, settings_of
from langsteer.engines.vllm.steering import Prompt, Steering, steering_of
from langsteer.engines.vllm.word import KEY, Word
from langsteer.errors import EngineError, VectorError
from tests.helpers import make_vector, tiny

MODEL = EngineModel("tiny", "llama", 4, 32, 128)


def catalogue(seed: int) -> Catalogue:
    made = make_vector(tiny("llama"), seed, layer=1 + seed % 2)
    return make_catalogue({"sw": made})


def steering(of: Catalogue) -> Steering:
    made = steering_of(Word("sw"), of, Prompt([1, 10, 11], 1))
    assert made is not None
    return made


def extra(of: Catalogue) -> dict[str, Any]:
    return {KEY: steering(of).plain()}


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RowsRunning:
    monkeypatch.setattr(module, "ROOM", 2)
    made = RowsRunning(tmp_path, MODEL, 64, torch.device("cpu"))
    made.tables.update({layer: made.catalogue.table(layer) for layer in made.catalogue.layers})
    return made


def test_a_row_is_in_the_tables_when_a_request_starts(tmp_path: Path, running: RowsRunning) -> None:
    for seed in (0, 1):
        write_rows(tmp_path, catalogue(seed))
        running.start(f"r{seed}", extra(catalogue(seed)))
    for seed in (0, 1):
        [(*_, digest)] = steering(catalogue(seed)).pieces
        place, layer = running.catalogue.places[digest], 1 + seed % 2
        values = make_vector(tiny("llama"), seed).values
        assert torch.equal(running.tables[layer][place], values)
        assert not running.tables[3 - layer][place].any()
    assert not any(table[0].any() for table in running.tables.values())


def test_rows_that_none_needs_make_room(tmp_path: Path, running: RowsRunning) -> None:
    for seed in range(4):
        write_rows(tmp_path, catalogue(seed))
    running.start("a", extra(catalogue(0)))
    running.start("b", extra(catalogue(1)))
    with pytest.raises(EngineError, match="more than 2 different vectors at once"):
        running.start("c", extra(catalogue(2)))
    running.end("a")
    running.start("c", extra(catalogue(2)))
    known = running.catalogue.places
    digests = [steering(catalogue(seed)).pieces[0][2] for seed in range(3)]
    assert [digest in known for digest in digests] == [False, True, True]
    assert torch.equal(running.tables[1][known[digests[2]]], make_vector(tiny("llama"), 2).values)


def test_what_is_not_there_or_does_not_fit_is_refused(tmp_path: Path) -> None:
    asked = steering(catalogue(0))
    with pytest.raises(VectorError, match="the engine has no vector"):
        check_rows(asked, tmp_path, MODEL)
    write_rows(tmp_path, catalogue(0))
    check_rows(asked, tmp_path, MODEL)
    check_rows(None, tmp_path, MODEL)
    for other in (EngineModel("b", "llama", 1, 32, 128), EngineModel("b", "llama", 4, 64, 128)):
        with pytest.raises(VectorError, match="does not fit b"):
            check_rows(asked, tmp_path, other)
    [file] = tmp_path.iterdir()
    file.rename(tmp_path / f"{'0' * 32}.safetensors")
    with pytest.raises(VectorError, match="other numbers than its name says"):
        read_row(tmp_path, "0" * 32)


def test_an_engine_of_rows_knows_no_languages(tmp_path: Path) -> None:
    class Config:
        additional_config = {KEY: {"rows": str(tmp_path)}}  # noqa: RUF012

    settings = settings_of(Config)
    assert settings == {"rows": str(tmp_path.resolve())}
    with pytest.raises(EngineError, match="knows no vectors by language"):
        catalogue_of(settings)
