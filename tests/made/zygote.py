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


def _in_child(job: dict[str, Any], out: Path, err: Path) -> None:
    os.setsid()
    for stream, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
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


def _wait(pid: int, seconds: float | None) -> int:
    limit = time.monotonic() + (120 if seconds is None else seconds)
    while time.monotonic() < limit:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return KILLED


def _serve(folder: Path) -> None:
    answers = os.fdopen(os.dup(1), "w")
    for name in IMPORTED:
        importlib.import_module(name)
    out, err = folder / "out", folder / "err"
    for line in sys.stdin:
        job = json.loads(line)
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            _in_child(job, out, err)
        status = _wait(pid, job["seconds"])
        told = {"status": status, "seconds": time.monotonic() - started}
        for name, path in (("out", out), ("err", err)):
            told[name] = path.read_text(errors="replace") if path.exists() else ""
            path.unlink(missing_ok=True)
        print(json.dumps(told), file=answers, flush=True)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        _serve(Path(temporary))
