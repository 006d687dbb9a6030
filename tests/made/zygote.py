"""A process that has everything imported, and runs each command in a fork of itself.

    python -m tests.made.zygote

Each line of its input is a job: "arguments", "folder", "seconds" and "bytes". It is killed (SIGKILL, with its
children) after so many seconds where it has not ended by then, and can write no file longer than so many bytes
(as on a full disk); null is no limit. Each line of its output says how it ended.
"""

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IMPORTED = (
    "langsteer.cli.commands",
    "langsteer.cli.analyze",
    "langsteer.cli.compare",
    "langsteer.cli.fit",
    "langsteer.cli.tune",
    "langsteer.evaluation.comparison.run",
    "langsteer.tuning.sft",
    "transformers.models.llama.modeling_llama",
    "matplotlib.pyplot",
    "lm_eval.tasks",
    "peft",
)
KILLED = -9


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status (`KILLED`), its time in seconds, what it printed."""

    status: int
    seconds: float
    out: str
    err: str


class Zygote:
    """The process, from the side of the one who asks."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.made.zygote"]
        pipe = subprocess.PIPE
        root = Path(__file__).parents[2]
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=root)

    def run(
        self,
        arguments: list[str],
        folder: Path,
        seconds: float | None = None,
        longest: int | None = None,
    ) -> Ended:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        job = {
            "arguments": arguments,
            "folder": str(folder),
            "seconds": seconds,
            "bytes": longest,
        }
        print(json.dumps(job), file=self.process.stdin, flush=True)
        return Ended(**json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)


class _Pipe:
    """What a child prints: a pipe, which a limit on the length of files does not cut."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)
        self.printed = b""

    def drain(self) -> None:
        with suppress(BlockingIOError):
            while part := os.read(self.read_end, 65536):
                self.printed += part

    def text(self) -> str:
        self.drain()
        os.close(self.read_end)
        return self.printed.decode(errors="replace")


def _in_child(job: dict[str, Any], out: _Pipe, err: _Pipe) -> None:
    os.setsid()
    os.dup2(out.write_end, 1)
    os.dup2(err.write_end, 2)
    os.chdir(job["folder"])
    if job["bytes"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["bytes"], resource.RLIM_INFINITY))
    sys.argv = ["langsteer", *job["arguments"]]
    from langsteer import cli

    status = 0
    try:
        cli.main()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 70
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _wait(pid: int, seconds: float | None, pipes: Sequence[_Pipe]) -> int:
    limit = time.monotonic() + (120 if seconds is None else seconds)
    while time.monotonic() < limit:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        for pipe in pipes:
            pipe.drain()
        time.sleep(0.002)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return KILLED


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    for name in IMPORTED:
        importlib.import_module(name)
    for line in sys.stdin:
        job = json.loads(line)
        started = time.monotonic()
        out, err = _Pipe(), _Pipe()
        pid = os.fork()
        if pid == 0:
            _in_child(job, out, err)
        for pipe in (out, err):
            os.close(pipe.write_end)
        status = _wait(pid, job["seconds"], (out, err))
        told = {"status": status, "seconds": time.monotonic() - started}
        print(json.dumps({**told, "out": out.text(), "err": err.text()}), file=answers, flush=True)


if __name__ == "__main__":
    _serve()
