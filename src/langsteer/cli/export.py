"""langsteer export"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from langsteer.cli import options as shared

if TYPE_CHECKING:
    from langsteer.export.check import Report


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
    check: Annotated[
        Path | None,
        typer.Option(
            "--check",
            metavar="<path>",
            help="Run llama.cpp with what is written, on this GGUF file of the model, and compare.",
        ),
    ] = None,
    llama_server: shared.LlamaServer = None,
    overwrite: shared.Overwrite = False,
    as_json: shared.Json = False,
) -> None:
    """Write vectors into files that other tools read.

    Example: `langsteer export vectors/ --to gguf -o control/`

    Checked by running llama.cpp: `langsteer export vectors/ --to gguf -o control/ --check model.gguf`

    A checkpoint with the vector in it: `langsteer export sw.safetensors --to merged -m smollm2-135m -o merged/`
    """
    from langsteer.export.formats import can_check, check_export, export, get_format

    form = get_format(to)
    options: dict[str, Any] = {"everywhere": True} if everywhere else {}
    if check is not None:
        shared.quiet_libraries()
        can_check(to, check, llama_server)
    if model is not None:
        opened = form.opens_model
        options["model"] = shared.open_model(model, "auto", None, None) if opened else model
    files = export(list(vectors), to, output, strength=strength, overwrite=overwrite, **options)
    if not as_json:
        for language, path in files.items():
            typer.echo(f"{language}: {path} ({form.title})")
    report = None
    if check is not None:
        report = check_export(
            list(vectors), to, files, check, strength=strength, program=llama_server
        )
    if as_json:
        written = {language: str(path) for language, path in files.items()}
        told = {"format": to, "title": form.title, "files": written}
        checked = {} if report is None else {"check": report.record()}
        shared.print_json({**told, **checked})
    elif report is not None:
        shared.console().print(_table(report))
    if report is not None:
        report.require()


def _table(report: "Report") -> Table:
    """Each language's differences from transformers, steered and unsteered."""
    kind = "quantised" if report.quantised else "not quantised"
    title = f"{report.engine} on {report.model.name} ({kind}), against transformers"
    table = Table(box=box.SIMPLE, title=title, title_justify="left", padding=(0, 1, 0, 0))
    table.add_column("language")
    for name in ("difference", "divergence", "other tokens", "steering", "share", "rest"):
        table.add_column(name, justify="right", no_wrap=True)
    for checked in report.checked:
        steered, unsteered = checked.steered, checked.unsteered
        table.add_row(
            checked.language,
            f"{steered.largest:.3f} ({unsteered.largest:.3f})",
            f"{steered.divergence:.1g} ({unsteered.divergence:.1g})",
            f"{steered.tokens} ({unsteered.tokens}) of {checked.places}",
            f"{checked.effect:.2g}",
            f"{checked.share:.3f}",
            f"{checked.rest:.3f}",
        )
    table.caption = "in brackets without steering; log-probabilities and divergences in nats"
    return table
