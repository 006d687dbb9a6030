"""llama.cpp's server behind the layer that chooses vectors.

It lists the model once for each language, with that language's vector (`langsteer.export.llama_server`), and once
without; the name in a request's `model` chooses among these sections. So the layer sends on the name of a section,
and what a section cannot do for a single request (a strength, positions) is refused. What a change adds to logits goes
with the request, as its `logit_bias`.
"""

import contextlib
import os
import shlex
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf

from langsteer.engines.llama_cpp import LlamaServer, find_server, last_words, running
from langsteer.errors import EngineError
from langsteer.export.llama_server import write_preset
from langsteer.model.model import Model
from langsteer.model.opening import load_model
from langsteer.progress import announce
from langsteer.serving.app import ServeOptions
from langsteer.serving.errors import RequestError
from langsteer.serving.heard import Choices, choices, said_at_start, warm_up
from langsteer.serving.proxy import Asking, build_proxy
from langsteer.serving.run import serve
from langsteer.steering.change import Change
from langsteer.steering.logit_bias import request_bias
from langsteer.steering.router import Router
from langsteer.steering.sequence import states_part
from langsteer.text.identify import Identified

LIMITS = ("max_tokens", "max_completion_tokens", "n_predict")
SAMPLE, SAMPLED = tuple(range(5, 17)), 50  # tokens that a server is tried with
WRITES = (("a", 1000.0),)  # what it answers then, be it likely or not: whole characters
SAME = 1e-5  # nats
TEMPLATES = ("--chat-template", "--chat-template-file")
TEMPLATE_VARIABLES = ("LLAMA_ARG_CHAT_TEMPLATE", "LLAMA_ARG_CHAT_TEMPLATE_FILE")
PASSED = frozenset(
    f"POST /{path}"
    for path in (
        "apply-template",
        "chat/completions",
        "completion",
        "completions",
        "detokenize",
        "embedding",
        "embeddings",
        "infill",
        "rerank",
        "reranking",
        "tokenize",
        "v1/chat/completions/input_tokens",
        "v1/embeddings",
        "v1/messages",
        "v1/messages/count_tokens",
        "v1/rerank",
        "v1/reranking",
        "v1/responses",
        "v1/responses/input_tokens",
    )
)
CHATS = ("apply-template", "chat/completions", "v1/chat/", "v1/messages", "v1/responses")
OURS = ("--models-preset", "--models-dir", "--models-max", "--host", "--port", "--model", "-m")


@dataclass(frozen=True)
class Started:
    """How llama-server is started: the GGUF file of the model, what clients call it, whether vectors
    may act on every token that were fitted for some, where the program is, and more arguments of
    its own, as in a shell.
    """

    model: str | Path
    name: str
    everywhere: bool = False
    program: str | Path | None = None
    arguments: str = ""


@dataclass(frozen=True, eq=False)
class LlamaSections:
    """A server that runs, with a section for each language that has a vector; `max_tokens` are written where
    a request does not say. `chats`: whether the model has a chat template.
    """

    server: LlamaServer
    name: str
    max_tokens: int
    chats: bool = True
    _biases: dict[str, list[list[float]]] = field(default_factory=dict, init=False)

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def alive(self) -> bool:
        return self.server.alive

    @property
    def passed(self) -> frozenset[str]:
        return PASSED

    def check(self, path: str) -> None:
        """llama-server answers a chat in a template of others where the model has none."""
        if not self.chats and path.startswith(CHATS):
            raise RequestError(
                f"{self.name} has no chat template: ask /v1/completions, with a prompt",
                param="messages",
            )

    def fields(self, path: str) -> frozenset[str] | None:
        return None

    def say(self, asking: Asking) -> dict[str, Any]:
        for used in asking.used:
            _check_as_started("strength", used.asked.strength)
            _check_as_started("positions", used.asked.positions)
        tags = {used.change.language if used.change else None for used in asking.used}
        if len(tags) > 1:
            raise _wrong(
                "the prompts of this request get different vectors: name one language in steering, "
                "or send a request a prompt"
            )
        limited = any(name in asking.body for name in LIMITS)
        limit = {} if limited else {"max_tokens": self.max_tokens}
        said = {**limit, **asking.body, "model": self.name}
        change = asking.used[0].change
        if change is None:
            return said
        if states_part(change) is not None:
            said["model"] = f"{self.name}-{change.language}"
        if bias := self._bias(change):
            said["logit_bias"] = [*bias, *_asked_bias(asking.body.get("logit_bias"))]
        return said

    def _bias(self, change: Change) -> list[list[float]]:
        """What a language's change adds to logits: pairs of a token and a number."""
        if change.language not in self._biases:
            told = request_bias(change.logit_bias())
            self._biases[change.language] = [[token, number] for token, number in told.items()]
        return self._biases[change.language]


@dataclass(frozen=True, eq=False)
class StatesEar:
    """A router, which reads the states of the model; transformers has it open too."""

    router: Router
    model: Model
    alone: threading.Lock

    @property
    def languages(self) -> tuple[str, ...]:
        return self.router.languages

    def identify(self, texts: Sequence[str]) -> list[Identified]:
        with self.alone:
            return self.router.identify(self.model, texts)


def chosen_among(
    changes: Mapping[str, Change], router: Router | None, model: str | Path
) -> Choices:
    """What chooses a text's vector: the router, where there is one, else lingua. Vectors are at all
    positions, as llama-server adds them. Raises VectorError where the router is another model's.
    """
    everywhere = {
        tag: change if states_part(change) is None else change.at("all")
        for tag, change in changes.items()
    }
    if router is None:
        return choices(everywhere)
    opened = load_model(model)
    router.check_fits(opened)
    return Choices(everywhere, StatesEar(router, opened, threading.Lock()))


def serve_llama(
    started: Started,
    changes: Mapping[str, Change],
    router: Router | None,
    listener: socket.socket,
    say: Callable[[str], None],
    options: ServeOptions = ServeOptions(),
) -> None:
    """Serve with llama.cpp on `listener` until a signal; `say` is told what is served, and where.

    Raises what `llama_server` and `chosen_among` do, and EngineError where llama-server has ended.
    """
    with llama_server(started, changes) as server:
        chosen = chosen_among(changes, router, started.model)
        sections = LlamaSections(
            server, started.name, options.max_tokens, has_template(started, os.environ)
        )
        if told := said_at_start(chosen.changes, chosen.router):
            say(told)
        warm_up(chosen.router)
        host, port = listener.getsockname()[:2]
        say(
            f"serving {started.name} with llama-server on http://{host}:{port}/v1, vectors for "
            f"{', '.join(sorted(changes))}"
        )
        serve(build_proxy(sections, chosen, started.name, options), listener, server.process)
        if not server.alive:
            raise EngineError(
                f"llama-server ended by itself, with {server.process.returncode}: "
                f"{last_words(server.log)}"
            )


@contextlib.contextmanager
def llama_server(started: Started, changes: Mapping[str, Change]) -> Iterator[LlamaServer]:
    """llama-server, on a port of its own, with a section a language, each tried: see `try_sections`.

    Raises ExportError, where the vectors cannot be had in llama.cpp, and EngineError.
    """
    program, own = find_server(started.program), shlex.split(started.arguments)
    if taken := [word for word in own if word.partition("=")[0] in OURS]:
        raise EngineError(f"{taken[0]} is set by langsteer: leave it out of --engine-arguments")
    vectors = {tag: part for tag, c in changes.items() if (part := states_part(c)) is not None}
    with tempfile.TemporaryDirectory(prefix="langsteer-") as folder:
        preset, notes = write_preset(
            list(vectors.values()), folder, started.everywhere, started.model, started.name
        )
        for tag, note in notes.items():
            announce(f"{tag}: {note.replace('in this file', 'here')}")
        arguments = ["--models-preset", str(preset)]
        arguments += ["--models-max", str(len(vectors) + 1)]
        with running(program, [*arguments, *own]) as server:
            try_sections(server, started.name, list(vectors))
            yield server


def has_template(started: Started, environment: Mapping[str, str]) -> bool:
    """Whether chats have a template: that of the GGUF file, or one that llama-server is given."""
    given = [word.partition("=")[0] for word in shlex.split(started.arguments)]
    if any(name in given for name in TEMPLATES) or any(map(environment.get, TEMPLATE_VARIABLES)):
        return True
    field = gguf.GGUFReader(started.model).fields.get(gguf.Keys.Tokenizer.CHAT_TEMPLATE)
    return field is not None and bool(field.contents())


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


def _asked_bias(asked: Any) -> list[Any]:
    """A request's own `logit_bias`, in either of its forms, as pairs; the server adds up those of one token."""
    if isinstance(asked, Mapping):
        return [[int(k) if str(k).isdecimal() else k, number] for k, number in asked.items()]
    return list(asked) if isinstance(asked, list) else []


def _check_as_started(what: str, value: float | str | None) -> None:
    if value not in (None, "all"):
        raise _wrong(
            f"llama-server adds each vector as it was started with, at every token: leave "
            f"steering.{what} out"
        )


def _wrong(message: str) -> RequestError:
    return RequestError(message, code="invalid_steering", param="steering")
