"""llama.cpp's server behind ours: ours chooses the vector, it writes the answers.

It lists the model once for each language, with that language's vector (`langsteer.export.llama_server`), and once
without; the name in a request's `model` chooses. So a request is read as far as it takes to choose, is sent on with
that name, and what comes back is passed on as it comes. What it cannot do for a single request (a strength,
positions) is refused.
"""

import asyncio
import contextlib
import json
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from langsteer.engines.llama_cpp import LlamaServer, find_server, running
from langsteer.errors import EngineError
from langsteer.export.llama_server import PRESET, export
from langsteer.extras import need
from langsteer.serving.app import ServeOptions
from langsteer.serving.errors import RequestError
from langsteer.serving.metrics import Metrics
from langsteer.serving.middleware import Gate
from langsteer.serving.sections import Sections, texts_of
from langsteer.steering.change import Change
from langsteer.version import __version__

PATHS = ("/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages")
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict")
GONE_AFTER = 0.5  # seconds between looks whether a client is still there
SAMPLE, SAMPLED = tuple(range(5, 17)), 50  # tokens that a server is tried with
WRITES = (("a", 1000.0),)  # what it answers then, be it likely or not: whole characters
SAME = 1e-5  # nats


@contextlib.contextmanager
def llama_server(
    model: str | Path,
    name: str,
    changes: Mapping[str, Change],
    *,
    everywhere: bool = False,
    program: str | Path | None = None,
) -> Iterator[LlamaServer]:
    """llama-server, on a port of its own, with a section a language, each tried: see `try_sections`.

    `model` is the model's GGUF file; `everywhere` permits vectors that were fitted for some tokens.
    Raises ExportError, where they cannot be had in llama.cpp, and EngineError.
    """
    found = find_server(program)
    with tempfile.TemporaryDirectory(prefix="langsteer-") as folder:
        listed = list(changes.values())
        export(listed, folder, everywhere=everywhere, model=model, name=name)
        arguments = ["--models-preset", str(Path(folder) / PRESET), "--models-max"]
        arguments.append(str(len(changes) + 1))
        with running(found, arguments, key=secrets.token_hex(16)) as server:
            try_sections(server, name, list(changes))
            yield server


def try_sections(server: LlamaServer, name: str, tags: Sequence[str]) -> None:
    """Start each section. Raises EngineError where one answers as the model does without a vector:
    llama-server starts, and is healthy, also where it took none.
    """
    plain = server.places(SAMPLE, 1, SAMPLED, name, WRITES)[0].logprobs
    for tag in tags:
        steered = server.places(SAMPLE, 1, SAMPLED, f"{name}-{tag}", WRITES)[0].logprobs
        same = set(plain) == set(steered)
        if same and max(abs(plain[i] - steered[i]) for i in plain) < SAME:
            raise EngineError(
                f"llama-server took no vector for {tag}: it answers as it does without one"
            )


def build_llama_app(
    server: LlamaServer, sections: Sections, options: ServeOptions = ServeOptions()
) -> FastAPI:
    """The application that chooses a section for each request, and passes it on to `server`."""
    httpx = need("httpx2", "serve", "serving")
    headers = {"Authorization": f"Bearer {server.key}"}
    client = httpx.AsyncClient(base_url=server.url, headers=headers, timeout=None, trust_env=False)
    metrics = Metrics()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await client.aclose()

    app = FastAPI(
        title="langsteer", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.state.stopping = False
    app.add_middleware(Gate, keys=options.keys, max_body=options.max_body, metrics=metrics)
    app.add_exception_handler(RequestError, _refusal)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(httpx.TransportError, _unreachable)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        known = {"object": "model", "created": 0, "owned_by": "langsteer"}
        return {"object": "list", "data": [{"id": name, **known} for name in sections.names]}

    @app.get("/health")
    async def health() -> Response:
        alive = not app.state.stopping
        with contextlib.suppress(httpx.TransportError):
            alive = alive and (await client.get("/health", timeout=5)).status_code == 200
            return JSONResponse({"status": "ok" if alive else "stopping"}, 200 if alive else 503)
        return JSONResponse({"status": "gone"}, 503)

    @app.get("/metrics")
    async def prometheus() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    async def answer(request: Request) -> Response:
        if app.state.stopping:
            raise RequestError("the server is stopping", 503, "stopping")
        body = _read(await request.body())
        asked = sections.asked(body)
        used = await asyncio.to_thread(sections.used, asked, texts_of(body))
        sent = {key: value for key, value in body.items() if key != "steering"}
        if request.url.path in PATHS[:2] and not any(name in sent for name in LIMITS):
            sent["max_tokens"] = options.max_tokens
        section = {"model": sections.section(used)}
        upstream = client.build_request("POST", request.url.path, json={**sent, **section})
        reply = await _while_there(request, client.send(upstream, stream=True))
        tell = _Teller(str(body["model"]), used.record())
        kind = reply.headers.get("content-type", "application/json")
        if kind.startswith("text/event-stream"):
            return StreamingResponse(_events(reply, tell), reply.status_code, media_type=kind)
        content = await _while_there(request, reply.aread())
        await reply.aclose()
        return Response(tell.whole(content, reply.status_code), reply.status_code, media_type=kind)

    for path in PATHS:
        app.post(path)(answer)
    return app


@dataclass(frozen=True)
class _Teller:
    """Says in an answer which model was asked, and how it was steered; all else stays."""

    model: str
    steering: Mapping[str, Any]

    def whole(self, content: bytes, status: int) -> bytes:
        with contextlib.suppress(ValueError):
            told = json.loads(content)
            if status == 200 and isinstance(told, dict):
                named = {"model": self.model} if "model" in told else {}
                return json.dumps({**told, **named, "steering": self.steering}).encode()
        return content

    def event(self, line: str) -> str:
        """A line of a stream: the event that ends an answer says it too."""
        with contextlib.suppress(ValueError):
            told = json.loads(line.removeprefix("data: "))
            if line.startswith("data: ") and isinstance(told, dict) and "choices" in told:
                ends = any(choice.get("finish_reason") for choice in told["choices"])
                steering = {"steering": self.steering} if ends or not told["choices"] else {}
                return f"data: {json.dumps({**told, 'model': self.model, **steering})}"
        return line


async def _events(reply: Any, tell: _Teller) -> AsyncIterator[str]:
    """A stream, line by line, as it comes; where nobody takes it, llama-server is told to stop."""
    try:
        async for line in reply.aiter_lines():
            yield tell.event(line) + "\n"
    finally:
        await reply.aclose()


async def _while_there(request: Request, work: Any) -> Any:
    """What `work` gives; it is given up where the client goes away."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=GONE_AFTER)
            if not task.done() and await request.is_disconnected():
                raise RequestError("the client has gone", 499)
        return task.result()
    finally:
        task.cancel()


def _read(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise RequestError("the body is not a JSON object")
    return body


async def _refusal(request: Request, error: Any) -> Response:
    return JSONResponse(error.body(), error.status, error.headers)


async def _http(request: Request, error: Any) -> Response:
    return await _refusal(request, RequestError(str(error.detail), error.status_code))


async def _unreachable(request: Request, error: Any) -> Response:
    return await _refusal(request, RequestError("llama-server does not answer", 502))
