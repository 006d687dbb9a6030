"""A server's engine whose queue is full."""

from typing import Any

from langsteer.serving.errors import RequestError


class FullEngine:
    """An engine that takes nothing."""

    waiting, alive = 9, True

    def submit(self, rows: Any) -> None:
        raise RequestError("too many requests wait: try again", 429, "queue_full")

    def close(self) -> None:
        pass
