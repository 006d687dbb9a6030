"""langsteer analyze"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from langsteer.cli import options as shared

if TYPE_CHECKING:
    from langsteer.analysis.layers.results import Curve, LanguageResults, LayerResults

ITEMS = 32  # tokens, and words


def command(
    model_argument: shared.OldModelArgument = None,
    model: shared.ModelName = shared.DEFAULT_MODEL,
    languages: Annotated[
        list[str] | None, shared.languages("Tags, with commas; else those of the vectors.")
    ] = None,
    corpus: shared.Corpus = shared.BUILTIN,
    pivot_file: shared.PivotFile = None,
    split: shared.Split = None,
    pivot: shared.Pivot = "en",
    lines: Annotated[int | None, shared.lines()] = None,
    vectors: Annotated[
        list[Path] | None,
        shared.vectors("A vector file, or a folder: those of the languages; several times."),
    ] = None,
    strength: shared.Strength = None,
    tuned_lens: Annotated[
        Path | None, typer.Option(help="A tuned lens (.safetensors), beside the logit lens.")
    ] = None,
    items: Annotated[
        int, typer.Option(min=0, help="Tokens, and words, of each language to read out; 0: none.")
    ] = ITEMS,
    map_method: Annotated[
        str, shared.one_of(lambda: shared.MAPS, "--map", help="How sentences are drawn on a map.")
    ] = shared.MAPS[0],
    seed: shared.Seed = 0,
    output: Annotated[Path, shared.output("Where results go.", "<folder>")] = Path("analysis"),
    carry: shared.Carry = False,
    dtype: shared.Dtype = "auto",
    device: shared.Device = None,
    device_map: shared.DeviceMap = None,
    as_json: shared.Json = False,
) -> None:
    """Show what a model's layers make of languages, before and after steering.

    By layer: how near sentences lie to their translations, how far the language can be told, which
    language the model has in mind, and how long the states are. Writes results.json, figures and
    one page, index.html, that needs nothing else.

    Example: `langsteer analyze -l sw,tr,de`

    With vectors: `langsteer analyze -m google/gemma-3-1b-pt -c ntrex/ -n 200 --vectors vectors/ -o analysis/`
    """
    from langsteer.analysis.inputs import check_languages, vectors_for
    from langsteer.analysis.layers.analyze import AnalysisOptions
    from langsteer.analysis.layers.results import LayerResults
    from langsteer.analysis.write import analyze_into, check_output
    from langsteer.text.readers import read_corpus

    named = shared.listed(languages)
    folder = next((path for path in vectors or () if path.is_dir()), None)
    files = [path for path in vectors or () if path != folder]
    steering = vectors_for(named, files, folder)
    tags = check_languages(named or list(steering), pivot)
    text = read_corpus(corpus, tags, pivot=pivot, pivot_file=pivot_file, split=split)
    shared.print_checks(text)
    check_output(output, LayerResults)
    results, written = analyze_into(
        output,
        shared.open_model(shared.named_model(model, model_argument), dtype, device, device_map),
        text,
        steering,
        lines=lines,
        tuned_lens=tuned_lens,
        options=AnalysisOptions(
            strength=strength, other_weights=carry, items=items, map=map_method, seed=seed
        ),
    )
    if as_json:
        shared.print_json(results.as_json())
        return
    console = shared.console()
    console.print(_languages(results))
    if results.steered:
        console.print(_steered(results))
    for note in results.notes:
        console.print(note)
    console.print(f"Written: {', '.join(_places(output, written))}")


def _places(folder: Path, written: Sequence[Path]) -> list[str]:
    """The files, and in place of those in a folder of the folder its name and how many they are."""
    deep = [path.parent for path in written if path.parent != folder]
    folders = [f"{parent} ({deep.count(parent)} files)" for parent in dict.fromkeys(deep)]
    return [*(str(path) for path in written if path.parent == folder), *folders]


def _languages(results: "LayerResults") -> Table:
    pivot = results.pivot_name
    title = f"{results.model['name']}, {results.corpus['lines']} lines: best value (and its layer)"
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    table.add_column("language")
    for name in ("MEXA", "nearest is translation", f"distance to {pivot}", f"{pivot} inside"):
        table.add_column(name, justify="right")
    for tag, language in results.languages.items():
        before = language.before
        words = before.words or before.next_token
        table.add_row(
            f"{language.name} ({tag})",
            _best(before.alignment.mexa, "{:.0%}"),
            _best(before.alignment.to_pivot, "{:.0%}"),
            _best(before.identity.distance, "{:.2f}", least=True),
            _best(words["logit"].pivot, "{:.1%}") if words else "",
        )
    return table


def _steered(results: "LayerResults") -> Table:
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


def _change(language: "LanguageResults") -> Sequence[str]:
    before, after, steering = language.before, language.after, language.steering
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


def _best(curve: "Curve", form: str, least: bool = False) -> str:
    from langsteer.analysis.layers.quantities import layer_of
    from langsteer.look.grid import NONE

    layer = layer_of(min if least else max, curve)
    return NONE if layer is None else f"{form.format(curve[layer])} ({layer})"
