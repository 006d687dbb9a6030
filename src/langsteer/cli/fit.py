"""langsteer fit"""

from pathlib import Path
from typing import Annotated

import typer

from langsteer.cli import common
from langsteer.cli.inspect import describe, print_vector
from langsteer.corpus import ParallelCorpus
from langsteer.fitting import DEFAULT_METHOD, METHODS, learn
from langsteer.fitting.search import STRENGTHS
from langsteer.identify import available
from langsteer.readers import read_corpus


def command(
    language: Annotated[str, typer.Option("--language", "-l", help="BCP 47 tag, such as sw.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The vector's file.")],
    corpus: Annotated[
        str,
        typer.Option(
            "--corpus",
            "-c",
            help="builtin; a text, .tsv, .jsonl or .tmx file; a FLORES or NTREX folder; hf:ID.",
        ),
    ] = "builtin",
    pivot_file: Annotated[
        Path | None, typer.Option(help="The translations of a text file, line by line.")
    ] = None,
    pivot: Annotated[str, typer.Option(help="The language to align to.")] = "en",
    model: common.ModelName = common.DEFAULT,
    method: Annotated[str, typer.Option(help=f"One of {', '.join(METHODS)}.")] = DEFAULT_METHOD,
    layer: Annotated[
        list[int] | None, typer.Option(help="Layer; several times to choose among several.")
    ] = None,
    strength: Annotated[
        list[float] | None, typer.Option(help="Strength; several times to choose among several.")
    ] = None,
    seed: int = 0,
    dtype: common.Dtype = "auto",
    device: common.Device = None,
    device_map: common.DeviceMap = None,
    as_json: common.Json = False,
) -> None:
    """Learn a steering vector from parallel text and choose its layer and strength.

    Example: `langsteer fit -l sw -o sw.safetensors`

    Your own text: `langsteer fit -l sw -c my.sw --pivot-file my.en -m google/gemma-3-1b-pt -o sw.safetensors`

    An interrupted fit goes on where it stopped when the same command is run again.
    """
    text = read_corpus(corpus, [language], pivot=pivot, pivot_file=pivot_file)
    _print_checks(text)
    vector = learn(
        common.open_model(model, dtype, device, device_map),
        text,
        method=method,
        layers=layer or (),
        strengths=strength or STRENGTHS,
        checkpoint=output,
        seed=seed,
    )
    vector.save(output)
    if as_json:
        common.print_json({"file": str(output), **describe(vector)})
        return
    print_vector(vector, str(output))
    if vector.scores["divergence"] >= vector.scores["divergence_unsteered"]:
        typer.echo(
            "Steering did not bring the model nearer to how it reads English on the pairs held "
            "out: try more text, another layer or another method.",
            err=True,
        )


def _print_checks(corpus: ParallelCorpus) -> None:
    for reason, count in corpus.dropped.items():
        typer.echo(f"{corpus.name}: left out {count} lines: {reason}", err=True)
    if corpus.unidentified:
        install = "" if available() else " (pip install 'langsteer[langid]')"
        typer.echo(
            f"{corpus.name}: lines in {', '.join(corpus.unidentified)} were checked for their "
            f"script, not for their language{install}",
            err=True,
        )
