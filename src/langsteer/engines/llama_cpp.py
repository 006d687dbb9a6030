"""llama.cpp's server: where it is, running it, and asking it.

It is a program of its own, from llama.cpp's releases or a package manager. A server that was given several models starts each as a process of its own when it is first asked for.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langsteer.errors import EngineError

PROGRAM = "llama-server"
VARIABLE = "LLAMA_CPP"
START_SECONDS = 600.0  # a large model is read from a slow disk
STOP_SECONDS = 10.0
LOOK_SECONDS = 0.1
LAST_LINES = 3
PRECISE = (
    "--flash-attn", "off", "--cache-type-k", "f32", "--cache-type-v", "f32", "--swa-full",
    "--parallel", "1", "--ctx-size", "1024",
)  # fmt: skip
"""arguments with which the server rounds least, for a comparison"""


@dataclass(frozen=True)
class Place:
    """What the engine says of one place of a text: the token that it takes there, and the
    log-probabilities of the likeliest tokens, in nats, by token id.
    """

    token: int
    logprobs: dict[int, float]


@dataclass(frozen=True)
class LlamaServer:
    """A server that runs at `url`, and writes into `log`."""

    url: str
    log: Path
    process: "subprocess.Popen[bytes]"

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process.poll() is None

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """What it answers, read from JSON. Raises EngineError where it refuses, or does not answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with _OPENER.open(request, timeout=START_SECONDS) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            told = error.read().decode(errors="replace")
            raise EngineError(f"{PROGRAM} refused {path}: {_message(told)}") from error
        except (OSError, ValueError) as error:
            raise EngineError(f"{PROGRAM} did not answer {path}: {error}") from error

    def places(
        self,
        ids: Sequence[int],
        tokens: int,
        likeliest: int,
        model: str | None = None,
        bias: Sequence[tuple[int | str, float | bool]] = (),
    ) -> list[Place]:
        """The next `tokens` places after the tokens `ids`, each token the likeliest one there; fewer
        where the text ends. `model` is a name that the server lists.

        `bias` is added to the scores of tokens, or those of a text, as one is chosen (False: never
        that one), and is not in the log-probabilities. The server fails where what it
        wrote is not Unicode, so it must not choose parts of characters. Raises EngineError.
        """
        asked: dict[str, Any] = {
            "prompt": list(ids),
            "n_predict": tokens,
            "n_probs": likeliest,
            "temperature": 0,
        }
        named = {} if model is None else {"model": model}
        asked["logit_bias"] = [list(pair) for pair in bias]
        told = self.ask("/completion", {**asked, **named, "cache_prompt": True})
        try:
            return [
                Place(place["id"], {one["id"]: one["logprob"] for one in place["top_logprobs"]})
                for place in told["completion_probabilities"]
            ]
        except (KeyError, TypeError) as error:
            raise EngineError(
                f"this {PROGRAM} gives no log-probabilities: take a newer llama.cpp"
            ) from error


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the server is here


def find_server(named: str | Path | None = None) -> Path:
    """The program: at `named`, else at $LLAMA_CPP (the file, or a folder that holds it), else on
    the path. Raises EngineError where it is in none of them.
    """
    named = named or os.environ.get(VARIABLE) or None
    if named is not None:
        path = Path(named).expanduser()
        for file in (path, path / PROGRAM, path / "bin" / PROGRAM):
            if file.is_file() and os.access(file, os.X_OK):
                return file.absolute()
        raise EngineError(f"there is no program {PROGRAM} at {path}")
    if there := shutil.which(PROGRAM):
        return Path(there).absolute()
    raise EngineError(
        f"llama.cpp's {PROGRAM} is not here: install llama.cpp, and put it on the path, or name it "
        f"(--llama-server, {VARIABLE})"
    )


def version_of(program: Path) -> str:
    """What it says of its version: a number and a commit; empty where it says nothing."""
    told = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=False, errors="replace"
    )
    lines = (told.stderr + told.stdout).split("\n")
    named = (line.partition("version:")[2] for line in lines if "version:" in line)
    return next(named, "").strip()


@contextlib.contextmanager
def running(program: Path, arguments: Sequence[str], *, key: str = "") -> Iterator[LlamaServer]:
    """A server on a free port of this machine, with `arguments`, until the end of the block.

    What else it is to do, its own environment variables (LLAMA_ARG_THREADS and others) say; a key
    that they name is not asked for. Raises EngineError where it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="langsteer-") as folder:
        log = Path(folder) / "llama-server.log"
        port = _free_port()
        process = _start(program, [*arguments, *_address(port)], log, _environment())
        server = LlamaServer(f"http://127.0.0.1:{port}", log, process)
        try:
            _wait_for(server)
            yield server
        finally:
            _stop(process)


def _address(port: int) -> tuple[str, ...]:
    return "--host", "127.0.0.1", "--port", str(port)


def _start(
    program: Path, arguments: Sequence[str], log: Path, environment: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    try:
        with log.open("wb") as out:
            return subprocess.Popen(
                [program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,  # so that the models' own processes end with it
            )
    except OSError as error:
        raise EngineError(f"cannot run {program}: {error.strerror or error}") from error


def _environment() -> dict[str, str]:
    hidden = ("LANGSTEER_API_KEY", "LLAMA_API_KEY", "LLAMA_ARG_API_KEY_FILE")
    return {name: value for name, value in os.environ.items() if name not in hidden}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_for(server: LlamaServer) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if not server.alive:
            raise EngineError(f"{PROGRAM} stopped as it started: {last_words(server.log)}")
        if _is_healthy(server.url):
            return
        time.sleep(LOOK_SECONDS)
    raise EngineError(f"{PROGRAM} did not start within {START_SECONDS:.0f} s")


def _is_healthy(url: str) -> bool:
    try:
        with _OPENER.open(url + "/health", timeout=10 * LOOK_SECONDS) as reply:
            return bool(reply.status == 200)
    except OSError:  # nobody listens yet, or it is still loading
        return False


def last_words(log: Path) -> str:
    """The last lines of a log, as one."""
    lines = [line.strip() for line in log.read_text(errors="replace").split("\n")]
    return " / ".join([line for line in lines if line][-LAST_LINES:]) or "it said nothing"


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End it, and whatever it started."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _message(told: str) -> str:
    """What an answer that refuses says."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(told)["error"]["message"])
    return " ".join(told.split())[:200] or "it does not say why"
