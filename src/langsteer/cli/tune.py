"""langsteer tune"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from langsteer.cli import options as common
from langsteer.steering.folder import load_vectors
from langsteer.text.languages import language_name
from langsteer.tuning import DpoOptions, SftOptions, Tuned, TuneOptions, dpo, sft
from langsteer.tuning.data import BUILTIN, read_instructions
from langsteer.tuning.job import ALL

app = typer.Typer(
    help="Fine-tune with LoRA on instructions: by example (sft), then by preference (dpo).",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

ModelName = Annotated[
    str,
    typer.Argument(
        help="Hub id, folder, .gguf file, or gemma-3-270m / smollm2-135m; the folder of an "
        "adapter is tuned further."
    ),
]
Out = Annotated[
    Path, typer.Option("--out", "-o", help="The folder that the adapter is written into.")
]
Data = Annotated[
    list[str],
    typer.Option("--data", "-d", help="builtin, a JSON lines file, or hf:ID; several are joined."),
]
Languages = Annotated[
    str | None, typer.Option("--languages", "-l", help="Tags, with commas; else all there are.")
]
Template = Annotated[
    str | None,
    typer.Option(help="plain, chat (the model's own) or a Jinja file; else chat, if there is one."),
]
Vector = Annotated[
    list[Path] | None,
    typer.Option(
        "--vector",
        "-v",
        help="Steer the records in its language with it while learning; a file or a folder.",
    ),
]
Rank = Annotated[
    int | None, typer.Option(help="Rank of the adapter; else 8, or that of the one tuned further.")
]
Rate = Annotated[float, typer.Option(help="Learning rate at its highest.")]
Epochs = Annotated[float, typer.Option(help="Passes over the records.")]
Batch = Annotated[int, typer.Option(help="Records a step.")]
MaxLength = Annotated[int, typer.Option(help="Leave out records of more tokens.")]
HeldOut = Annotated[float, typer.Option(help="Share of the ids to measure on, not learnt from.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Tune again what the folder already holds.")
]

_SFT, _DPO = SftOptions(), DpoOptions()
_NAMES = {
    "loss": "loss",
    "reward_accuracy": "reward accuracy",
    "preferred": "chosen likelier",
    "chosen_loss": "nats a token",
}


@app.command("sft")
def sft_command(
    out: Out,
    model: ModelName = common.DEFAULT,
    data: Data = [BUILTIN],  # noqa: B006
    languages: Languages = None,
    template: Template = None,
    vector: Vector = None,
    carry: common.OtherWeights = False,
    rank: Rank = None,
    rate: Rate = _SFT.rate,
    epochs: Epochs = _SFT.epochs,
    batch: Batch = _SFT.batch,
    max_length: MaxLength = _SFT.max_length,
    held_out: HeldOut = _SFT.held_out,
    seed: int = 0,
    overwrite: Overwrite = False,
    dtype: common.Dtype = "auto",
    device: common.Device = None,
    device_map: common.DeviceMap = None,
    as_json: common.Json = False,
) -> None:
    """Supervised fine-tuning: learn the chosen answers.

    Example: `langsteer tune sft -o sft/`

    Your own records, on another model: `langsteer tune sft google/gemma-3-1b-pt -d my.jsonl -o sft/`

    With steering on: `langsteer tune sft -v vectors/ -o steered/`
    """
    options = SftOptions(
        rank=rank,
        rate=rate,
        epochs=epochs,
        batch=batch,
        max_length=max_length,
        held_out=held_out,
        seed=seed,
    )
    opened = common.open_model(model, dtype, device, device_map)
    _run(sft, opened, data, languages, out, options, vector, carry, template, overwrite, as_json)


@app.command("dpo")
def dpo_command(
    out: Out,
    model: ModelName = common.DEFAULT,
    data: Data = [BUILTIN],  # noqa: B006
    languages: Languages = None,
    template: Template = None,
    vector: Vector = None,
    carry: common.OtherWeights = False,
    beta: Annotated[
        float, typer.Option(help="The higher, the nearer to the reference it stays.")
    ] = _DPO.beta,
    rank: Rank = None,
    rate: Rate = _DPO.rate,
    epochs: Epochs = _DPO.epochs,
    batch: Batch = _DPO.batch,
    max_length: MaxLength = _DPO.max_length,
    held_out: HeldOut = _DPO.held_out,
    seed: int = 0,
    overwrite: Overwrite = False,
    dtype: common.Dtype = "auto",
    device: common.Device = None,
    device_map: common.DeviceMap = None,
    as_json: common.Json = False,
) -> None:
    """Direct preference optimisation: prefer the chosen answers to the rejected ones.

    Example, from the adapter of an SFT, which is also the reference: `langsteer tune dpo sft/ -o dpo/`
    """
    options = DpoOptions(
        rank=rank,
        rate=rate,
        epochs=epochs,
        batch=batch,
        max_length=max_length,
        held_out=held_out,
        seed=seed,
        beta=beta,
    )
    opened = common.open_model(model, dtype, device, device_map)
    _run(dpo, opened, data, languages, out, options, vector, carry, template, overwrite, as_json)


def _run(
    method: Callable[..., Tuned],
    model: Any,
    data: list[str],
    languages: str | None,
    out: Path,
    options: TuneOptions,
    vector: list[Path] | None,
    carry: bool,
    template: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    tags = common.listed(languages)
    vectors = load_vectors(vector or [])
    result = method(
        model,
        read_instructions(data, tags),
        out,
        options=options,
        vectors=[v.carried_to(model) for v in vectors] if carry else vectors,
        template=template,
        overwrite=overwrite,
    )
    if as_json:
        common.print_json(asdict(result))
        return
    console = Console(highlight=False)
    console.print(_table(result))
    seconds = f"{result.steps} steps in {result.seconds:.0f} seconds"
    kept = ", already there" if result.kept else ""
    console.print(f"{result.folder}: {seconds}{kept}", markup=False)
    if result.too_long:
        console.print(
            f"left out: {result.too_long} records of more than {options.max_length} tokens"
        )
    for used in result.vectors:
        console.print(f"steered in {used['language']}: use it with {used['file']}", markup=False)


def _table(result: Tuned) -> Table:
    """A line a language: how many records, and what was measured on those held out."""
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
