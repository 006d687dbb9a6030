"""langsteer tune"""

import inspect
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from langsteer.cli import options as shared
from langsteer.cli.command import Command

if TYPE_CHECKING:
    from langsteer.tuning import Tuned

ALL = "all"  # the line of all languages together
SFT: dict[str, float] = {
    "rate": 2e-4,
    "epochs": 2.0,
    "batch": 8,
    "max_length": 512,
    "held_out": 0.2,
}
DPO: dict[str, float] = {**SFT, "rate": 3e-5, "epochs": 1.0, "batch": 4, "beta": 0.1}
_NAMES = {
    "loss": "loss",
    "reward_accuracy": "reward accuracy",
    "preferred": "chosen likelier",
    "chosen_loss": "nats a token",
}
_MODEL_HELP = (
    "Hub id, folder, .gguf file, or gemma-3-270m / smollm2-135m; the folder of an adapter is "
    "tuned further."
)

app = typer.Typer(
    name="tune",
    help="Fine-tune with LoRA on instructions: by example (sft), then by preference (dpo).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _with_options(
    defaults: dict[str, float],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of `_tune`; of those in `defaults`, only what is there."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(_tune)
        own = [
            option.replace(default=defaults.get(name, option.default))
            for name, option in signature.parameters.items()
            if name != "method" and (name in defaults or name not in DPO)
        ]
        command.__signature__ = signature.replace(parameters=own)  # type: ignore[attr-defined]
        command.__annotations__ = {option.name: option.annotation for option in own}
        return command

    return decorate


def _tune(
    method: str,
    output: Annotated[
        Path, shared.output("The folder that the adapter is written into.", "<folder>")
    ],
    model_argument: shared.OldModelArgument = None,
    model: Annotated[str, shared.model(_MODEL_HELP)] = shared.DEFAULT_MODEL,
    data: Annotated[
        list[str], shared.data("builtin, a JSON lines file, or hf:ID; several are joined.")
    ] = [shared.BUILTIN],  # noqa: B006
    languages: Annotated[
        list[str] | None, shared.languages("Tags, with commas; else all there are.")
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            help="plain, chat (the model's own) or a Jinja file; else chat, if there is one.",
            autocompletion=lambda: ["plain", "chat"],
        ),
    ] = None,
    vectors: Annotated[
        list[Path] | None,
        shared.vectors(
            "Steer the records in its language with it while learning; a file or a folder."
        ),
    ] = None,
    carry: shared.Carry = False,
    beta: Annotated[
        float, typer.Option(help="The higher, the nearer to the reference it stays.")
    ] = 0.0,
    rank: Annotated[
        int | None,
        typer.Option(help="Rank of the adapter; else 8, or that of the one tuned further."),
    ] = None,
    rate: Annotated[float, typer.Option(help="Learning rate at its highest.")] = 0.0,
    epochs: Annotated[float, typer.Option(help="Passes over the records.")] = 0.0,
    batch: Annotated[int, typer.Option(help="Records a step.")] = 0,
    max_length: Annotated[int, typer.Option(help="Leave out records of more tokens.")] = 0,
    held_out: Annotated[
        float, typer.Option(help="Share of the ids to measure on, not learnt from.")
    ] = 0.0,
    seed: shared.Seed = 0,
    overwrite: shared.Overwrite = False,
    dtype: shared.Dtype = "auto",
    device: shared.Device = None,
    device_map: shared.DeviceMap = None,
    as_json: shared.Json = False,
) -> None:
    from langsteer import tuning
    from langsteer.steering.folder import load_vectors

    recipe = {"rank": rank, "rate": rate, "epochs": epochs, "batch": batch, "seed": seed}
    recipe |= {"max_length": max_length, "held_out": held_out}
    options: tuning.TuneOptions
    if method == "dpo":
        options = tuning.DpoOptions(beta=beta, **recipe)  # type: ignore[arg-type]
    else:
        options = tuning.SftOptions(**recipe)  # type: ignore[arg-type]
    tune: Callable[..., Tuned] = getattr(tuning, method)
    opened = shared.open_model(shared.named_model(model, model_argument), dtype, device, device_map)
    steering = load_vectors(vectors or [])
    result = tune(
        opened,
        tuning.read_instructions(data, shared.listed(languages)),
        output,
        options=options,
        vectors=[vector.carried_to(opened) for vector in steering] if carry else steering,
        template=template,
        overwrite=overwrite,
    )
    if as_json:
        shared.print_json(asdict(result))
    else:
        _print(result, max_length)


@app.command("sft", cls=Command)
@_with_options(SFT)
def sft_command(**options: Any) -> None:
    """Supervised fine-tuning: learn the chosen answers.

    Example: `langsteer tune sft -o sft/`

    Your own records, on another model: `langsteer tune sft -m google/gemma-3-1b-pt -d my.jsonl -o sft/`

    With steering on: `langsteer tune sft -v vectors/ -o steered/`
    """
    _tune("sft", **options)


@app.command("dpo", cls=Command)
@_with_options(DPO)
def dpo_command(**options: Any) -> None:
    """Direct preference optimisation: prefer the chosen answers to the rejected ones.

    Example, from the adapter of an SFT, which is also the reference: `langsteer tune dpo -m sft/ -o dpo/`
    """
    _tune("dpo", **options)


def _print(result: "Tuned", max_length: int) -> None:
    console = shared.console()
    console.print(_table(result))
    seconds = f"{result.steps} steps in {result.seconds:.0f} seconds"
    kept = ", already there" if result.kept else ""
    console.print(f"{result.folder}: {seconds}{kept}")
    if result.too_long:
        console.print(f"left out: {result.too_long} records of more than {max_length} tokens")
    for used in result.vectors:
        console.print(f"steered in {used['language']}: use it with {used['file']}")


def _table(result: "Tuned") -> Table:
    """A line a language: how many records, and what was measured on those held out."""
    from langsteer.text.languages import language_name

    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("language", no_wrap=True)
    table.add_column("records", justify="right")
    table.add_column("held out", justify="right")
    names = [name for name in _NAMES if name in result.after.get(ALL, {})]
    for name in names:
        table.add_column(_NAMES[name], justify="right")
    tags = [*(tag for tag in result.records if tag != ALL), ALL]
    for tag in tags:
        before, after = result.before.get(tag, {}), result.after.get(tag, {})
        table.add_row(
            ALL if tag == ALL else language_name(tag),
            str(result.records[tag]),
            str(result.held_out.get(tag, 0)),
            *(f"{before[n]:.2f}→{after[n]:.2f}" if n in after else "" for n in names),
        )
    return table
