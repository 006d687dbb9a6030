"""Processes of this machine that do units of work; each keeps the model that it opened last."""

import contextlib
import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import tqdm

from langsteer.progress import show_progress
from langsteer.scale.units import Ended, Held, Unit, perform


class Processes:
    """`count` processes, started as they are needed, among which the processor's cores are divided."""

    def __init__(self, count: int) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._threads = max(1, (os.cpu_count() or 1) // count)
        self._processes: list[_Process | None] = [None] * count

    def room(self) -> bool:
        return any(process is None or process.unit is None for process in self._processes)

    def holds(self, where: str) -> bool:
        return any(p is not None and p.unit is None and p.where == where for p in self._processes)

    def start(self, unit: Unit) -> bool:
        free = [i for i, p in enumerate(self._processes) if p is None or p.unit is None]
        if not free:
            return False

        def distance(i: int) -> int:
            process = self._processes[i]
            return 1 if process is None else 0 if process.where == unit.where else 2

        place = min(free, key=distance)
        process = self._processes[place] or self._begun()
        self._processes[place] = process
        process.unit, process.where = unit, unit.where
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            process.connection.send(unit)  # one that died while it was idle is noted by `wait`
        return True

    def wait(self) -> list[Ended]:
        busy = {p.connection: i for i, p in enumerate(self._processes) if p is not None and p.unit}
        ended = []
        for connection in wait(list(busy)):
            place = busy[connection]  # type: ignore[index]
            process = self._processes[place]
            assert process is not None
            unit, process.unit = process.unit, None
            try:
                results, error, again = process.connection.recv()
            except (EOFError, OSError):
                process.process.join()
                self._processes[place] = None
                why = f"its process was ended ({_status(process.process.exitcode)})"
                ended.append(Ended(unit, error=why, again=True))
                continue
            ended.append(Ended(unit, results, error, again))
        return ended

    def pids(self) -> list[int]:
        """The processes that were started and have not ended."""
        return [p.process.pid for p in self._processes if p is not None]

    def close(self) -> None:
        started = [p.process for p in self._processes if p is not None]
        for process in started:
            process.terminate()
        for process in started:
            process.join(5)
            if process.is_alive():
                process.kill()
        self._processes = [None] * len(self._processes)

    def _begun(self) -> "_Process":
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._threads), daemon=False)
        process.start()
        theirs.close()
        return _Process(process, ours)


@dataclass
class _Process:
    process: Any
    connection: Connection
    unit: Unit | None = None
    where: str = ""


def _serve(connection: Connection, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this one
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _be_quiet()
    import torch

    torch.set_num_threads(threads)
    held = Held()
    while True:
        try:
            unit = connection.recv()
            connection.send(perform(unit, held))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _be_quiet() -> None:
    """No progress, which is told by the process that gives the units out, before a library is imported that shows it."""
    show_progress(False)
    os.environ |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}
    # tqdm's own lock is a semaphore that outlives a process which is ended
    tqdm.tqdm.set_lock(threading.RLock())


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _status(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"status {code}"
