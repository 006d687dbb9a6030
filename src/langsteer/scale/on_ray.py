"""Units of work on a Ray cluster: actors that keep a model, on whichever node has what the model takes.

An actor is given the units of the model that it holds. Results go to a folder that all nodes see. What is lost
with an actor, a node or this process is what was being done, and the same command goes on from the rest.
"""

import contextlib
import os
import pickle
import platform
import socket
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langsteer.errors import ScaleError
from langsteer.extras import need
from langsteer.scale.units import Ended, Held, Resources, Unit, perform
from langsteer.storage.files import write_text
from langsteer.version import __version__

LOOK = 5.0  # seconds between two looks at which nodes there are
FULL = 30.0  # seconds in which no actor is begun after one found no room
PATIENCE = 5.0  # seconds for an address to answer
FEATURE = "work on other machines"


@dataclass(frozen=True)
class Driver:
    """What a node must have as the process that gives out the work has it."""

    langsteer: str
    python: str
    folder: str
    probe: str

    def refusal(self) -> str | None:
        """Why the node that this is called on cannot be given work; None where it can."""
        for what, ours, theirs in (
            ("langsteer", __version__, self.langsteer),
            ("Python", python_version(), self.python),
        ):
            if ours != theirs:
                return f"has {what} {ours}, and the driver has {theirs}: install the same on both"
        if not Path(self.folder, self.probe).is_file():
            return (
                f"does not see the driver's folder {self.folder}: results must go to a folder that "
                "all nodes share"
            )
        return None


class RayWorkers:
    """Actors on the cluster at `address` (None: the one of this machine, or a new one).

    `most` bounds their number; without it, as many as the nodes have room for. Raises ScaleError,
    which names the address or the node, where there is no Ray, or a node that cannot be used.
    """

    def __init__(self, folder: Path, address: str | None = None, most: int | None = None) -> None:
        self._ray = need("ray", "scale", FEATURE)
        self._own = not self._ray.is_initialized()
        if self._own:
            _connect(self._ray, address)
        self._most, self._actors = most, list[_Actor]()
        self._full_until = 0.0
        self._looked, self._nodes = -LOOK, list[dict[str, float]]()
        self._kind = self._ray.remote(max_restarts=0, max_task_retries=0)(Doer)
        probe = f".langsteer-{uuid.uuid4().hex[:12]}.probe"
        self._probe = write_text(folder.resolve() / probe, "seen from here\n")
        self._driver = Driver(__version__, python_version(), str(folder.resolve()), probe)

    def room(self) -> bool:
        return any(actor.unit is None for actor in self._actors) or self._may_begin(Resources())

    def holds(self, where: str) -> bool:
        return any(actor.unit is None and actor.where == where for actor in self._actors)

    def start(self, unit: Unit) -> bool:
        idle = [actor for actor in self._actors if actor.unit is None]
        holding = next((actor for actor in idle if actor.where == unit.where), None)
        if holding is None and self._may_begin(unit.needs):
            holding = self._begun(unit.needs)
        if holding is None and idle:  # one with another model: it makes room
            self._end(idle[0])
            holding = self._begun(unit.needs)
        if holding is None:
            return False
        holding.unit, holding.where = unit, unit.where
        holding.ref = holding.handle.perform.remote(pickle.dumps(unit))
        return True

    def wait(self) -> list[Ended]:
        busy = {actor.ref: actor for actor in self._actors if actor.unit is not None}
        if not busy:
            raise ScaleError("no node of the cluster has what a model takes: see resources:")
        ready, _ = self._ray.wait(list(busy), num_returns=1, timeout=LOOK)
        return [self._ended(busy[ref]) for ref in ready] or self._recalled()

    def close(self) -> None:
        for actor in list(self._actors):
            self._end(actor)
        self._probe.unlink(missing_ok=True)
        if self._own:
            self._ray.shutdown()

    def _recalled(self) -> list[Ended]:
        """A unit whose actor found no room on a node, where another actor is idle and can do it."""
        if all(actor.unit is not None for actor in self._actors):
            return []
        for actor in self._actors:
            if actor.unit is not None and not self._ray.wait([actor.up], timeout=0)[0]:
                self._end(actor)
                self._full_until = time.monotonic() + FULL
                return [Ended(actor.unit, untouched=True)]
        return []

    def _ended(self, actor: "_Actor") -> Ended:
        unit, actor.unit = actor.unit, None
        try:
            node, refusal, done = self._ray.get(actor.ref)
        except self._ray.exceptions.RayTaskError as error:
            raise ScaleError(
                f"a node of the cluster cannot do langsteer's work: {_last(error)}"
            ) from error
        except self._ray.exceptions.RayError as error:
            self._end(actor)
            self._looked = -LOOK
            if "No module named" in str(error):
                line = _last(error)
                raise ScaleError(f"a node of the cluster lacks langsteer: {line}") from error
            why = f"its process was lost ({type(error).__name__})"
            return Ended(unit, error=why, again=True)
        if refusal is not None:
            raise ScaleError(f"{node} {refusal}")
        results, refused, again = done
        return Ended(unit, results, refused, again, worker=node)

    def _may_begin(self, needs: Resources) -> bool:
        """Whether another actor may be begun: fewer are there than are wanted, or have room."""
        if time.monotonic() < self._full_until:
            return False
        if self._most is not None:
            return len(self._actors) < self._most
        taken = [actor.needs for actor in self._actors]
        return _fits(self._sizes(), [*taken, needs])

    def _sizes(self) -> list[dict[str, float]]:
        """The resources of the nodes that are alive."""
        if time.monotonic() - self._looked > LOOK:
            self._nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
            self._looked = time.monotonic()
        return self._nodes

    def _begun(self, needs: Resources) -> "_Actor":
        options: dict[str, Any] = {"num_cpus": needs.cpus, "num_gpus": needs.gpus}
        if needs.memory is not None:
            options["memory"] = needs.memory
        handle = self._kind.options(**options).remote(self._driver, needs.cpus, os.getcwd())
        actor = _Actor(handle, needs, handle.up.remote())
        self._actors.append(actor)
        return actor

    def _end(self, actor: "_Actor") -> None:
        self._actors.remove(actor)
        with contextlib.suppress(Exception):  # it may be gone already
            self._ray.kill(actor.handle)


class Doer:
    """The actor: a process on a node that does units, one at a time, and keeps its model."""

    def __init__(self, driver: Driver, cpus: float, folder: str) -> None:
        import torch

        from langsteer.progress import show_progress

        show_progress(False)
        torch.set_num_threads(max(1, int(cpus)))
        with contextlib.suppress(OSError):  # relative paths count from where the command was run
            os.chdir(folder)
        self.refusal = driver.refusal()
        self.held = Held()

    def up(self) -> bool:
        """Answers as soon as the actor is on a node."""
        return True

    def perform(self, pickled: bytes) -> tuple[str, str | None, Any]:
        """The node's name, why it cannot be used, and what became of the unit."""
        node = node_name()
        if self.refusal is not None:
            return node, self.refusal, None
        return node, None, perform(pickle.loads(pickled), self.held)


@dataclass
class _Actor:
    handle: Any
    needs: Resources
    up: Any
    unit: Unit | None = None
    where: str = ""
    ref: Any = None


def node_name() -> str:
    """The node that this is called on, as Ray's own lists call it."""
    ray = need("ray", "scale", FEATURE)
    own = ray.get_runtime_context().get_node_id()
    return f"node {ray.util.get_node_ip_address()} ({own[:8]})"


def python_version() -> str:
    """As far as pickled code depends on it, such as 3.12."""
    return ".".join(platform.python_version_tuple()[:2])


def _connect(ray: Any, address: str | None) -> None:
    if address is not None:
        _check_answers(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(address=address, namespace="langsteer", log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # each kind of failure has its own, some of them RuntimeError
        raise ScaleError(
            f"cannot use Ray at {address or 'this machine'}: {_first(error)}"
        ) from error


def _check_answers(address: str) -> None:
    """Raise ScaleError where nothing listens at host:port, which Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        raise ScaleError(f"{address!r} is no address of Ray: write ray://HOST:10001 or HOST:6379")
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
    except OSError as error:
        raise ScaleError(
            f"there is no Ray at {address} ({error.strerror or error}): start one with ray start "
            "--head, or name the address that it printed"
        ) from error


def _fits(nodes: list[dict[str, float]], wanted: list[Resources]) -> bool:
    """Whether all of `wanted` have room on `nodes`, each put where there is room first."""
    left = [dict(node) for node in nodes]
    for needs in sorted(wanted, key=lambda r: (-r.gpus, -(r.memory or 0), -r.cpus)):
        takes = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": float(needs.memory or 0)}
        place = next(
            (n for n in left if all(n.get(k, 0.0) >= v - 1e-9 for k, v in takes.items())), None
        )
        if place is None:
            return False
        for key, value in takes.items():
            place[key] = place.get(key, 0.0) - value
    return True


def _first(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:4]) or type(error).__name__


def _last(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
