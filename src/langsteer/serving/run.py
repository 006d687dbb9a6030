"""A server that runs: its vectors, its port, and how it stops."""

import functools
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from langsteer.errors import LangsteerError, VectorError
from langsteer.model.model import Model
from langsteer.steering.change import Change
from langsteer.steering.files import ROUTER_NAME, change_files, local_path
from langsteer.steering.folder import load
from langsteer.steering.router import Router
from langsteer.steering.steered import Steered


@dataclass(frozen=True)
class Served:
    """What is served: changes by language and the files they are in, the router, and what was
    left out: the name of each file, and why.
    """

    changes: Mapping[str, Change]
    files: Mapping[str, Path]
    router: Router | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)

    def opened(
        self, model: Model, skip: bool = False, other_weights: bool = False
    ) -> tuple[Steered, dict[str, str]]:
        """The model with what fits it, and all that was left out. Raises VectorError, naming the file, where one does not;
        with `skip`, it is left out, and only where none fits it raises.
        """
        left_out = dict(self.left_out)

        def fits(check: Callable[[], None], name: str) -> bool:
            try:
                check()
            except VectorError as error:
                if not skip:
                    raise VectorError(f"{name}: {error}") from error
                left_out[Path(name).name] = str(error)
                return False
            return True

        changes = {}
        for tag, change in self.changes.items():
            check = functools.partial(change.check_fits, model, other_weights=other_weights)
            if fits(check, str(self.files[tag])):
                changes[tag] = change
        router = self.router
        if router and not fits(functools.partial(router.check_fits, model), ROUTER_NAME):
            router = None
        if not changes:
            raise VectorError(f"no vector fits {model.name}: {next(iter(left_out.values()))}")
        ready = Steered(model, changes, router, other_weights=other_weights)
        return ready, left_out


def read_served(paths: Sequence[str | Path], skip: bool = False) -> Served:
    """What files, folders and repositories of the hub hold to be served.

    Raises VectorError, naming the file, where one is damaged; with `skip`, it is left out, and only
    where none is left it raises.
    """
    left_out: dict[str, str] = {}

    def opened(read: Callable[[Path], Any], path: Path) -> Any:
        try:
            return read(path)
        except VectorError as error:
            if not skip:
                raise
            left_out[path.name] = str(error)
            return None

    changes: dict[str, Change] = {}
    files: dict[str, Path] = {}
    for file in (file for path in paths for file in change_files(path)):
        change = opened(load, file)
        if change is None:
            continue
        if change.language in changes:
            raise VectorError(
                f"{file} is a second vector for {change.language}, beside "
                f"{files[change.language]}: keep one a language"
            )
        changes[change.language], files[change.language] = change, file
    if not changes:
        reasons = f": {next(iter(left_out.values()))}" if left_out else ""
        there = ", ".join(map(str, paths))
        raise VectorError(f"there is no vector file to serve in {there}{reasons}")
    routers = router_files(paths)
    if len(routers) > 1:
        raise VectorError(f"there are several routers: {', '.join(map(str, routers))}")
    router = opened(Router.load, routers[0]) if routers else None
    return Served(changes, files, router, left_out)


def router_files(paths: Sequence[str | Path]) -> list[Path]:
    """The files of routers in folders and repositories of vectors."""
    return [file for path in paths if (file := local_path(path) / ROUTER_NAME).is_file()]


def url_of(host: str, listener: socket.socket) -> str:
    """Where a server on this socket is reached, as it was asked for."""
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"


def bind(host: str, port: int) -> socket.socket:
    """The socket to serve on. Raises LangsteerError where it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LangsteerError(f"cannot serve on {host} port {port}: {reason}") from error


class _Uvicorn(uvicorn.Server):
    """Stops without a signal of its own, so that it exits with 0; a second signal does not wait."""

    def handle_exit(self, sig: int, frame: Any) -> None:
        self.force_exit = self.should_exit
        self.stop()

    def stop(self) -> None:
        """Take no more requests, and end when those that run have."""
        self.should_exit = True
        app: Any = self.config.app
        app.state.stopping = True


def serve(
    app: Any, listener: socket.socket, engine: "subprocess.Popen[bytes] | None" = None
) -> None:
    """Serve until SIGTERM or SIGINT, or until `engine`, the process that answers, has ended: what
    runs is finished, what is new refused.
    """
    log = logging.getLogger("langsteer.serving")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    config = uvicorn.Config(app, access_log=False, log_level="warning", server_header=False)
    server = _Uvicorn(config)
    if engine is not None:
        threading.Thread(target=_stop_with, args=(engine, server), daemon=True).start()
    server.run(sockets=[listener])


def _stop_with(engine: "subprocess.Popen[bytes]", server: _Uvicorn) -> None:
    engine.wait()
    server.stop()
