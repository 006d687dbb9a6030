"""langsteer serve"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from langsteer.cli import options as shared


def command(
    model: shared.ModelArgument,
    vectors: Annotated[
        list[Path],
        shared.vectors("A vector file, or a folder of them with a router (fit --router)."),
    ],
    host: Annotated[str, typer.Option("--host", help="Address to serve on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")
    ] = 8000,
    name: Annotated[
        str | None, typer.Option("--name", help="What clients call the model; else its own name.")
    ] = None,
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            "--api-key",
            envvar="LANGSTEER_API_KEY",
            show_envvar=True,
            help="A key that clients must give; may repeat.",
        ),
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Write at most so many tokens, where a request does not say.")
    ] = 256,
    rows: Annotated[
        int, typer.Option("--rows", min=1, help="Answers that are written at a time.")
    ] = 8,
    queue: Annotated[
        int, typer.Option("--queue", min=1, help="Answers that may wait; more are refused.")
    ] = 64,
    max_body: Annotated[
        int, typer.Option("--max-body", min=1, help="Bytes that a request may have.")
    ] = 2**20,
    rate: Annotated[
        int | None,
        typer.Option(
            "--rate",
            min=1,
            help="Requests a minute that a key, or an address without one, may make.",
        ),
    ] = None,
    skip_bad_vectors: Annotated[
        bool,
        typer.Option(
            "--skip-bad-vectors",
            help="Start without the files that are damaged or for another model.",
        ),
    ] = False,
    priors: Annotated[
        list[Path] | None,
        typer.Option(
            "--priors",
            help="What calibrates choices: the file that the priors of langsteer.calibrated write; may "
            "repeat.",
        ),
    ] = None,
    log_texts: Annotated[
        bool, typer.Option("--log-texts", help="Write prompts and answers into the log.")
    ] = False,
    engine: Annotated[
        Literal["transformers", "vllm", "llama-server"],
        typer.Option(
            "--engine",
            help="What runs the model; vllm needs langsteer[vllm], llama-server a GGUF file.",
        ),
    ] = "transformers",
    everywhere: Annotated[
        bool,
        typer.Option(
            "--everywhere",
            help="With llama-server: let what was fitted for some tokens act on every token.",
        ),
    ] = False,
    llama_server: shared.LlamaServer = None,
    engine_arguments: Annotated[
        str,
        typer.Option(
            "--engine-arguments", help="More arguments of the engine's own server, as in a shell."
        ),
    ] = "",
    carry: shared.Carry = False,
    dtype: shared.Dtype = "auto",
    device: shared.Device = None,
    device_map: shared.DeviceMap = None,
) -> None:
    """Serve a model as OpenAI's interface does, each request steered by its language.

    Example: `langsteer serve gemma-3-270m -v vectors/`

    With llama.cpp: `langsteer serve model.gguf -v vectors/ --engine llama-server --everywhere`

    With vLLM: `langsteer serve gemma-3-270m -v vectors/ --engine vllm`

    With a key: `LANGSTEER_API_KEY=secret langsteer serve gemma-3-270m -v vectors/ --port 8080`
    """
    from langsteer.model.opening import load_model
    from langsteer.serving.app import ServeOptions, build_app
    from langsteer.serving.choices import check_priors, read_priors
    from langsteer.serving.heard import said_at_start, warm_up, with_ear
    from langsteer.serving.proxy import check_options
    from langsteer.serving.run import bind, read_served, serve, url_of

    def say(line: str) -> None:
        typer.echo(line, err=True)

    if engine == "transformers":
        check_options(
            engine, {"--engine-arguments": bool(engine_arguments), "--everywhere": everywhere}
        )
    else:
        for_vllm = {
            "--max-new-tokens": max_new_tokens != 256,
            "--skip-bad-vectors": skip_bad_vectors,
            "--everywhere": everywhere,
        }
        others = {
            "--rows": rows != 8,
            "--queue": queue != 64,
            "--priors": bool(priors),
            "--log-texts": log_texts,
            "--carry": carry,
            "--device": device is not None,
            "--device-map": device_map is not None,
        }
        for_llama = {"--dtype": dtype != "auto"}
        check_options(engine, {**others, **(for_vllm if engine == "vllm" else for_llama)})
    called = name or served_name(model)
    keys = tuple(key for key in api_key or () if key)
    if engine == "vllm":
        from langsteer.serving.vllm import serve_vllm

        limits = ServeOptions(keys=keys, max_body=max_body, rate=rate)
        serve_vllm(model, vectors, called, bind(host, port), say, limits, engine_arguments, dtype)
        return

    served = read_served(vectors, skip_bad_vectors)
    calibrating = read_priors(priors or ())
    listener = bind(host, port)
    shared.quiet_libraries()
    if not keys and host not in ("127.0.0.1", "::1", "localhost"):
        say("anyone who reaches this address can use it: give --api-key")
    if engine == "llama-server":
        from langsteer.serving.llama_server import Started, serve_llama

        _say_left_out(served.left_out, say)
        limits = ServeOptions(keys, max_new_tokens, max_body=max_body, rate=rate)
        started = Started(model, called, everywhere, llama_server, engine_arguments)
        serve_llama(started, served.changes, served.router, listener, say, limits)
        return
    opened = load_model(model, dtype=dtype, device=device, device_map=device_map)
    ready, left_out = served.opened(opened, skip_bad_vectors, carry)
    _say_left_out(left_out, say)
    fitting = check_priors(calibrating, opened)
    options = ServeOptions(
        keys=keys,
        max_tokens=max_new_tokens,
        batch=rows,
        queue=queue,
        max_body=max_body,
        log_texts=log_texts,
        rate=rate,
        left_out=left_out,
        recipe=recipe(model, vectors, carry),
        priors=fitting,
    )
    url = url_of(host, listener)
    say(f"serving {called} on {url}/v1, vectors for {', '.join(sorted(ready.changes))}")
    ready = with_ear(ready)
    if told := said_at_start(ready.changes, ready.router):
        say(told)
    warm_up(ready.router)
    say(f"to try it in a browser: {url}/")
    serve(build_app(ready, called, options), listener)


def _say_left_out(left_out: Mapping[str, str], say: Callable[[str], None]) -> None:
    for file, reason in left_out.items():
        say(f"left out {file}: {reason}")


def served_name(model: str) -> str:
    """What a model is called: its hub id or short name; of a path, what it ends with."""
    path = Path(model)
    if not path.exists():
        return model
    return path.stem if path.is_file() else path.resolve().name


def recipe(model: str, vectors: Sequence[Path], carry: bool) -> str:
    """The beginning of the command that steers a text as this server does."""
    words = ["langsteer", "generate", "--model", model]
    words += [word for path in vectors for word in ("--vectors", str(path))]
    return shlex.join([*words, "--carry"] if carry else words)
