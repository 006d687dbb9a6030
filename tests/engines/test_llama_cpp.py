"""Where llama-server is looked for, how it is run and asked: with a program that stands in for it."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from langsteer.engines.llama_cpp import find_server, running, version_of
from langsteer.errors import EngineError
from tests.made.llama_server import write_program


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return write_program(tmp_path)


def test_it_is_found_where_it_is_named_or_on_the_path(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(EngineError, match="is not here"):
        find_server()
    assert find_server(program) == find_server(tmp_path) == program
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path))
    assert find_server() == program
    monkeypatch.delenv("LLAMA_CPP")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == program
    with pytest.raises(EngineError, match="no program llama-server at"):
        find_server(tmp_path / "nowhere")


def test_it_runs_and_ends(program: Path) -> None:
    assert version_of(program) == "4321 (abcdef0)"
    with running(program, ["--model", "m.gguf"]) as server:
        places = server.places([1, 2], tokens=3, likeliest=3)
        assert [place.token for place in places] == [5, 5, 5]
        assert places[0].logprobs == {5: -0.5, 6: -1.5, 7: -2.5}
        with pytest.raises(EngineError, match="refused /completion: model 'other' not found"):
            server.places([1], 1, 1, model="other")
        log = server.log
        assert server.alive
    assert not log.exists()
    assert not server.alive
    with pytest.raises(EngineError, match="did not answer"):
        server.ask("/health")


def test_keys_of_the_environment_are_not_asked_for(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_API_KEY", "of another server")
    with running(program, ["--model", "m.gguf"]) as server:
        assert server.places([1], 1, 1)


def test_what_does_not_start_says_why(program: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(EngineError, match="stopped as it started: error: failed to load model"),
        running(program, ["--model", "broken.gguf"]),
    ):
        pass
    text = tmp_path / "text"
    text.write_text("no program")
    text.chmod(0o755)
    with pytest.raises(EngineError, match="cannot run"), running(text, []):
        pass


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="processes have no groups here")
def test_what_it_started_ends_with_it(tmp_path: Path) -> None:
    """A server of several models starts a process for each; they end, however it ends."""
    program = write_program(tmp_path)
    started = f"['sleep', '1{os.getpid()}']"
    text = program.read_text().replace(
        "port = int", f"import subprocess\nsubprocess.Popen({started})\nport = int"
    )
    program.write_text(text)
    with running(program, ["--model", "m.gguf"]):
        assert _sleeping()
    until = time.monotonic() + 10  # the system takes a moment to end what was killed
    while _sleeping() and time.monotonic() < until:
        time.sleep(0.05)
    assert not _sleeping()


def _sleeping() -> bool:
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return f"sleep 1{os.getpid()}" in listed.stdout


def test_an_old_server_without_log_probabilities(tmp_path: Path) -> None:
    program = write_program(tmp_path)
    program.write_text(program.read_text().replace('"completion_probabilities"', '"probs"'))
    with (
        running(program, ["--model", "m.gguf"]) as server,
        pytest.raises(EngineError, match="take a newer llama"),
    ):
        server.places([1], 1, 1)
