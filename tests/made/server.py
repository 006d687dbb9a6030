"""A server in this process on a port of its own, with a tiny model that writes slowly, as a large one does."""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import uvicorn

from langsteer.serving.app import ServeOptions, build_app
from langsteer.serving.run import bind
from langsteer.steering.steered import Steered


@contextlib.contextmanager
def listening(
    ready: Steered, options: ServeOptions = ServeOptions(), seconds: float = 0.0
) -> Iterator[str]:
    """Its address; each pass of the network takes `seconds` more."""
    hook = ready.network.register_forward_pre_hook(lambda *given: time.sleep(seconds))
    listener = bind("127.0.0.1", 0)
    app: Any = build_app(ready, "tiny", options)
    config = uvicorn.Config(app, log_level="warning", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        hook.remove()
