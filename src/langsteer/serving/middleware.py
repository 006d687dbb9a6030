"""Around every request: the key, the size of the body, the counters, and the access log."""

import hmac
import json
import logging
import time
from collections.abc import Sequence
from typing import Any

from langsteer.serving.errors import RequestError
from langsteer.serving.metrics import Metrics

log = logging.getLogger("langsteer.serving")
OPEN = ("/health",)
PATHS = ("/v1/models", "/v1/completions", "/v1/chat/completions", "/health", "/metrics")


class Gate:
    """An ASGI application before another: refuses what has no key or is too large, and logs."""

    def __init__(self, app: Any, keys: Sequence[str], max_body: int, metrics: Metrics) -> None:
        self._app, self._max_body, self._metrics = app, max_body, metrics
        self._keys = [key.encode() for key in keys]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def noting(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            self._check_key(scope)
            await self._app(scope, await self._bounded(receive), noting)
        except RequestError as error:
            await _refuse(error, noting)
        finally:
            seconds = time.perf_counter() - began
            path = scope["path"] if scope["path"] in PATHS else "other"
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.seconds.labels(path).observe(seconds)
            log.info(
                "%s %s %d %.0f ms",
                scope["method"],
                ascii(scope["path"])[1:-1],
                status,
                seconds * 1e3,
            )

    def _check_key(self, scope: Any) -> None:
        if not self._keys or scope["path"] in OPEN:
            return
        given = dict(scope["headers"]).get(b"authorization", b"")
        kind, _, key = given.partition(b" ")
        matches = [hmac.compare_digest(key.strip(), known) for known in self._keys]
        if kind.lower() != b"bearer" or not any(matches):
            raise RequestError("this server wants an API key", 401, "invalid_api_key")

    async def _bounded(self, receive: Any) -> Any:
        """The body, read whole: what gives it to the application. Raises RequestError."""
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._max_body:
                raise RequestError(f"a body has at most {self._max_body} bytes", 413, "too_large")
        given = False

        async def again() -> Any:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        return again


async def _refuse(error: RequestError, send: Any) -> None:
    headers = {"content-type": "application/json", "connection": "close", **error.headers}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": raw})
    await send({"type": "http.response.body", "body": json.dumps(error.body()).encode()})
