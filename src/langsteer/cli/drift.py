"""langsteer drift"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from langsteer.cli import options as shared

if TYPE_CHECKING:
    from langsteer.look.grid import Grid

DRAWS = 1000
_WIDE = 100  # columns that the whole table takes


def command(
    base: shared.ModelArgument,
    tuned: Annotated[
        list[str] | None,
        typer.Argument(help="Versions of it, adapter folders too; NAME=PATH gives one a name."),
    ] = None,
    languages: Annotated[
        list[str] | None, shared.languages("Tags, with commas; else all of the built-in corpus.")
    ] = None,
    corpus: shared.Corpus = shared.BUILTIN,
    pivot_file: shared.PivotFile = None,
    split: shared.Split = None,
    pivot: shared.Pivot = "en",
    lines: Annotated[int | None, shared.lines(8)] = None,
    vectors: Annotated[
        list[Path] | None,
        shared.vectors("A vector file of the base, or a folder of them; several times."),
    ] = None,
    layer: Annotated[
        int | None, shared.layer("Layer of the tables; else that of most vectors.")
    ] = None,
    gains: Annotated[
        Path | None,
        typer.Option(
            help="A JSON file {version: {language: gain}}, or a comparison's results folder."
        ),
    ] = None,
    draws: Annotated[
        int, typer.Option(min=20, help="Bootstrap samples, and random vectors.")
    ] = DRAWS,
    seed: shared.Seed = 0,
    output: Annotated[Path, shared.output("Where results go.", "<folder>")] = Path("drift"),
    dtype: shared.Dtype = "auto",
    device: shared.Device = None,
    device_map: shared.DeviceMap = None,
    as_json: shared.Json = False,
) -> None:
    """Show what fine-tuning moved in a model's layers, and whether it moved as steering does.

    Compares a base model with versions of it (SFT, RLHF, DPO; a checkpoint or a PEFT adapter) and
    with the base steered by vectors, on the same parallel text. Writes drift.json, figures and one
    page, index.html, that needs nothing else.

    Example: `langsteer drift google/gemma-3-270m google/gemma-3-270m-it -l sw,tr,de`

    With vectors and gains: `langsteer drift gemma-3-270m sft=out/sft dpo=out/dpo --vectors vectors/ --gains gains.json`
    """
    from langsteer.analysis.drift.sentences import summary
    from langsteer.analysis.drift.tables import version_grid
    from langsteer.analysis.drift.versions import DriftOptions
    from langsteer.analysis.inputs import check_languages
    from langsteer.analysis.write import drift_into
    from langsteer.text.corpus import builtin
    from langsteer.text.readers import read_corpus

    shared.quiet_libraries()
    named = shared.listed(languages)
    if not named and corpus == shared.BUILTIN:
        named = list(builtin(pivot=pivot).languages)
    text = read_corpus(
        corpus,
        check_languages(named, pivot) if named else [],
        pivot=pivot,
        pivot_file=pivot_file,
        split=split,
    )
    shared.print_checks(text)
    results, written = drift_into(
        output,
        base,
        list(map(_version, tuned or ())),
        text,
        vectors=vectors or [],
        gains=gains,
        options=DriftOptions(layer=layer, lines=lines, draws=draws, seed=seed),
        dtype=dtype,
        device=device,
        device_map=device_map,
    )
    if as_json:
        shared.print_json(results.as_json())
        return
    console = shared.console()
    for version in results.versions:
        title = f"{version.name}, layer {results.layer}"
        console.print(_table(version_grid(results, version), title, console.width))
        for sentence in summary(results, version):
            console.print(sentence)
        console.print()
    for fit in results.gains:
        console.print(f"{fit.version}, {fit.source}, {fit.measure}: {fit.verdict}.")
    for note in results.notes:
        console.print(note)
    main = [str(path) for path in written if path.parent == output]
    console.print(f"Written: {', '.join(main)}, {output / 'figures'}/")


def _version(text: str) -> str | tuple[str, str]:
    """A source, or a name and a source where it was given one."""
    name, equals, source = text.partition("=")
    if not equals or not name or "/" in name or Path(text).exists():
        return text
    return name, source


def _table(grid: "Grid", title: str, width: int) -> Table:
    """The grid; without two of its columns where the terminal is narrow."""
    from langsteer.analysis.drift.tables import MEXA, MOVED

    left_out = () if width >= _WIDE else (MOVED, MEXA)
    shown = [i for i, column in enumerate(grid.columns) if column.name not in left_out]
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for column in (grid.columns[i] for i in shown):
        side: Literal["left", "right"] = "right" if column.numeric else "left"
        table.add_column(column.name, justify=side, no_wrap=column.numeric)
    for line in grid.lines:
        table.add_row(*(Text(line.values[i].text) for i in shown))
    return table
