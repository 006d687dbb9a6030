"""langsteer analyze"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from langsteer.analysis.inputs import check_languages, vectors_for
from langsteer.analysis.layers.analyze import AnalysisOptions
from langsteer.analysis.layers.results import Curve, LanguageResults, LayerResults
from langsteer.analysis.write import analyze_into
from langsteer.cli import options as common
from langsteer.text.readers import read_corpus


def command(
    model: common.ModelArgument = common.DEFAULT,
    languages: Annotated[
        str, typer.Option("--languages", "-l", help="Tags, with commas; else those of the vectors.")
    ] = "",
    corpus: common.Corpus = "builtin",
    pivot_file: common.PivotFile = None,
    pivot: Annotated[str, typer.Option(help="The language to compare with.")] = "en",
    lines: Annotated[
        int | None, typer.Option("--lines", "-n", help="Read so many lines, evenly spread.")
    ] = None,
    vector: Annotated[
        list[Path] | None,
        typer.Option("--vector", "-v", help="A vector file; several times for several languages."),
    ] = None,
    vectors: Annotated[
        Path | None, typer.Option(help="A folder of vectors; those of the languages are used.")
    ] = None,
    strength: common.Strength = None,
    tuned_lens: Annotated[
        Path | None, typer.Option(help="A tuned lens (.safetensors), beside the logit lens.")
    ] = None,
    items: Annotated[
        int, typer.Option(min=0, help="Tokens, and words, of each language to read out; 0: none.")
    ] = AnalysisOptions.items,
    map_method: Annotated[str, typer.Option("--map", help="pca, or umap.")] = AnalysisOptions.map,
    seed: int = 0,
    output: Annotated[
        Path, typer.Option("--out", "-o", metavar="<folder>", help="Where results go.")
    ] = Path("analysis"),
    other_weights: common.OtherWeights = False,
    dtype: common.Dtype = "auto",
    device: common.Device = None,
    device_map: common.DeviceMap = None,
    as_json: common.Json = False,
) -> None:
    """Show what a model's layers make of languages, before and after steering.

    By layer: how near sentences lie to their translations, how far the language can be told, which
    language the model has in mind, and how long the states are. Writes results.json, figures and
    one page, index.html, that needs nothing else.

    Example: `langsteer analyze -l sw,tr,de`

    With vectors: `langsteer analyze google/gemma-3-1b-pt -c ntrex/ -n 200 --vectors vectors/ -o analysis/`
    """
    named = common.listed(languages)
    found = vectors_for(named, vector or (), vectors)
    tags = check_languages(named or list(found), pivot)
    text = read_corpus(corpus, tags, pivot=pivot, pivot_file=pivot_file)
    common.print_checks(text)
    results, written = analyze_into(
        output,
        common.open_model(model, dtype, device, device_map),
        text,
        found,
        lines=lines,
        tuned_lens=tuned_lens,
        options=AnalysisOptions(
            strength=strength, other_weights=other_weights, items=items, map=map_method, seed=seed
        ),
    )
    if as_json:
        common.print_json(results.as_json())
        return
    console = Console(highlight=False)
    console.print(_languages(results))
    if results.steered:
        console.print(_steered(results))
    for note in results.notes:
        console.print(note, markup=False)
    console.print(f"Written: {', '.join(_places(output, written))}", markup=False)


def _places(folder: Path, written: Sequence[Path]) -> list[str]:
    """The files, and in place of those in a folder of the folder its name and how many they are."""
    deep = [path.parent for path in written if path.parent != folder]
    folders = [f"{parent} ({deep.count(parent)} files)" for parent in dict.fromkeys(deep)]
    return [*(str(path) for path in written if path.parent == folder), *folders]


def _languages(results: LayerResults) -> Table:
    pivot = results.pivot_name
    title = f"{results.model['name']}, {results.corpus['lines']} lines: best value (and its layer)"
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    table.add_column("language")
    for name in ("MEXA", "nearest is translation", f"distance to {pivot}", f"{pivot} inside"):
        table.add_column(name, justify="right")
    for tag, found in results.languages.items():
        before = found.before
        words = before.words or before.next_token
        table.add_row(
            f"{found.name} ({tag})",
            _best(before.alignment.mexa, "{:.0%}"),
            _best(before.alignment.to_pivot, "{:.0%}"),
            _best(before.identity.distance, "{:.2f}", least=True),
            _best(words["logit"].pivot, "{:.1%}") if words else "",
        )
    return table


def _steered(results: LayerResults) -> Table:
    pivot = results.pivot_name
    table = Table(title="Steered", title_justify="left", box=box.SIMPLE)
    table.add_column("language")
    for name in (
        "layer",
        "distance left there",
        "in the last layer",
        f"nearest mean is {pivot}'s",
        "mean MEXA",
    ):
        table.add_column(name, justify="right")
    for tag in results.steered:
        table.add_row(f"{results.languages[tag].name} ({tag})", *_change(results.languages[tag]))
    return table


def _change(found: LanguageResults) -> Sequence[str]:
    before, after, steering = found.before, found.after, found.steering
    if after is None or steering is None:
        return ()
    layer, mexa = steering.layer, (before.alignment.mexa, after.alignment.mexa)
    nearest = before.identity.nearest_pivot[layer], after.identity.nearest_pivot[layer]
    return (
        str(layer),
        f"{after.identity.distance_share[layer]:.0%}",
        f"{after.identity.distance_share[-1]:.0%}",
        f"{nearest[0]:.0%} → {nearest[1]:.0%}",
        " → ".join(f"{sum(curve) / len(curve):.1%}" for curve in mexa),
    )


def _best(curve: Curve, form: str, least: bool = False) -> str:
    choose = min if least else max
    known = [layer for layer, value in enumerate(curve) if value == value]
    if not known:
        return "–"
    layer = choose(known, key=curve.__getitem__)
    return f"{form.format(curve[layer])} ({layer})"
