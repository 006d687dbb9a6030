"""A layer in front of another engine's server: it turns OpenAI's requests with `steering`, or with a model's name that
names a language, into the engine's own words, and says in the reply what was used.

What else the engine serves is passed on where a client of a model needs it, and is not steered. All other paths there
are not: what loads and unloads models, changes settings, or tells of files, ports and what others ask.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import httpx2
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from langsteer.errors import EngineError
from langsteer.serving.app import ServeOptions, add_refusals
from langsteer.serving.asked import (
    AUTO,
    Used,
    check_name,
    model_names,
    read_asked,
    resolve,
)
from langsteer.serving.bodies import check_slip, check_text, prompts_of, read_object, turns_of
from langsteer.serving.errors import RequestError
from langsteer.serving.heard import Choices
from langsteer.serving.listing import model_record, names_record
from langsteer.serving.metrics import Metrics
from langsteer.serving.middleware import Gate
from langsteer.serving.presence import while_there
from langsteer.version import __version__

STEERED = {"v1/completions": "prompt", "v1/chat/completions": "messages"}
USED = "x-langsteer-vector"  # a header of replies: a language, or none
CHOICES = "v1/choices"
OWN = {"v1/models": "GET", **dict.fromkeys(STEERED, "POST")}
NOT_PASSED_ON = {
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "server",
    "date",
    "transfer-encoding",
    "upgrade",
}


@dataclass(frozen=True, eq=False)
class Asking:
    """A request that is to be said in an engine's words: its body without `steering`, what each of
    its prompts is steered with, and the texts in the language that each prompt holds (None: all).
    """

    body: dict[str, Any]
    used: Sequence[Used]
    texts: Sequence[Sequence[str] | None]


class Upstream(Protocol):
    """A server of another engine, which runs."""

    @property
    def url(self) -> str:
        """Where it is reached, without a path."""

    @property
    def alive(self) -> bool:
        """Whether its process runs."""

    def say(self, asking: Asking) -> dict[str, Any]:
        """The body that the engine is sent, its model's name in it. Raises RequestError where the
        engine cannot do what is asked.
        """

    @property
    def passed(self) -> frozenset[str]:
        """What it serves to clients beside that which is steered, such as `POST /tokenize`."""

    def check(self, path: str) -> None:
        """Raise RequestError where it has no right answer at a path, though it gives one."""

    def fields(self, path: str) -> frozenset[str] | None:
        """The fields that the engine understands at a path, None where it does not say."""


def check_options(engine: str, given: Mapping[str, bool]) -> None:
    """Raise EngineError where an option was given that is not for this engine."""
    if named := [option for option, is_given in given.items() if is_given]:
        instead = f"tell {engine} itself in --engine-arguments"
        if engine == "transformers":
            instead = "name another --engine"
        raise EngineError(f"{named[0]} is not for {engine}: leave it out, or {instead}")


def build_proxy(
    upstream: Upstream, choices: Choices, name: str, options: ServeOptions = ServeOptions()
) -> FastAPI:
    """The application in front of `upstream`, which serves a model that clients call `name`."""
    metrics = Metrics()
    proxy = _Proxy(upstream, choices, name)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with httpx2.AsyncClient(
            base_url=upstream.url, timeout=None, trust_env=False
        ) as client:
            proxy.client = client
            yield

    app = FastAPI(
        title="langsteer", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.state.stopping = False
    app.add_middleware(
        Gate, keys=options.keys, max_body=options.max_body, metrics=metrics, rate=options.rate
    )
    add_refusals(app)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return names_record(proxy.names)

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        return model_record(name, proxy.names)

    @app.get("/health")
    async def health() -> Response:
        alive = upstream.alive and not app.state.stopping
        return JSONResponse({"status": "ok" if alive else "stopping"}, 200 if alive else 503)

    @app.get("/metrics")
    async def prometheus(request: Request) -> Response:
        theirs = await proxy.client.get("/metrics") if upstream.alive else None
        text = theirs.content if theirs is not None and theirs.status_code == 200 else b""
        return Response(metrics.text() + text, media_type="text/plain; version=0.0.4")

    @app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
    async def passed_on(path: str, request: Request) -> Response:
        if app.state.stopping:
            raise RequestError("the server is stopping", 503, "stopping")
        if path.strip("/") == CHOICES:
            raise RequestError(
                f"/{CHOICES} is not for this server's engine: only langsteer's own scores choices "
                "(langsteer serve --engine transformers)",
                404,
                "not_supported",
            )
        _check_passed(request.method, path, upstream.passed)
        upstream.check(path)
        if path in STEERED and request.method == "POST":
            return await proxy.steered(path, request)
        return await proxy.other(path, request)

    return app


def _check_passed(method: str, path: str, passed: frozenset[str]) -> None:
    """Raise HTTPException for what is not on the list, whatever the engine would make of it. A
    browser asks with OPTIONS whether it may.
    """
    methods = {entry.partition(" ")[0] for entry in passed if entry.endswith(f" /{path}")}
    methods |= {OWN[path]} if path in OWN else set()
    if not methods:
        raise HTTPException(404)
    if method not in {*methods, "OPTIONS"}:
        raise HTTPException(405)


class _Proxy:
    client: httpx2.AsyncClient

    def __init__(self, upstream: Upstream, choices: Choices, name: str) -> None:
        self._upstream, self._choices, self._name = upstream, choices, name
        self.names = model_names(name, _as_steered(choices))

    async def steered(self, path: str, request: Request) -> Response:
        body = read_object(await request.body())
        named = self._named(body)
        asked = read_asked(body.get("steering", named or AUTO), named, _as_steered(self._choices))
        rest = {key: value for key, value in body.items() if key != "steering"}
        check_text(rest)
        self._check_fields(path, rest)
        chat = STEERED[path] == "messages"
        prompts = [turns_of(rest)] if chat else prompts_of(rest)
        pairs = [("\n".join(turns[-1]) if turns else None, asked) for turns in prompts]
        used = await asyncio.to_thread(resolve, _as_steered(self._choices), pairs)
        texts = [[text for turn in turns for text in turn] if chat else None for turns in prompts]
        said = self._upstream.say(Asking(rest, used, texts))
        reply = await self._send(request, json.dumps(said).encode())
        return await _told(reply, str(body["model"]), used, int(rest.get("n") or 1), request)

    async def other(self, path: str, request: Request) -> Response:
        """What this layer does not understand; it is not steered, and may not ask to be."""
        content = b""
        if request.method == "POST":
            body = read_object(await request.body())
            named = self._named(body) if body.get("model") is not None else None
            if "steering" in body or named is not None:
                raise RequestError(
                    f"requests to /{path} are not steered: leave steering out, and call the "
                    f"model {self._name}",
                    code="invalid_steering",
                    param="steering",
                )
            check_text(body)
            check_slip(body)
            content = json.dumps(body).encode()
        reply = await self._send(request, content)
        return StreamingResponse(
            _closing(reply, reply.aiter_raw()), reply.status_code, _headers(reply) | {USED: "none"}
        )

    def _named(self, body: Mapping[str, Any]) -> str | None:
        """The language that the model's name asks for. Raises RequestError."""
        check_name(body.get("model"), self.names)
        return self.names[body["model"]]

    def _check_fields(self, path: str, body: Mapping[str, Any]) -> None:
        """A field that an engine would ignore is refused: it may be a slip in `steering`."""
        check_slip(body)
        known = self._upstream.fields(path)
        if known is not None and (unknown := sorted(set(body) - known)):
            raise RequestError(f"{unknown[0]!a:.200} is not understood", param=unknown[0])

    async def _send(self, request: Request, content: bytes) -> httpx2.Response:
        headers = {k: v for k, v in request.headers.items() if k.lower() not in NOT_PASSED_ON}
        asked = self.client.build_request(
            request.method,
            request.url.path + (f"?{request.url.query}" if request.url.query else ""),
            content=content or None,
            headers={**headers, "accept-encoding": "identity"},
        )
        sending = asyncio.ensure_future(self.client.send(asked, stream=True))
        try:
            return await while_there(request, sending)
        except httpx2.HTTPError as error:
            raise RequestError("the engine does not answer", 503, "engine_gone") from error


def _as_steered(choices: Choices) -> Any:
    """What `asked` reads of a `Steered`, which `Choices` has too."""
    return choices


async def _told(
    reply: httpx2.Response, model: str, used: Sequence[Used], n: int, request: Request
) -> Response:
    """The engine's reply with what was used, by the name that the client called the model by."""
    vectors = [told.change.language if told.change is not None else "none" for told in used]
    headers = _headers(reply) | {USED: ", ".join(dict.fromkeys(vectors))}
    if reply.status_code != 200:
        return StreamingResponse(_closing(reply, reply.aiter_raw()), reply.status_code, headers)
    if reply.headers.get("content-type", "").startswith("text/event-stream"):
        lines = _lines(reply, model, used, n)
        return StreamingResponse(_closing(reply, lines), 200, headers)
    try:
        content = await while_there(request, asyncio.ensure_future(reply.aread()))
    except httpx2.HTTPError as error:
        raise RequestError("the engine stopped while it answered", 502, "engine_gone") from error
    finally:
        await reply.aclose()
    records = [told.record() for told in used]
    told = {"model": model, "steering": records[0] if len(records) == 1 else records}
    return JSONResponse({**json.loads(content), **told}, 200, headers)


async def _lines(
    reply: httpx2.Response, model: str, used: Sequence[Used], n: int
) -> AsyncIterator[bytes]:
    """A stream of events; that which ends an answer says what it was steered with."""
    records = [told.record() for told in used]
    try:
        async for line in reply.aiter_lines():
            if line.startswith("data: {"):
                line = f"data: {_event(line.removeprefix('data: '), model, records, n)}"
            yield f"{line}\n".encode()
    except httpx2.HTTPError:
        error = RequestError("the engine stopped while it answered", 502, "engine_gone")
        yield f"data: {json.dumps(error.body())}\n\ndata: [DONE]\n\n".encode()


def _event(text: str, model: str, records: Sequence[dict[str, Any]], n: int) -> str:
    event = json.loads(text)
    if "choices" not in event:
        return text
    event["model"] = model
    ended = [c.get("index", 0) for c in event["choices"] if c.get("finish_reason") is not None]
    if ended:
        event["steering"] = records[min(ended[0] // n, len(records) - 1)]
    elif not event["choices"]:
        event["steering"] = records[0] if len(records) == 1 else list(records)
    return json.dumps(event, ensure_ascii=False)


async def _closing(reply: httpx2.Response, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The parts; the engine is told when nobody takes more of them."""
    try:
        async for part in parts:
            yield part
    finally:
        await reply.aclose()


def _headers(reply: httpx2.Response) -> dict[str, str]:
    return {k: v for k, v in reply.headers.items() if k.lower() not in NOT_PASSED_ON}
