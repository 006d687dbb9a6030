"""A full disk, a folder that cannot be written, files that were cut: one line says so, and nothing is lost."""

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("lm_eval")
pytest.importorskip("peft")

from tests.made.tally import Tally
from tests.made.workload import WORKS, Work, contents, files_in, same
from tests.made.zygote import Ended, Zygote

pytestmark = pytest.mark.reliability

QUICK = [work for work in WORKS if work.name != "analyze"]
FULL = "cannot write"


def told_in_a_line(ended: Ended) -> str:
    """The last line, which is langsteer's own; an error where there is a traceback."""
    assert ended.status == 1, (ended.status, ended.err)
    assert "Traceback" not in ended.err
    last = ended.err.strip().splitlines()[-1]
    assert last.startswith("langsteer: "), last
    return last


@pytest.fixture(params=QUICK, ids=lambda work: work.name)
def work(request: pytest.FixtureRequest) -> Work:
    chosen: Work = request.param
    return chosen


def test_files_that_cannot_grow(
    work: Work, bench: Path, zygote: Zygote, trials: int, tally: Tally
) -> None:
    """Writing fails after some bytes, as where the disk fills."""
    out, arguments = bench / "out", list(work.arguments)
    undisturbed = zygote.run(arguments, bench)
    assert undisturbed.status == 0, undisturbed.err
    wanted = contents(out)
    longest = max(path.stat().st_size for path in files_in(out))
    shutil.rmtree(out)
    sizes = random.Random(3)
    refused = 0
    for _ in range(trials):
        ended = zygote.run(arguments, bench, longest=sizes.randrange(longest))
        before = contents(out) if out.is_dir() else {}
        if ended.status:
            refused += 1
            assert "Traceback" not in ended.err
            assert FULL in ended.out + ended.err
        assert all(same(wanted[path], before[path]) for path in before if path in wanted)
        assert zygote.run(arguments, bench).status == 0
        after = contents(out)
        assert after.keys() == wanted.keys()
        assert all(same(after[path], wanted[path]) for path in wanted)
        shutil.rmtree(out)
    tally(kind="disk full", what=work.name, tried=trials, refused=refused)


def test_results_that_were_cut(
    work: Work, bench: Path, zygote: Zygote, trials: int, tally: Tally
) -> None:
    """Each file of the results cut at a random place: it is named, or made again.

    What a comparison works with, under `work`, is not looked at where all cells are there: with every
    cell gone, it is.
    """
    out, arguments = bench / "out", list(work.arguments)
    assert zygote.run(arguments, bench).status == 0
    wanted = contents(out)
    kept = bench / "kept"
    out.rename(kept)
    places = random.Random(5)
    names = [path.relative_to(kept) for path in files_in(kept)]
    refused = 0
    for trial in range(max(trials, 2)):
        shutil.copytree(kept, out)
        name = names[trial % len(names)]
        whole = (out / name).read_bytes()
        (out / name).write_bytes(whole[: places.randrange(len(whole))])
        if name.parts[0] == "work":
            shutil.rmtree(out / "cells")
        ended = zygote.run(arguments, bench)
        if ended.status:
            refused += 1
            told = told_in_a_line(ended)
            assert name.name in told or str(name.parent) in told or "out" in told, (name, told)
        else:
            after = contents(out)
            assert all(same(after[path], wanted[path]) for path in wanted), name
        shutil.rmtree(out)
    tally(kind="cut", what=work.name, tried=max(trials, 2), refused=refused)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system takes rights that are not given here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(work: Work, bench: Path, zygote: Zygote, small_disk: Path) -> None:
    (bench / "out").symlink_to(small_disk / "out")
    (small_disk / "out").mkdir()
    (small_disk / "fill").write_bytes(b"x" * 56_000)
    ended = zygote.run(list(work.arguments), bench)
    assert ended.status == 1
    assert "Traceback" not in ended.err
    assert FULL in ended.out + ended.err
    contents(small_disk)  # what is there is whole


def test_a_folder_that_cannot_be_written(
    work: Work, bench: Path, zygote: Zygote, tmp_path: Path
) -> None:
    place = tmp_path / "closed"
    place.mkdir()
    closed = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(place)]
    if os.geteuid() == 0:
        if subprocess.run(closed, capture_output=True, check=False).returncode:
            pytest.skip("root writes everywhere, and mounting takes rights that are not given here")
    else:
        place.chmod(0o500)
    try:
        (bench / "out").symlink_to(place / "out")
        assert "cannot write" in told_in_a_line(zygote.run(list(work.arguments), bench))
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", str(place)], check=True)
        else:
            place.chmod(0o700)
