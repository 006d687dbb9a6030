"""The numbers of an analysis, as tables."""

from collections.abc import Iterable, Sequence

from langsteer.analysis.layers.quantities import LENSES, Curves, Quantity, by_lens, curves_of
from langsteer.analysis.layers.results import Dimension, LanguageResults, LayerResults, Norms
from langsteer.look.grid import NONE, Column, Grid, Line, Value, number, number_grid, size_form
from langsteer.look.page import PageTable
from langsteer.text.languages import own_name, script_of


def language_grid(results: LayerResults) -> Grid:
    names = ("Language", "Tag", "Own name", "Script", "Layer", "Strength", "Relative", "Method",
             "Positions")  # fmt: skip
    hints = {"Relative": "Length of what was added over the mean length of the states"}
    columns = tuple(
        Column(name, numeric=name in ("Layer", "Strength", "Relative"), hint=hints.get(name, ""))
        for name in names
    )
    lines = []
    for tag, language in results.languages.items():
        texts = (language.name, tag, own_name(tag), script_of(tag))
        lines.append(Line((*map(Value, texts), *_steering(language))))
    return Grid(columns, tuple(lines))


def _steering(language: LanguageResults) -> tuple[Value, ...]:
    used = language.steering
    if used is None:
        return (Value(NONE),) * 5
    return (
        Value(str(used.layer), used.layer),
        number(used.strength, "g"),
        number(used.relative_strength, ".1%"),
        Value(used.method),
        Value(used.positions),
    )


def quantity_tables(
    results: LayerResults, quantities: Iterable[Quantity], unsteered: bool = True
) -> list[PageTable]:
    """Each quantity's numbers, a row a language and a column a layer."""
    tables = []
    for quantity in quantities:
        title = quantity.title.format(pivot=results.pivot_name)
        before = curves_of(results, quantity)
        after = curves_of(results, quantity, steered=True)
        for curves, state in ((before if unsteered else {}, "unsteered"), (after, "steered")):
            if any(curves.values()):
                caption = f"{title}, {state}, by layer"
                grid = curve_grid(curves, "Language", results.layers, quantity.form)
                tables.append(PageTable(caption, grid))
    return tables


def curve_grid(curves: Curves, heading: str, layers: int, form: str = ".2f") -> Grid:
    """A row a curve, a column a layer."""
    rows = [([name], curve) for name, curve in curves.items() if curve]
    return number_grid([heading], range(layers), rows, form)


def together_table(results: LayerResults) -> PageTable:
    rows = {"Probe accuracy": results.together_before.probe}
    rows["Variance explained"] = results.together_before.variance
    if results.together_after is not None:
        rows["Probe accuracy, steered"] = results.together_after.probe
        rows["Variance explained, steered"] = results.together_after.variance
    caption = f"All languages together, by layer (chance: {results.chance:.3f})"
    return PageTable(caption, curve_grid(rows, "Measure", results.layers, ".3f"))


def explained_table(results: LayerResults) -> PageTable:
    rows = {"Share of the variance": results.map.explained}
    return PageTable("What the two axes hold, by layer", curve_grid(rows, "Map", results.layers))


def latent_tables(results: LayerResults) -> list[PageTable]:
    tables = []
    for kind, title in (("next_token", "Next token"), ("words", "Word translation")):
        for lens, readouts in by_lens(results, kind).items():
            for part, tokens in (
                ("pivot", f"{results.pivot_name} tokens"),
                ("language", "the language's tokens"),
            ):
                rows = {name: getattr(latent, part) for name, latent in readouts.items()}
                caption = f"{title}, {LENSES.get(lens, lens)}, probability of {tokens}, unsteered, by layer"
                tables.append(
                    PageTable(caption, curve_grid(rows, "Language", results.layers, ".3f"))
                )
    return tables


def length_table(results: LayerResults) -> PageTable:
    rows = {results.pivot_name: results.pivot_norms.mean}
    rows |= {language.name: language.before.norms.mean for language in results.languages.values()}
    form = size_form(*(value for curve in rows.values() for value in curve))
    caption = "Mean length of token states, unsteered, by layer"
    return PageTable(caption, curve_grid(rows, "Language", results.layers, form))


def dimension_table(results: LayerResults) -> PageTable:
    norms: dict[str, Norms] = {results.pivot_name: results.pivot_norms}
    norms |= {language.name: language.before.norms for language in results.languages.values()}
    columns = (Column("Language", numeric=False), *(Column(str(i)) for i in range(results.layers)))
    lines = [
        Line((Value(name), *(_largest(layer) for layer in lengths.largest)))
        for name, lengths in norms.items()
    ]
    caption = "The largest dimension at each layer, and its share of the squared length"
    return PageTable(caption, Grid(columns, tuple(lines)))


def _largest(dimensions: Sequence[Dimension]) -> Value:
    if not dimensions:
        return Value(NONE)
    return Value(f"{dimensions[0].index} ({dimensions[0].share:.0%})", dimensions[0].index)
