"""vLLM's own server, started with the plug-in, behind the layer that chooses vectors."""

import contextlib
import ipaddress
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from langsteer.engines.vllm.catalogue import make_catalogue
from langsteer.engines.vllm.start import check_version, installed_version
from langsteer.engines.vllm.word import KEY
from langsteer.errors import EngineError
from langsteer.model.opening import checkpoint_of
from langsteer.serving.app import ServeOptions
from langsteer.serving.errors import RequestError
from langsteer.serving.heard import choices, said_at_start, warm_up
from langsteer.serving.proxy import Asking, build_proxy
from langsteer.serving.run import bind, router_files, serve
from langsteer.steering.change import Change
from langsteer.steering.folder import changes_by_language

LOOK_EVERY = 0.2  # seconds
STOP_SECONDS = 20
OURS = ("--host", "--port", "--served-model-name", "--additional-config", "--api-key", "--uds")
PASSED = frozenset(
    {
        "GET /version",
        "POST /tokenize",
        "POST /detokenize",
        "POST /generative_scoring",
        "POST /v1/chat/completions/batch",
        "POST /v1/messages",
        "POST /v1/messages/count_tokens",
        "POST /v1/responses",
    }
)
SCHEMAS = {"v1/completions": "CompletionRequest", "v1/chat/completions": "ChatCompletionRequest"}


@dataclass(frozen=True, eq=False)
class VllmServer:
    """A server of vLLM that runs and steers. `known` are the fields that it understands, by path."""

    url: str
    name: str
    process: "subprocess.Popen[bytes]"
    known: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def passed(self) -> frozenset[str]:
        return PASSED

    def check(self, path: str) -> None:
        """What vLLM cannot answer it refuses itself."""

    def fields(self, path: str) -> frozenset[str] | None:
        return self.known.get(path)

    def say(self, asking: Asking) -> dict[str, Any]:
        return {**asking.body, "model": self.name, **xargs(asking)}


def xargs(asking: Asking) -> dict[str, Any]:
    """What `vllm_xargs` is to hold: nothing where nothing is steered. Raises RequestError where the
    prompts of one request are steered unlike, which vLLM has no words for.
    """
    given = asking.body.get("vllm_xargs") or {}
    if not isinstance(given, Mapping) or KEY in given:
        raise RequestError(f"vectors are chosen by steering, not in vllm_xargs.{KEY}")
    if asking.body.get("use_beam_search") and any(used.change for used in asking.used):
        raise RequestError("vLLM does not steer a beam search: pass steering null")
    words = [
        _word(used.change, texts) for used, texts in zip(asking.used, asking.texts, strict=True)
    ]
    if any(word != words[0] for word in words):
        raise RequestError(
            "the prompts of this request get different vectors: name one language in steering, or "
            "send a request a prompt",
            code="invalid_steering",
            param="steering",
        )
    return {} if words[0] is None else {"vllm_xargs": {**given, KEY: json.dumps(words[0])}}


def _word(change: Change | None, texts: Sequence[str] | None) -> dict[str, Any] | None:
    if change is None:
        return None
    word: dict[str, Any] = {"language": change.language, "strength": change.strength}
    if change.positions is not None:
        word["positions"] = change.positions
    if texts is not None and any(part.positions == "source" for part in change.parts):
        word["texts"] = list(texts)
    return word


def check_changes(changes: Mapping[str, Change]) -> None:
    """Raise VectorError or EngineError where vLLM cannot serve these, before anything is started."""
    check_version(installed_version())
    make_catalogue(changes)


def serve_vllm(
    model: str | Path,
    vectors: Sequence[Path],
    name: str,
    listener: socket.socket,
    say: Callable[[str], None],
    options: ServeOptions = ServeOptions(),
    arguments: str = "",
    dtype: str = "auto",
) -> None:
    """Serve a model with vLLM on `listener` until a signal, as `name`; `say` is told what is served.

    Raises VectorError and EngineError before anything is started, and EngineError where vLLM ends.
    """
    changes = changes_by_language(vectors)
    check_changes(changes)
    chosen = choices(changes)
    if told := said_at_start(changes, chosen.router, next(iter(router_files(vectors)), None)):
        say(told)
    warm_up(chosen.router)
    with vllm_server(model, vectors, name, arguments, dtype) as server:
        host, port = listener.getsockname()[:2]
        if not options.keys and not ipaddress.ip_address(host).is_loopback:
            say("anyone who reaches this address can use it: give --api-key")
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"
        say(f"serving {name} on {address} with vLLM, vectors for {', '.join(sorted(changes))}")
        serve(build_proxy(server, chosen, name, options), listener, server.process)
        if not server.alive:
            raise EngineError(f"vLLM ended with {server.process.returncode}; it says why above")


@contextlib.contextmanager
def vllm_server(
    model: str | Path, vectors: Sequence[Path], name: str, arguments: str = "", dtype: str = "auto"
) -> Iterator[VllmServer]:
    """Inside, vLLM's server runs on a free port of this machine, with these vectors.

    `arguments` are more of its own, as in a shell. Raises EngineError where it does not start, or
    starts without steering.
    """
    own = shlex.split(arguments)
    if taken := [word for word in own if word.partition("=")[0] in OURS]:
        raise EngineError(
            f"{taken[0].partition('=')[0]} is set by langsteer: leave it out of --engine-arguments"
        )
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "langsteer.engines.vllm.command",
        "serve",
        checkpoint_of(model),
    ]
    command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", name]
    command += ["--dtype", dtype, "--additional-config", _config(vectors), *own]
    process = subprocess.Popen(command, env=_environment(), start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        with httpx2.Client(base_url=url, trust_env=False, timeout=60) as client:
            _wait(client, process)
            _check_steers(client, name)
            known = _known_fields(client)
        yield VllmServer(url, name, process, known)
    finally:
        _stop(process)


def _config(vectors: Sequence[Path]) -> str:
    paths = [str(path.resolve()) if path.exists() else str(path) for path in vectors]
    return json.dumps({KEY: {"vectors": paths}})


def _environment() -> dict[str, str]:
    """Quiet about each request, as what is asked may be private; no key of ours."""
    hidden = ("LANGSTEER_API_KEY", "VLLM_API_KEY")
    return {name: value for name, value in os.environ.items() if name not in hidden}


def _wait(client: httpx2.Client, process: "subprocess.Popen[bytes]") -> None:
    """Until the server answers. A large model takes many minutes."""
    while process.poll() is None:
        with contextlib.suppress(httpx2.HTTPError):
            if client.get("/health").status_code == 200:
                return
        time.sleep(LOOK_EVERY)
    raise EngineError(
        f"vLLM ended with {process.returncode} before it was ready; it says why above"
    )


def _check_steers(client: httpx2.Client, name: str) -> None:
    """Raise EngineError where a word that nobody understands is let pass: the plug-in is not there."""
    asked = {"model": name, "prompt": "a", "max_tokens": 1, "vllm_xargs": {KEY: "{"}}
    reply = client.post("/v1/completions", json=asked)
    if reply.status_code != 400 or KEY not in reply.text:
        raise EngineError(
            "vLLM runs without langsteer's plug-in: install langsteer beside it, and leave "
            "VLLM_PLUGINS unset or let it name langsteer"
        )


def _known_fields(client: httpx2.Client) -> dict[str, frozenset[str]]:
    """The fields of requests, from the server's own description; none where it gives none."""
    reply = client.get("/openapi.json")
    schemas = reply.json()["components"]["schemas"] if reply.status_code == 200 else {}
    return {
        path: frozenset(schemas[schema]["properties"])
        for path, schema in SCHEMAS.items()
        if schema in schemas
    }


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the server, and whatever processes it has left."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
