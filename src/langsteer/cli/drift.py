"""langsteer drift"""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from langsteer.analysis.drift.sentences import summary
from langsteer.analysis.drift.tables import MEXA, MOVED, version_grid
from langsteer.analysis.drift.versions import DriftOptions
from langsteer.analysis.inputs import check_languages
from langsteer.analysis.write import drift_into
from langsteer.cli import options as common
from langsteer.look.grid import Grid
from langsteer.text.corpus import BUILTIN, builtin
from langsteer.text.readers import read_corpus

_WIDE = 100  # columns that the whole table takes


def command(
    base: common.ModelArgument,
    tuned: Annotated[
        list[str] | None,
        typer.Argument(help="Versions of it, adapter folders too; NAME=PATH gives one a name."),
    ] = None,
    languages: Annotated[
        str,
        typer.Option(
            "--languages", "-l", help="Tags, with commas; else all of the built-in corpus."
        ),
    ] = "",
    corpus: common.Corpus = BUILTIN,
    pivot_file: common.PivotFile = None,
    pivot: Annotated[str, typer.Option(help="The language to compare with.")] = "en",
    lines: Annotated[
        int | None,
        typer.Option("--lines", "-n", min=8, help="Read so many lines, evenly spread."),
    ] = None,
    vector: Annotated[
        list[Path] | None,
        typer.Option(
            "--vector", "-v", help="A vector file of the base; several times for several."
        ),
    ] = None,
    vectors: Annotated[Path | None, typer.Option(help="A folder of vectors of the base.")] = None,
    layer: Annotated[
        int | None, typer.Option(help="Layer of the tables; else that of most vectors.")
    ] = None,
    gains: Annotated[
        Path | None,
        typer.Option(
            help="A JSON file {version: {language: gain}}, or a comparison's results folder."
        ),
    ] = None,
    draws: Annotated[
        int, typer.Option(min=20, help="Bootstrap samples, and random vectors.")
    ] = DriftOptions.draws,
    seed: int = 0,
    output: Annotated[
        Path, typer.Option("--out", "-o", metavar="<folder>", help="Where results go.")
    ] = Path("drift"),
    dtype: common.Dtype = "auto",
    device: common.Device = None,
    device_map: common.DeviceMap = None,
    as_json: common.Json = False,
) -> None:
    """Show what fine-tuning moved in a model's layers, and whether it moved as steering does.

    Compares a base model with versions of it (SFT, RLHF, DPO; a checkpoint or a PEFT adapter) and
    with the base steered by vectors, on the same parallel text. Writes drift.json, figures and one
    page, index.html, that needs nothing else.

    Example: `langsteer drift google/gemma-3-270m google/gemma-3-270m-it -l sw,tr,de`

    With vectors and gains: `langsteer drift gemma-3-270m sft=out/sft dpo=out/dpo --vectors vectors/ --gains gains.json`
    """
    common.quiet_libraries()
    named = common.listed(languages)
    if not named and corpus == BUILTIN:
        named = list(builtin(pivot=pivot).languages)
    text = read_corpus(
        corpus, check_languages(named, pivot) if named else [], pivot=pivot, pivot_file=pivot_file
    )
    common.print_checks(text)
    results, written = drift_into(
        output,
        base,
        list(map(_version, tuned or ())),
        text,
        vectors=[*(vector or ()), *([vectors] if vectors else ())],
        gains=gains,
        options=DriftOptions(layer=layer, lines=lines, draws=draws, seed=seed),
        dtype=dtype,
        device=device,
        device_map=device_map,
    )
    if as_json:
        common.print_json(results.as_json())
        return
    console = Console(highlight=False)
    for version in results.versions:
        title = f"{version.name}, layer {results.layer}"
        console.print(_table(version_grid(results, version), title, console.width))
        for sentence in summary(results, version):
            console.print(sentence, markup=False)
        console.print()
    for fit in results.gains:
        console.print(f"{fit.version}, {fit.source}, {fit.measure}: {fit.verdict}.", markup=False)
    for note in results.notes:
        console.print(note, markup=False)
    main = [str(path) for path in written if path.parent == output]
    console.print(f"Written: {', '.join(main)}, {output / 'figures'}/", markup=False)


def _version(text: str) -> str | tuple[str, str]:
    """A source, or a name and a source where it was given one."""
    name, equals, source = text.partition("=")
    if not equals or not name or "/" in name or Path(text).exists():
        return text
    return name, source


def _table(grid: Grid, title: str, width: int) -> Table:
    """The grid; without two of its columns where the terminal is narrow."""
    left_out = () if width >= _WIDE else (MOVED, MEXA)
    shown = [i for i, column in enumerate(grid.columns) if column.name not in left_out]
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for column in (grid.columns[i] for i in shown):
        side: Literal["left", "right"] = "right" if column.numeric else "left"
        table.add_column(column.name, justify=side, no_wrap=column.numeric)
    for line in grid.lines:
        table.add_row(*(Text(line.values[i].text) for i in shown))
    return table
