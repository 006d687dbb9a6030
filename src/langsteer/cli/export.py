"""langsteer export"""

from pathlib import Path
from typing import Annotated, Any

import typer

from langsteer.cli import options as shared


def command(
    vectors: Annotated[list[Path], typer.Argument(help="Vector files, or folders of them.")],
    to: Annotated[
        str,
        shared.one_of(shared.exports, "--to", help=f"The format: {', '.join(shared.exports())}."),
    ],
    output: Annotated[
        Path, shared.output("The file or folder; with several languages, a folder of them.")
    ],
    everywhere: Annotated[
        bool,
        typer.Option(
            "--everywhere", help="Export what was fitted for some tokens to act on every token."
        ),
    ] = False,
    model: Annotated[
        str | None,
        shared.model(
            "The model: merged puts the vector into it, llama-server runs its GGUF file, "
            "lm-eval names blocks as it does."
        ),
    ] = None,
    strength: shared.Strength = None,
    as_json: shared.Json = False,
) -> None:
    """Write vectors into files that other tools read.

    Example: `langsteer export vectors/ --to gguf -o control/`

    A checkpoint with the vector in it: `langsteer export sw.safetensors --to merged -m smollm2-135m -o merged/`
    """
    from langsteer.export.formats import export, get_format

    form = get_format(to)
    options: dict[str, Any] = {"everywhere": True} if everywhere else {}
    if model is not None:
        opened = form.opens_model
        options["model"] = shared.open_model(model, "auto", None, None) if opened else model
    files = export(list(vectors), to, output, strength=strength, **options)
    if as_json:
        written = {language: str(path) for language, path in files.items()}
        shared.print_json({"format": to, "title": form.title, "files": written})
    else:
        for language, path in files.items():
            typer.echo(f"{language}: {path} ({form.title})")
