"""How well work is shared: efficiency with units that only sleep, and memory with many in the queue.

    PYTHONPATH=. python -m benchmarks.scaling --workers 8 --output benchmarks/results/scaling.json

On processes of this machine, and on a Ray cluster of two nodes on it, where Ray is installed. Units that sleep show
what giving out and taking back costs; they do not show what models cost that share a memory bus or a disk.
"""

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from langsteer.extras import installed
from langsteer.scale.processes import Processes
from langsteer.scale.queue import run_units
from langsteer.scale.units import Held, Resources, Workers
from langsteer.storage.files import write_json
from langsteer.version import versions

SAMPLES = 20  # of the memory, over the queue


@dataclass(frozen=True)
class Sleep:
    """A unit that takes so many seconds and no processor."""

    name: str
    folder: Path
    seconds: float
    where: str = "model"
    claims: frozenset[str] = frozenset()
    needs: Resources = field(default_factory=Resources)

    def run(self, held: Held) -> Sequence[str]:
        time.sleep(self.seconds)
        return [self.name]


def efficiency(workers: Workers, count: int, folder: Path, seconds: float) -> dict[str, float]:
    """Seconds slept ÷ (processes × seconds that it took), once all processes are there."""
    warm = [Sleep(f"warm {n}", folder, 3.0) for n in range(count)]
    begun = time.perf_counter()
    list(run_units(warm, workers))
    start = time.perf_counter() - begun
    units = [Sleep(str(n), folder, seconds) for n in range(count * 40)]
    begun = time.perf_counter()
    assert sum(ended.error is None for ended in run_units(units, workers)) == len(units)
    took = time.perf_counter() - begun
    return {
        "workers": count,
        "units": len(units),
        "seconds_each": seconds,
        "first_round_seconds": round(start, 2),
        "seconds": round(took, 2),
        "efficiency": round(len(units) * seconds / (count * took), 4),
    }


def queue_memory(workers: Workers, units: int, folder: Path) -> dict[str, Any]:
    """Memory of the process that gives out the work, in MB, as a long queue is done."""
    process = psutil.Process()
    queue = [Sleep(str(n), folder, 0.0) for n in range(units)]
    memory, done = [process.memory_info().rss], 0
    begun = time.perf_counter()
    for _ in run_units(queue, workers):
        done += 1
        if done % (units // SAMPLES) == 0:
            memory.append(process.memory_info().rss)
    took = time.perf_counter() - begun
    megabytes = [round(value / 1e6, 1) for value in memory]
    return {"units": done, "units_a_second": round(done / took, 1), "megabytes": megabytes}


@contextlib.contextmanager
def ray_workers(count: int, folder: Path) -> Iterator[Workers]:
    """Actors on two nodes of this machine."""
    from ray.cluster_utils import Cluster

    from langsteer.scale.on_ray import RayWorkers

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for cpus in (count // 2, count - count // 2):
            cluster.add_node(num_cpus=cpus)
        with contextlib.closing(RayWorkers(folder, cluster.address)) as workers:
            yield workers
    finally:
        cluster.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=0.25, help="of each unit that sleeps")
    parser.add_argument("--queue", type=int, default=10_000)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/scaling.json"))
    given = parser.parse_args()
    kinds: dict[str, Callable[[int, Path], Any]] = {
        "processes": lambda count, _: contextlib.closing(Processes(count))
    }
    if installed("ray"):
        kinds["ray"] = ray_workers
    results: dict[str, Any] = {"versions": versions()}
    for name, begun in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            with begun(given.workers, place) as workers:
                results[name] = {
                    "efficiency": efficiency(workers, given.workers, place, given.seconds),
                    "queue": queue_memory(workers, given.queue, place),
                }
        print(name, results[name], flush=True)
    write_json(given.output, results)


if __name__ == "__main__":
    from benchmarks import scaling  # other processes cannot read units of __main__

    scaling.main()
