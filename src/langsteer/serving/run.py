"""A server that runs: its vectors, its port, and how it stops."""

import logging
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import uvicorn

from langsteer.errors import LangsteerError, VectorError
from langsteer.steering.change import Change
from langsteer.steering.files import ROUTER_NAME, change_files
from langsteer.steering.folder import load
from langsteer.steering.router import Router


def read_served(
    paths: Sequence[Path], skip_damaged: bool, say: Callable[[str], None]
) -> tuple[dict[str, Change], Router | None]:
    """The changes by language and the router of files and folders.

    A damaged file raises VectorError; with `skip_damaged`, it is left out, and `say` is told.
    """

    def opened(read: Callable[[Path], Any], path: Path) -> Any:
        try:
            return read(path)
        except VectorError as error:
            if not skip_damaged:
                raise
            say(f"left out: {error}")
            return None

    changes: dict[str, Change] = {}
    for path in paths:
        for file in change_files(path):
            change = opened(load, file)
            if change is None:
                continue
            if change.language in changes:
                raise VectorError(f"{file} is one of several vectors for {change.language}")
            changes[change.language] = change
    if not changes:
        raise VectorError(f"there is no vector file to serve in {', '.join(map(str, paths))}")
    routers = [path / ROUTER_NAME for path in paths if (path / ROUTER_NAME).is_file()]
    if len(routers) > 1:
        raise VectorError(f"there are several routers: {', '.join(map(str, routers))}")
    return changes, opened(Router.load, routers[0]) if routers else None


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
        self.should_exit = True
        app: Any = self.config.app
        app.state.stopping = True


def serve(app: Any, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT: what runs is finished, what is new refused."""
    log = logging.getLogger("langsteer.serving")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    config = uvicorn.Config(app, access_log=False, log_level="warning", server_header=False)
    _Uvicorn(config).run(sockets=[listener])
