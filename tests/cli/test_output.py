"""What is printed is what it is: no markup, no emoji, no traceback, whatever the output takes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from langsteer.cli import options
from langsteer.model.model import Model
from tests.helpers import make_vector, run

STRANGE = "a[/x]:100:"


@pytest.fixture
def strange(llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A vector in a file whose name means something to rich."""
    monkeypatch.chdir(tmp_path)
    Path("a[").mkdir()
    make_vector(llama).save(STRANGE)
    return STRANGE


def langsteer(*arguments: str, encoding: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "langsteer", *arguments]
    return subprocess.run(command, capture_output=True, env=environment, check=False)


def test_a_path_is_printed_as_it_is(strange: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "inspect", strange)
    assert code == 0
    assert "→" in out
    assert out.splitlines()[0].strip() == strange


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_an_output_that_takes_few_letters(strange: str, encoding: str) -> None:
    ran = langsteer("inspect", strange, encoding=encoding)
    assert (ran.returncode, ran.stderr) == (0, b"")
    told = ran.stdout.decode(encoding)
    assert strange in told
    assert "\\u2192" in told


def test_help_in_ascii() -> None:
    ran = langsteer("compare", "--help", encoding="ascii")
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert b"\\xd7" in ran.stdout


@pytest.mark.parametrize(("encoding", "told"), [("ascii", b'"\\u00fc"'), ("utf-8", '"ü"'.encode())])
def test_json_is_whole_in_any_encoding(encoding: str, told: bytes) -> None:
    code = "from langsteer.cli.options import print_json; print_json('ü')"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, env=environment, check=True)
    assert ran.stdout.strip() == told


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"], ["--version"]])
def test_a_broken_pipe_is_silent(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "langsteer", *arguments]
    ran = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert ran.stderr == b""


def test_long_lines_stay_whole_where_nobody_reads_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = "word " * 100 + STRANGE
    options.console().print(line)
    options.console(stderr=True).print(line)
    captured = capsys.readouterr()
    assert captured.out == captured.err == f"{line}\n"
