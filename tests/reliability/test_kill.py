"""Killed at any moment: nothing that was finished is lost, nothing half-written is read, the next run goes on."""

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")
pytest.importorskip("peft")

from tests.made.tally import Tally
from tests.made.workload import WORKS, Work, contents, same
from tests.made.zygote import KILLED, Ended, Zygote

pytestmark = pytest.mark.reliability

REDONE = {"analyze"}  # done anew by the next run; the others go on


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
def test_killed(work: Work, bench: Path, zygote: Zygote, trials: int, tally: Tally) -> None:
    if trials < 10 and work.name in REDONE:
        pytest.skip("drawing takes half a minute: only in the long run (make reliability)")
    out, arguments = bench / "out", list(work.arguments)
    undisturbed = zygote.run(arguments, bench)
    assert undisturbed.status == 0, undisturbed.err
    wanted = contents(out)
    shutil.rmtree(out)
    moments = random.Random(len(work.name))
    kept: dict[Path, Any] = {}
    kills = ends = 0
    while kills < trials:
        ended = zygote.run(arguments, bench, moments.uniform(0, undisturbed.seconds * 0.9))
        kills += ended.status == KILLED
        now = {path: value for path, value in contents(out).items() if path in wanted}
        kept = still_there(
            {} if work.name in REDONE else kept, now
        )  # a checkpoint of half a fit comes and goes
        if ended.status != KILLED or kills % 5 == 0 or kills == trials:
            ends += 1
            finished(zygote.run(arguments, bench), kept, wanted, out)
            shutil.rmtree(out)
            kept = {}
    tally(kind="killed", what=work.name, tried=kills, ends=ends)


def still_there(before: dict[Path, Any], now: dict[Path, Any]) -> dict[Path, Any]:
    """What lies there now, which holds all that was finished before."""
    for path, value in before.items():
        assert path in now, f"{path} was lost"
        assert same(now[path], value), f"{path} is another now"
    return now


def finished(ended: Ended, kept: dict[Path, Any], wanted: dict[Path, Any], out: Path) -> None:
    """The next run ends well, keeps what was finished, and gives what an undisturbed run gives."""
    assert ended.status == 0, ended.err
    results = contents(out)
    assert results.keys() == wanted.keys()
    for path, value in wanted.items():
        assert same(results[path], value), f"{path} differs from an undisturbed run's"
    still_there(kept, results)
    assert not list(out.rglob("*.part")), "temporary files are left"
