"""Units of work given to processes of this machine."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from langsteer.scale.processes import Processes
from langsteer.scale.queue import run_units
from langsteer.scale.units import Ended, Held
from tests.made.units import MadeUnit, tries_of


def done(units: Sequence[MadeUnit], count: int = 2) -> dict[str, Ended]:
    with contextlib.closing(Processes(count)) as workers:
        return {ended.unit.name: ended for ended in run_units(units, workers)}


def test_every_unit_is_done_once_whatever_becomes_of_the_others(tmp_path: Path) -> None:
    units = [MadeUnit(str(n), tmp_path, seconds=0.02) for n in range(8)]
    units[1:1] = [
        MadeUnit("killed", tmp_path, what="dies"),
        MadeUnit("killed once", tmp_path, what="dies once"),
        MadeUnit("full", tmp_path, what="full"),
        MadeUnit("odd", tmp_path, what="odd"),
    ]
    ended = done(units)
    assert len(ended) == 12
    fine = {name for name, end in ended.items() if end.error is None}
    assert fine == {str(n) for n in range(8)} | {"killed once"}
    assert ended["killed"].error == "its process was ended (SIGKILL) (tried 3 times)"
    assert ended["odd"].error == "ZeroDivisionError: odd (tried 3 times)"
    assert "No space left" in str(ended["full"].error)
    assert [tries_of(tmp_path, name) for name in ("killed", "killed once", "full", "0")] == [
        3,
        2,
        1,
        1,
    ]


def test_a_model_is_opened_once_a_process_and_kept(tmp_path: Path) -> None:
    units = [MadeUnit(str(n), tmp_path, where="ab"[n % 2], seconds=0.05) for n in range(10)]
    ended = done(units)
    opened = {end.results[0][2] for end in ended.values()}
    assert len(opened) <= 4  # not ten: two processes, each with two models at most
    assert len({end.results[0][1] for end in ended.values()}) == 2


def test_two_that_claim_the_same_are_not_done_at_once(tmp_path: Path) -> None:
    claim = frozenset({"sw.safetensors"})
    units = [MadeUnit(str(n), tmp_path, claims=claim, seconds=0.5) for n in range(4)]
    units += [MadeUnit("free", tmp_path, seconds=0.1)]
    ended = done(units)
    times = sorted(ended[str(n)].results[0][3:] for n in range(4))
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(times))
    assert ended["free"].results[0][3] < times[-1][0]


def test_what_could_not_be_opened_is_not_tried_again() -> None:
    held, tries = Held(), []

    def fail() -> None:
        tries.append(1)
        raise ValueError("no")

    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            held.get("a", fail)
    assert len(tries) == 1
    assert held.get("b", lambda: 2) == 2
    assert held.get("b", lambda: 3) == 2


DRIVER = """
import sys
from pathlib import Path
from langsteer.scale.processes import Processes
from langsteer.scale.queue import run_units
from tests.made.units import MadeUnit

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for _ in run_units([MadeUnit("long", folder, seconds=600)], Processes(1)):
        pass
"""


def test_processes_end_with_the_one_that_began_them(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    driver = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], env={**os.environ, "PYTHONPATH": paths}
    )
    tries = tmp_path / "long.tries"
    wait_for(tries.exists)
    wait_for(lambda: tries.read_text().endswith("\n"))
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    pid = int(tries.read_text())
    wait_for(lambda: not alive(pid))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: object, seconds: float = 30) -> None:
    ending = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < ending
        time.sleep(0.02)
