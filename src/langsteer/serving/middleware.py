"""Around every request: the key, how often it asks, the size of the body, the counters, and the access log."""

import asyncio
import contextlib
import hmac
import json
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from langsteer.serving.errors import RequestError
from langsteer.serving.metrics import Metrics
from langsteer.serving.rate import RateLimit

log = logging.getLogger("langsteer.serving")
OPEN = ("/", "/health")
OPEN_BELOW = "/playground/"
PATHS = (
    "/",
    "/v1/models",
    "/v1/completions",
    "/v1/chat/completions",
    "/v1/choices",
    "/health",
    "/metrics",
)
LIMITED = "/v1/"
BODY_SECONDS = 30.0
DRAIN_SECONDS = 10.0
HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Gate:
    """An ASGI application before another: refuses what has no key, asks too often (more than `rate`
    times a minute; None for no limit) or is too large, and logs. What HEAD asks is asked with GET;
    uvicorn leaves the answer's body out.
    """

    def __init__(
        self,
        app: Any,
        keys: Sequence[str],
        max_body: int,
        metrics: Metrics,
        rate: int | None = None,
    ) -> None:
        self._app, self._max_body, self._metrics = app, max_body, metrics
        self._keys = [key.encode() for key in keys]
        self._rate = None if rate is None else RateLimit(rate)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def noting(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_raw(HEADERS)]
            await send(message)

        try:
            key = self._check_key(scope)
            if self._rate is not None and scope["path"].startswith(LIMITED):
                self._rate.take(key or _address(scope))
            asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
            await self._app(asked, await self._bounded(scope, receive), noting)
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

    def _check_key(self, scope: Any) -> bytes:
        """The key that was given, empty where none is wanted. Raises RequestError."""
        path = scope["path"]
        if not self._keys or path in OPEN or path.startswith(OPEN_BELOW):
            return b""
        given = dict(scope["headers"]).get(b"authorization", b"")
        kind, _, key = given.partition(b" ")
        matches = [hmac.compare_digest(key.strip(), known) for known in self._keys]
        if kind.lower() != b"bearer" or not any(matches):
            what = (
                "this server does not know the API key" if given else "this server wants an API key"
            )
            raise RequestError(f"{what}: Authorization: Bearer KEY", 401, "invalid_api_key")
        return key.strip()

    async def _bounded(self, scope: Any, receive: Any) -> Any:
        """The body, read whole: what gives it to the application. Raises RequestError."""
        told = dict(scope["headers"]).get(b"content-length", b"")
        if told.isdigit() and int(told) > self._max_body:
            await self._too_large(receive, waits=b"expect" in dict(scope["headers"]))
        try:
            body = await asyncio.wait_for(self._body(receive), BODY_SECONDS)
        except TimeoutError as error:
            raise RequestError("the body did not come in time", 408, "timeout") from error
        given = False

        async def again() -> Any:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        return again

    async def _body(self, receive: Any) -> bytes:
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._max_body:
                await self._too_large(receive, waits=not more)
        return bytes(body)

    async def _too_large(self, receive: Any, waits: bool) -> None:
        """Refuse a body. The rest of it is thrown away as it comes, unless the client `waits` for
        the answer: one that is still sending would only see the connection break.
        """
        if not waits:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(_drain(receive), DRAIN_SECONDS)
        raise RequestError(f"a body has at most {self._max_body} bytes", 413, "too_large")


async def _drain(receive: Any) -> None:
    while (await receive()).get("more_body", False):
        pass


async def _refuse(error: RequestError, send: Any) -> None:
    headers = {"content-type": "application/json", "connection": "close", **error.headers}
    await send({"type": "http.response.start", "status": error.status, "headers": _raw(headers)})
    await send({"type": "http.response.body", "body": json.dumps(error.body()).encode()})


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def _address(scope: Any) -> bytes:
    """Who asks, where nobody gives a key."""
    client = scope.get("client")
    return str(client[0]).encode() if client else b""
