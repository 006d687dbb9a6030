"""The application: OpenAI's endpoints over an engine."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from langsteer.evaluation.calibrated import Priors
from langsteer.serving.asked import Asked, check_name, model_names, read_asked
from langsteer.serving.choices import Chooser
from langsteer.serving.engine import EmbeddedEngine, Engine
from langsteer.serving.errors import HALF, RequestError, as_refusal, why_unread
from langsteer.serving.heard import with_ear
from langsteer.serving.listing import health_record, model_record, models_record
from langsteer.serving.metrics import Metrics
from langsteer.serving.middleware import Gate
from langsteer.serving.playground import add_playground
from langsteer.serving.presence import while_there
from langsteer.serving.prompts import rows_of, texts_of
from langsteer.serving.replies import Reply
from langsteer.serving.rows import Piece, Row
from langsteer.serving.schema import (
    Asking,
    ChatRequest,
    ChoicesReply,
    ChoicesRequest,
    CompletionRequest,
    Refused,
    is_neutral,
)
from langsteer.steering.steered import Steered
from langsteer.version import __version__

log = logging.getLogger("langsteer.serving")
KINDS = ("str", "list[str]", "list[Part]")
WHY: dict[int | str, str] = {
    "4XX": "Refused",
    400: "Not understood",
    401: "No key",
    404: "No such model",
    408: "The body did not come in time",
    413: "Too large",
    429: "Too many wait, or too often",
    500: "The model failed",
    503: "Stopping",
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"description": what, "model": Refused} for status, what in WHY.items()
}
EVENT = {"type": "object", "properties": {"data": {"type": "string"}}}
STREAMED: dict[str, Any] = {"content": {"text/event-stream": {"schema": EVENT}}}
ANSWERS = {**REFUSALS, 200: {"description": "The answer, whole or as events", **STREAMED}}


@dataclass(frozen=True)
class ServeOptions:
    """How a server is run. `max_tokens` are written where a request does not say; `batch` rows at
    a time, `queue` waiting; bodies of at most `max_body` bytes; `rate` requests a minute of a key.
    `left_out` are files that could not be used, with the reason; `recipe` begins the command that
    does the same as a request; `priors` calibrate the choices that they are of.
    """

    keys: tuple[str, ...] = ()
    max_tokens: int = 256
    batch: int = 8
    queue: int = 64
    max_body: int = 2**20
    log_texts: bool = False
    rate: int | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    recipe: str = ""
    priors: tuple[Priors, ...] = ()


def build_app(
    ready: Steered, name: str, options: ServeOptions = ServeOptions(), engine: Engine | None = None
) -> FastAPI:
    """The application that serves `ready` under `name`, with the embedded engine or another. Where
    there is no router, lingua hears the language, if it is installed.
    """
    ready = with_ear(ready)
    metrics = Metrics()
    writer: Engine = engine or EmbeddedEngine(
        ready, batch=options.batch, queue=options.queue, on_batch=metrics.batches.observe
    )

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(writer.close)

    app = FastAPI(
        title="langsteer",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.stopping = False
    app.add_middleware(
        Gate,
        keys=options.keys,
        max_body=options.max_body,
        metrics=metrics,
        rate=options.rate,
    )
    add_refusals(app)
    server = _Server(ready, name, options, writer, metrics, app)
    chooser = Chooser(ready, writer, metrics, options.priors, options.log_texts)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        told = models_record(server.names, ready, options.left_out, server.moves)
        told["steering"]["recipe"] = options.recipe
        told["steering"]["priors"] = [list(priors.answers) for priors in options.priors]
        return told

    @app.get("/v1/models/{name:path}", responses={404: REFUSALS[404]})
    async def model(name: str) -> dict[str, Any]:
        return model_record(name, server.names)

    @app.post("/v1/completions", responses=ANSWERS)
    async def completions(body: CompletionRequest, request: Request) -> Response:
        return await server.answer(body, request)

    @app.post("/v1/chat/completions", responses=ANSWERS)
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        return await server.answer(body, request)

    @app.post("/v1/choices", responses=REFUSALS, response_model=ChoicesReply)
    async def choices(body: ChoicesRequest, request: Request) -> Response:
        return await chooser.answer(body, server.asked(body), request)

    @app.get("/health", responses={503: {"description": "Stopping"}})
    async def health() -> Response:
        alive = writer.alive and not app.state.stopping
        return JSONResponse(health_record(alive, options.left_out), 200 if alive else 503)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def prometheus() -> Response:
        metrics.waiting.set(writer.waiting)
        metrics.running.set(getattr(writer, "running", 0))
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    add_playground(app)
    return app


def add_refusals(app: FastAPI) -> None:
    """Have an application answer what goes wrong in OpenAI's form."""
    app.add_exception_handler(RequestError, _refusal)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _failure)


class _Server:
    def __init__(
        self,
        ready: Steered,
        name: str,
        options: ServeOptions,
        engine: Engine,
        metrics: Metrics,
        app: FastAPI,
    ) -> None:
        self._ready, self._options, self._engine = ready, options, engine
        self._metrics, self._app = metrics, app
        self.names = model_names(name, ready)
        self.moves = isinstance(engine, EmbeddedEngine)

    def asked(self, body: Asking) -> Asked:
        """How a request asks to be steered. Raises RequestError, also where the server is stopping."""
        if self._app.state.stopping:
            raise RequestError("the server is stopping", 503, "stopping")
        check_name(body.model, self.names)
        named = self.names[body.model]
        field = body.steering if "steering" in body.model_fields_set else named or "auto"
        return read_asked(field, named, self._ready, self.moves)

    async def answer(self, body: CompletionRequest | ChatRequest, request: Request) -> Response:
        asked = self.asked(body)
        rows = await asyncio.to_thread(rows_of, body, asked, self._ready, self._options.max_tokens)
        if self._options.log_texts:
            log.info("asked: %s", json.dumps(texts_of(rows), ensure_ascii=False))
        events = _connect(rows)
        self._engine.submit(rows)
        reply = Reply(
            body.model, isinstance(body, ChatRequest), rows, body.n or 1, self._token_text
        )
        pieces = self._pieces(rows, events)
        if body.stream:
            # what fails before a word is written is an error of its own
            first = await while_there(request, asyncio.ensure_future(anext(pieces)))
            usage = body.stream_options is not None and body.stream_options.include_usage
            return StreamingResponse(
                _stream(reply, first, pieces, usage), media_type="text/event-stream"
            )
        gathered: list[list[Piece]] = [[] for _ in rows]

        async def gather() -> None:
            async for index, piece in pieces:
                gathered[index].append(piece)

        await while_there(request, asyncio.ensure_future(gather()))
        return JSONResponse(reply.whole(gathered))

    def _token_text(self, token: int) -> str:
        return str(self._ready.tokenizer.decode([token]))

    async def _pieces(
        self, rows: Sequence[Row], events: "asyncio.Queue[tuple[int, Piece]]"
    ) -> AsyncIterator[tuple[int, Piece]]:
        """The pieces of all rows as they come; rows are given up where nobody takes them."""
        left = len(rows)
        try:
            while left:
                index, piece = await events.get()
                if piece.error is not None:
                    raise as_refusal(piece.error)
                if piece.finish:
                    left -= 1
                    self._metrics.count(rows[index])
                    if self._options.log_texts:
                        log.info("answered: %s", json.dumps(rows[index].text, ensure_ascii=False))
                yield index, piece
        finally:
            for row in rows:
                row.cancelled = True


def _connect(rows: Sequence[Row]) -> "asyncio.Queue[tuple[int, Piece]]":
    """What the rows tell of, from the engine's thread to this one."""
    loop, events = asyncio.get_running_loop(), asyncio.Queue[tuple[int, Piece]]()

    def notify_as(index: int) -> Callable[[Piece], None]:
        def notify(piece: Piece) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(events.put_nowait, (index, piece))

        return notify

    for index, row in enumerate(rows):
        row.notify = notify_as(index)
    return events


async def _stream(
    reply: Reply,
    first: tuple[int, Piece],
    pieces: AsyncIterator[tuple[int, Piece]],
    usage: bool,
) -> AsyncIterator[str]:
    begun: set[int] = set()

    def chunk(index: int, piece: Piece) -> str:
        fresh = index not in begun
        begun.add(index)
        return _event(reply.chunk(index, piece, fresh))

    try:
        yield chunk(*first)
        async for index, piece in pieces:
            yield chunk(index, piece)
        if usage:
            yield _event(reply.usage_chunk())
    except RequestError as error:
        yield _event(error.body())
    finally:
        for row in reply.rows:
            row.cancelled = True
    yield "data: [DONE]\n\n"


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


async def _refusal(request: Request, error: Exception) -> Response:
    refusal = as_refusal(error)
    return JSONResponse(refusal.body(), refusal.status, refusal.headers)


async def _invalid(request: Request, error: Any) -> Response:
    first = error.errors()[0]
    loc = [str(part) for part in first["loc"] if part != "body"]
    if first["type"] == "json_invalid":  # its place is a number of characters
        message, loc = f"the body is not JSON: {first['ctx']['error']}, at character {loc[0]}", []
    elif first["type"] == "string_unicode":
        message = f"{'.'.join(loc) or 'the name of a field'}: {HALF}"
    elif not loc:
        message = "the body is a JSON object, sent with Content-Type: application/json"
    elif is_neutral(loc[0]):
        loc = loc[:1]
        message = (
            f"{loc[0]}: it is not supported: leave it out, or at the value that asks for nothing"
        )
    elif first["type"] == "extra_forbidden":
        message = f"{'.'.join(loc)}: there is no such field, or it is not supported"
    else:
        if len(loc) > 1 and loc[-1] in KINDS:  # one of the types that the field may have
            loc.pop()
        message = f"{'.'.join(loc)}: {first['msg'].removeprefix('Value error, ')}"
    place = ".".join(loc)
    return await _refusal(request, RequestError(message, param=place or None))


async def _http(request: Request, error: Any) -> Response:
    message = str(error.detail)
    if isinstance(error.__cause__, ValueError | RecursionError):  # of reading the body
        message = why_unread(error.__cause__)
    elif error.status_code in (404, 405):
        message = f"there is no {request.method} {request.url.path!a:.200} here"
    return await _refusal(request, RequestError(message, error.status_code))


async def _failure(request: Request, error: Exception) -> Response:
    return await _refusal(request, RequestError("the server failed", 500))
