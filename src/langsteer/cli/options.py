"""Options that several commands share, and how results are printed."""

import importlib
import json
import logging
from pathlib import Path
from typing import Annotated, Any

import transformers
import typer

from langsteer.errors import MissingExtraError
from langsteer.model.model import Model
from langsteer.model.opening import DEFAULT_MODEL, load_model
from langsteer.text.corpus import ParallelCorpus
from langsteer.text.identify import available

ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="Hub id, local folder, .gguf file, or gemma-3-270m / smollm2-135m.",
    ),
]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16, float16, or auto.")]
Device = Annotated[str | None, typer.Option(help="Device, such as cpu or cuda:0.")]
DeviceMap = Annotated[
    str | None, typer.Option(help="transformers' device_map, such as auto, for several devices.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Strength = Annotated[float | None, typer.Option(help="Strength, instead of the vector's own.")]

ModelArgument = Annotated[
    str,
    typer.Argument(help="Hub id, local folder, .gguf file, or gemma-3-270m / smollm2-135m."),
]
Corpus = Annotated[
    str,
    typer.Option(
        "--corpus",
        "-c",
        help="builtin; a text, .tsv, .jsonl or .tmx file; a FLORES or NTREX folder; hf:ID.",
    ),
]
PivotFile = Annotated[
    Path | None, typer.Option(help="The translations of a text file, line by line.")
]

OtherWeights = Annotated[
    bool,
    typer.Option(
        "--carry",
        "--other-weights",
        help="Use a vector of the model that this one was tuned from, or of another like it.",
    ),
]

DEFAULT = DEFAULT_MODEL


def listed(text: str | None) -> list[str]:
    """What stands between commas."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def quiet_libraries() -> None:
    """Let libraries speak only of errors: progress and results are langsteer's to print."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name in ("lm_eval", "datasets", "httpx", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)


def needs_extra(feature: str, package: str, extra: str, module: str) -> Any:
    """A module of langsteer that needs an extra; MissingExtraError where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(feature, package, extra) from error


def open_model(name: str, dtype: str, device: str | None, device_map: str | None) -> Model:
    quiet_libraries()
    return load_model(name, dtype=dtype, device=device, device_map=device_map)


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_checks(corpus: ParallelCorpus) -> None:
    """Say on standard error which lines were left out, and what could not be checked."""
    for reason, count in corpus.dropped.items():
        typer.echo(f"{corpus.name}: left out {count} lines: {reason}", err=True)
    if corpus.unidentified:
        install = "" if available() else " (pip install 'langsteer[langid]')"
        typer.echo(
            f"{corpus.name}: lines in {', '.join(corpus.unidentified)} were checked for their "
            f"script, not for their language{install}",
            err=True,
        )
