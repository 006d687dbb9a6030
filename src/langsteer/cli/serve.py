"""langsteer serve"""

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
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="Start without the files that are damaged.")
    ] = False,
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
    from langsteer.serving.app import ServeOptions, build_app
    from langsteer.serving.run import bind, read_served, serve
    from langsteer.steering.steered import steered

    def say(line: str) -> None:
        typer.echo(line, err=True)

    if engine != "transformers":
        from langsteer.serving.proxy import check_options

        for_vllm = {
            "--max-new-tokens": max_new_tokens != 256,
            "--skip-damaged": skip_damaged,
            "--everywhere": everywhere,
        }
        others = {
            "--rows": rows != 8,
            "--queue": queue != 64,
            "--log-texts": log_texts,
            "--carry": carry,
            "--device": device is not None,
            "--device-map": device_map is not None,
        }
        for_llama = {"--dtype": dtype != "auto"}
        check_options(engine, {**others, **(for_vllm if engine == "vllm" else for_llama)})
    if engine == "vllm":
        from langsteer.serving.vllm import serve_vllm

        keys = tuple(key for key in api_key or () if key)
        limits = ServeOptions(keys=keys, max_body=max_body)
        called = name or (Path(model).resolve().name if Path(model).exists() else model)
        serve_vllm(model, vectors, called, bind(host, port), say, limits, engine_arguments, dtype)
        return

    changes, router = read_served(vectors, skip_damaged, say)
    listener = bind(host, port)
    shared.quiet_libraries()
    called = name or (Path(model).stem if Path(model).exists() else model)
    keys = tuple(key for key in api_key or () if key)
    options = ServeOptions(keys, max_new_tokens, rows, queue, max_body, log_texts)
    if not keys and host not in ("127.0.0.1", "::1", "localhost"):
        say("anyone who reaches this address can use it: give --api-key")
    address = f"http://{host}:{listener.getsockname()[1]}/v1"
    serving = f"serving {called} on {address}, vectors for {', '.join(sorted(changes))}"
    if engine == "llama-server":
        from langsteer.serving.llama_server import Started, serve_llama

        started = Started(model, called, everywhere, llama_server, engine_arguments)
        serve_llama(started, changes, router, listener, say, options)
        return
    ready = steered(
        model,
        changes,
        router=router,
        other_weights=carry,
        dtype=dtype,
        device=device,
        device_map=device_map,
    )
    say(serving)
    serve(build_app(ready, called, options), listener)
