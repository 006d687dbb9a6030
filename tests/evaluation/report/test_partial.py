"""What is told of a comparison that runs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("lm_eval", reason="lm-eval is not installed")

from typer.testing import CliRunner

from langsteer.cli.commands import app
from langsteer.errors import CellError
from langsteer.evaluation.comparison import unit
from langsteer.evaluation.comparison.cells import Failure, read_cell, write_failure
from langsteer.evaluation.comparison.run import compare
from langsteer.evaluation.report.partial import PartialReader
from langsteer.model.model import Model
from tests.made.comparisons import wanted


@pytest.fixture
def results(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, llama: Model) -> Path:
    """A comparison of four cells, all made."""
    monkeypatch.setattr(unit, "load_model", lambda name, **_: llama)
    assert len(compare(wanted(tmp_path, methods=["direct", "english"])).made) == 4
    return tmp_path / "out"


def cell(results: Path, tag: str, method: str) -> Path:
    return results / "cells" / "tiny" / "sib200" / tag / f"{method}.json"


def test_what_is_missing_is_counted(results: Path) -> None:
    cell(results, "sw", "english").unlink()
    cell(results, "et", "english").unlink()
    write_failure(results, Failure("tiny", "sib200", "et", "english", "no"))
    partial = PartialReader(results).read()
    assert (partial.made, partial.failed, partial.missing) == (2, 1, 1)
    (table,) = partial.tables
    direct = read_cell(cell(results, "sw", "direct"))
    assert table.scores["direct", "sw"] == direct.harness["acc"]
    assert table.scores["english", "et"] is None
    assert ("english", "sw") not in table.scores


def test_a_cell_that_is_damaged_is_missing_until_it_is_made_again(results: Path) -> None:
    path = cell(results, "sw", "direct")
    text = path.read_text(encoding="utf-8")
    path.write_text(text[:100], encoding="utf-8")
    reader = PartialReader(results)
    assert reader.read().missing == 1
    path.write_text(text, encoding="utf-8")
    os.utime(path, ns=(1, 1))
    assert reader.read().missing == 0


def test_the_command_prints_a_table_and_writes_nothing(results: Path) -> None:
    cell(results, "sw", "english").unlink()
    before = sorted(results.rglob("*"))
    ran = CliRunner().invoke(app, ["report", str(results), "--partial"])
    assert ran.exit_code == 0, ran.output
    assert "3 of 4 cells are there, 1 missing." in ran.output
    assert "·" in ran.output
    told = json.loads(
        CliRunner().invoke(app, ["report", str(results), "--partial", "--json"]).output
    )
    assert told["missing"] == 1
    assert sorted(results.rglob("*")) == before


def test_where_nothing_was_begun(tmp_path: Path) -> None:
    with pytest.raises(CellError, match="no comparison was begun"):
        PartialReader(tmp_path)


def hear_ctrl_c() -> None:
    """What a shell starts in the background is deaf to it, and so is what that starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_watching_ends_with_ctrl_c_or_when_all_is_there(results: Path) -> None:
    path = cell(results, "sw", "english")
    content = path.read_bytes()
    path.unlink()
    command = [sys.executable, "-m", "langsteer", "report", str(results), "--watch"]

    def begun() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, stdout=pipe, stderr=pipe, text=True, preexec_fn=hear_ctrl_c
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "3 of 4 cells are there, 1 missing.\n"
        return process

    stopped = begun()
    stopped.send_signal(signal.SIGINT)
    assert stopped.communicate(timeout=30)[1] == ""
    assert stopped.returncode == 0
    ending = begun()
    time.sleep(0.1)
    path.write_bytes(content)
    out, err = ending.communicate(timeout=30)
    assert out.startswith("4 of 4 cells are there, 0 missing.\n")
    assert "english" in out
    assert (ending.returncode, err) == (0, "")
