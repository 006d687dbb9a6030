"""A server of another engine that answers with what it was sent, and the layer's words for it, as vLLM has them."""

import asyncio
import json
import threading
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from langsteer.serving.proxy import Asking
from langsteer.serving.vllm import PASSED, xargs

METHODS = ["GET", "POST", "PUT", "DELETE", "OPTIONS"]


class Echo:
    """The server: `known` are the fields that it says it understands; `gone` is set where it hears that a
    client went away.
    """

    passed = PASSED

    def __init__(self) -> None:
        self.app, self.alive, self.url, self.gone = FastAPI(), True, "", threading.Event()
        self.known: frozenset[str] | None = None
        self.app.add_api_route("/v1/completions", self.complete, methods=["POST"])
        self.app.add_api_route("/v1/chat/completions", self.complete, methods=["POST"])
        self.app.add_api_route("/metrics", self.metrics)
        self.app.add_api_route("/{path:path}", self.other, methods=METHODS)

    def say(self, asking: Asking) -> dict[str, Any]:
        return {**asking.body, "model": "inside", **xargs(asking)}

    def check(self, path: str) -> None:
        """It answers at every path."""

    def fields(self, path: str) -> frozenset[str] | None:
        return self.known

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        if body.get("max_tokens") == 0:
            error = {"message": "max_tokens must be 1 or more", "type": "BadRequestError"}
            return JSONResponse({"error": error}, 400)
        if body.get("max_tokens") == 99:
            await self._slow(request)
        said = {"said": body, "headers": dict(request.headers)}
        count = int(body.get("n") or 1) * (
            len(body["prompt"]) if isinstance(body.get("prompt"), list) else 1
        )
        if not body.get("stream"):
            made = [{"index": i, "finish_reason": "stop"} for i in range(count)]
            return JSONResponse({"model": "inside", "choices": made, **said})
        events: list[Any] = [
            {"model": "inside", "choices": [{"index": i, "text": "é", "finish_reason": end}]}
            for i in range(count)
            for end in (None, "stop")
        ]
        events.append({"model": "inside", "choices": [], "usage": {"total_tokens": 3}, **said})
        lines = [f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n"]

        async def parts() -> Any:
            for line in lines:
                yield line[:9].encode()
                yield line[9:].encode()

        return StreamingResponse(parts(), media_type="text/event-stream")

    async def _slow(self, request: Request) -> None:
        for _ in range(200):
            await asyncio.sleep(0.05)
            if await request.is_disconnected():
                self.gone.set()
                return

    async def metrics(self) -> Response:
        return Response("vllm_something 1\n", media_type="text/plain")

    async def other(self, path: str, request: Request) -> Any:
        content = await request.body()
        return {"path": path, "query": str(request.url.query), "body": content.decode()}
