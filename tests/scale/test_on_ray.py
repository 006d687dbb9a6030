"""Work on a Ray cluster of three nodes on the loopback interface, whose parts are killed."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("lm_eval", reason="lm-eval is not installed")
pytest.importorskip("ray", reason="Ray is not installed: make test-scale")

from langsteer.errors import ScaleError
from langsteer.evaluation.comparison.configuration import read_comparison
from langsteer.evaluation.comparison.run import Outcome, Progress, compare
from langsteer.fitting.learning import learn_all
from langsteer.fitting.unit import ModelPlace, learn_shared
from langsteer.model.opening import load_model
from langsteer.scale import on_ray
from langsteer.scale.on_ray import RayWorkers
from langsteer.scale.queue import run_units
from langsteer.scale.units import Resources
from langsteer.steering.folder import load
from langsteer.text.corpus import builtin
from tests.made.clusters import cluster_of, comparison_file, numbers_of
from tests.made.units import MadeUnit, tries_of

pytestmark = pytest.mark.scale


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with cluster_of(3) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a comparison that was made in one process, in `out`."""
    folder = tmp_path_factory.mktemp("comparison")
    outcome = compare(read_comparison(comparison_file(folder)))
    assert (len(outcome.made), outcome.failed) == (32, [])
    return folder


def on_cluster(
    cluster: Any, folder: Path, name: str, tell: Callable[[Progress], None] = lambda _: None
) -> Outcome:
    wanted = read_comparison(comparison_file(folder, name))
    return compare(wanted, tell, lambda: RayWorkers(wanted.output, cluster.address))


def test_the_same_numbers_as_in_one_process(cluster: Any, local: Path) -> None:
    outcome = on_cluster(cluster, local, "shared")
    assert (len(outcome.made), outcome.failed) == (32, [])
    assert numbers_of(local / "shared") == numbers_of(local / "out")
    assert not list((local / "shared").glob(".*"))


def test_languages_are_learned_as_in_one_process(
    cluster: Any, folder: Path, tmp_path: Path
) -> None:
    corpus = builtin("sw", "et", "tr").some(40)
    files = {tag: tmp_path / "shared" / f"{tag}.safetensors" for tag in corpus.languages}
    outcome = learn_shared(
        ModelPlace(str(folder)),
        corpus,
        files,
        lambda: RayWorkers(tmp_path / "shared", cluster.address),
        "mean_difference",
        router=tmp_path / "shared" / "router.safetensors",
        layers=[1],
    )
    assert outcome.failed == {}
    alone = learn_all(load_model(str(folder)), corpus, "mean_difference", layers=[1])
    for tag, file in files.items():
        shared, expected = load(file).tensors(), alone[tag].tensors()
        assert all(torch.allclose(shared[name], expected[name], atol=1e-6) for name in expected)


def test_a_worker_is_killed_in_the_middle(cluster: Any, local: Path) -> None:
    killed = []

    def kill(step: Progress) -> None:
        if step.done in (4, 15):
            killed.append(kill_an_actor())

    outcome = on_cluster(cluster, local, "killed", kill)
    assert len(killed) == 2
    assert (len(outcome.made), outcome.failed) == (32, [])
    assert numbers_of(local / "killed") == numbers_of(local / "out")


def test_a_node_is_removed_in_the_middle(cluster: Any, local: Path) -> None:
    gone = []

    def remove(step: Progress) -> None:
        if step.done == 6:
            gone.append(cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False))

    outcome = on_cluster(cluster, local, "removed", remove)
    cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    assert len(gone) == 1
    assert (len(outcome.made), outcome.failed) == (32, [])
    assert numbers_of(local / "removed") == numbers_of(local / "out")


def test_the_driver_is_killed_and_started_again(cluster: Any, local: Path) -> None:
    file = comparison_file(local, "again")
    command = [sys.executable, "-m", "langsteer", "compare", str(file), "--on", cluster.address]
    first = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert first.stderr is not None
    while "[5/32]" not in first.stderr.readline():
        assert first.poll() is None
    first.send_signal(signal.SIGKILL)
    first.communicate()
    there = {path: path.stat().st_mtime_ns for path in cells(local / "again")}
    assert 5 <= len(there) < 32
    second = subprocess.run(command, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    assert all(path.stat().st_mtime_ns == written for path, written in there.items())
    assert numbers_of(local / "again") == numbers_of(local / "out")


def test_what_a_unit_needs_and_what_becomes_of_it(cluster: Any, tmp_path: Path) -> None:
    units = [
        MadeUnit("fine", tmp_path),
        MadeUnit("dies", tmp_path, what="dies"),
        MadeUnit("full", tmp_path, what="full"),
    ]
    with contextlib.closing(RayWorkers(tmp_path, cluster.address)) as workers:
        ended = {end.unit.name: end for end in run_units(units, workers)}
    assert ended["fine"].error is None
    assert ended["fine"].worker.startswith("node ")
    assert "its process was lost" in str(ended["dies"].error)
    assert tries_of(tmp_path, "dies") == 3
    assert "No space left" in str(ended["full"].error)
    assert ended["full"].worker.startswith("node ")
    large = MadeUnit("large", tmp_path, needs=Resources(gpus=4))
    with (
        contextlib.closing(RayWorkers(tmp_path, cluster.address)) as workers,
        pytest.raises(ScaleError, match="no node of the cluster has"),
    ):
        list(run_units([large], workers))


def test_more_are_wanted_than_have_room(cluster: Any, tmp_path: Path) -> None:
    """What was given to an actor that no node has room for is done by another."""
    units = [MadeUnit(str(n), tmp_path) for n in range(6)]
    with contextlib.closing(RayWorkers(tmp_path, cluster.address, most=6)) as workers:
        ended = list(run_units(units, workers))
    assert [end.error for end in ended] == [None] * 6
    assert [tries_of(tmp_path, unit.name) for unit in units] == [1] * 6


def test_a_node_that_cannot_be_used_is_named(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said() -> str:
        with (
            contextlib.closing(RayWorkers(tmp_path, cluster.address)) as workers,
            pytest.raises(ScaleError) as told,
        ):
            list(run_units([MadeUnit("one", tmp_path)], workers))
        return str(told.value)

    with monkeypatch.context() as other:
        other.setattr(on_ray, "__version__", "0.0.1")
        assert " has langsteer " in said()
    with monkeypatch.context() as other:
        other.setattr(on_ray, "python_version", lambda: "3.5")
        assert "and the driver has 3.5" in said()
    with monkeypatch.context() as other:
        other.setattr(on_ray, "write_text", lambda path, _: path)  # as on a disk of the driver's
        message = said()
    assert message.startswith("node ")
    assert f"does not see the driver's folder {tmp_path}" in message


def test_a_model_that_a_node_cannot_open(cluster: Any, tmp_path: Path) -> None:
    wanted = read_comparison(comparison_file(tmp_path, languages=["sw"], methods=["direct"]))
    (tmp_path / "one" / "config.json").write_text("{", encoding="utf-8")
    outcome = compare(wanted, workers=lambda: RayWorkers(wanted.output, cluster.address))
    assert len(outcome.made) == 1
    (failure,) = outcome.failed
    assert "(on node " in failure.error


def test_where_no_ray_is(tmp_path: Path) -> None:
    for address in ("ray://127.0.0.1:1", "127.0.0.1:1"):
        with pytest.raises(ScaleError, match=f"there is no Ray at {address}"):
            RayWorkers(tmp_path, address)
    with pytest.raises(ScaleError, match="is no address"):
        RayWorkers(tmp_path, "somewhere")


def cells(output: Path) -> list[Path]:
    return sorted((output / "cells").rglob("*.json"))


def kill_an_actor() -> int:
    """Kill the process of an actor, as where memory runs out."""
    import psutil

    doers = [
        process
        for process in psutil.Process().children(recursive=True)
        if "ray::Doer" in " ".join(process.cmdline())
    ]
    os.kill(doers[0].pid, signal.SIGKILL)
    return int(doers[0].pid)
