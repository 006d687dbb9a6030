"""The page of an analysis: its figures, its numbers as tables, and how to read them.

Everything is made of the results, so a page can be made again of results.json alone.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import langcodes

from langsteer.analysis.layers import quantities as q
from langsteer.analysis.layers.figures import LENSES, draw
from langsteer.analysis.layers.quantities import Quantity
from langsteer.analysis.layers.results import (
    Curve,
    Dimension,
    LanguageResults,
    Latent,
    Measures,
    Norms,
    Results,
)
from langsteer.look.grid import NONE, Column, Grid, Line, Value, number, size_form
from langsteer.look.page import PageTable, Section, render_page
from langsteer.look.plotting import Figure
from langsteer.storage.files import write_together
from langsteer.text.languages import script_of

Curves = Mapping[str, Curve]


def write_report(results: Results, folder: str | Path) -> list[Path]:
    """Write index.html, one page that needs nothing else, and figures/NAME.{png,svg,pdf}.

    All files or none. Raises MissingExtraError without matplotlib or jinja2, and SaveError.
    """
    figures = draw(results)
    contents: dict[str, bytes | str] = {}
    for figure in figures:
        contents[f"figures/{figure.name}.png"] = figure.png
        contents[f"figures/{figure.name}.svg"] = figure.svg_file
        contents[f"figures/{figure.name}.pdf"] = figure.pdf
    contents["index.html"] = page_of(results, figures)
    return write_together(folder, contents)


def page_of(results: Results, figures: Sequence[Figure]) -> str:
    """The page as HTML."""
    name, corpus = results.model.get("name", "the model"), results.corpus
    lead = (
        f"{len(results.languages)} languages against {results.pivot_name}, {results.layers} layers, "
        f"{corpus.get('lines')} lines of {corpus.get('name')}. Made by langsteer {results.version}.",
        "Layers are counted from 0. A state is the residual stream at a block's output, before any "
        "final norm; a sentence's is the mean of its tokens' states unless said otherwise.",
    )
    configuration = {
        part: json.dumps(getattr(results, part), indent=2, ensure_ascii=False)
        for part in ("model", "corpus", "options", "seconds")
    }
    return render_page(
        f"What the layers of {name} do", sections(results, figures), configuration, lead
    )


def sections(results: Results, figures: Sequence[Figure]) -> list[Section]:
    """The parts of the page."""
    named = {figure.name: figure for figure in figures}

    def pick(*names: str) -> list[Figure]:
        return [named[name] for name in names if name in named]

    latent = [name for name in named if name.startswith(("next-token-", "words-"))]
    steered = [name for name in named if name.endswith("-steered")]
    found = [
        Section(
            "Languages",
            results.notes,
            tables=[PageTable("The languages, and what they were steered with", _languages(results),
                              folded=False)],
        ),
        Section(
            f"Alignment with {results.pivot_name}",
            _alignment_text(results),
            pick("mexa", "retrieval", "cosine", "cka"),
            _tables(results, (q.MEXA, q.MEXA_LAST, q.TO_PIVOT, q.FROM_PIVOT, q.PAIRS, q.OTHERS,
                              q.CKA, q.CKA_CHANCE)),
            _READING["alignment"],
        ),
        Section(
            "Telling the languages apart",
            _identity_text(results),
            pick("probe", "distance"),
            [_together(results), *_tables(results, (q.DISTANCE, q.VARIANCE, q.RECOGNISED, q.NEAREST,
                                                    q.TAKEN))],
            _READING["identity"],
        ),
        Section("The map, layer by layer", _map_text(results), pick("map"), [_explained(results)],
                _READING["map"]),
        Section("The language inside", _latent_text(results), pick(*latent), _latents(results),
                _READING["latent"]),
        Section("What steering changes", _steering_text(results), pick(*steered),
                _tables(results, (q.DISTANCE_SHARE,), unsteered=False), _READING["steering"]),
        Section("Norms and massive dimensions", _norms_text(results), pick("norms", "dimensions"),
                [_lengths(results), _dimensions(results)], _READING["norms"]),
    ]  # fmt: skip
    return [part for part in found if part.figures or part.title == "Languages"]


_READING: dict[str, tuple[str, ...]] = {
    "alignment": (
        "MEXA is the share of sentences that are nearer, by cosine, to their translation than to any other "
        "sentence of either language. It falls as lines are added, since each has more rivals: compare "
        "runs with the same lines only. A high value shows that like meanings lie close, not that the "
        "model uses it.",
        "Cosines are drawn as 1 − cosine, on a logarithmic scale: where a few dimensions carry most of the "
        "length, all cosines are near 1. Those of translations mean something beside those of sentences "
        "that are not.",
        "CKA compares the geometry of two sets of states up to rotation, shift and scale. For fewer lines "
        "than dimensions it is well above 0 for unrelated states too: the lower picture, with the pivot's "
        "lines in another order, is what chance gives.",
    ),
    "identity": (
        "The probe is a logistic regression that is asked about lines it has seen in no language. That it can "
        "tell a language shows that the language is written in the states, not that the model acts on it: "
        "with many dimensions it finds what takes up very little. The variance says how little.",
        "The distance of means is over the mean length of the two means: 0 where they are the same.",
    ),
    "map": (
        "Each picture shows two directions of many. The share in brackets is how much of the variance the "
        "two hold: what lies elsewhere is not seen, and two languages that lie on each other here may be "
        "far apart. Scales are relative to the layer: that states grow from layer to layer is not shown.",
    ),
    "latent": (
        "Each layer's states are read out as if they were the last layer's: how much probability goes to "
        "tokens that are surely the pivot's, to tokens that are surely the language's, and to neither. "
        "Words that both languages write alike count as neither.",
        "The logit lens is rough, most of all in lower layers: what a layer holds in another form than the "
        "head reads is not seen. That English comes first in the middle layers does not show that the "
        "model thinks in English.",
    ),
    "steering": (
        "Solid: unsteered, dashed: steered. At the vector's layer the states are those after the addition; "
        "below it nothing changes. Where a dashed line falls back to the solid one, the layers above undo "
        "what the vector did.",
        "A vector moves all states of a language alike: it can bring means together, and cannot bring single "
        "sentences nearer to their own translations than to others' except by way of the mean.",
        "That states move towards the pivot does not show that answers get better: measure it with "
        "langsteer evaluate.",
    ),
    "norms": (
        "A strength means something only against the length of the states at its layer. Lengths and cosines "
        "may be decided by few dimensions: the lower figure shows which, for the pivot, and how much of the "
        "squared length they hold.",
    ),
}  # fmt: skip


# Sentences


def _alignment_text(results: Results) -> list[str]:
    curves = _curves(results, q.MEXA)
    mean = _mean(curves.values())
    best = _arg(max, mean)
    if best is None:
        return []
    at = {name: curve[best] for name, curve in curves.items() if math.isfinite(curve[best])}
    low, high = min(at, key=at.__getitem__), max(at, key=at.__getitem__)
    spread = f", from {at[low]:.0%} ({low}) to {at[high]:.0%} ({high})" if len(at) > 1 else ""
    return [
        f"MEXA with {results.pivot_name} is highest at layer {best}: {mean[best]:.0%} on average over "
        f"the languages{spread}. At the last layer it is {mean[-1]:.0%}."
    ]


def _identity_text(results: Results) -> list[str]:
    together, chance = results.together_before, results.chance
    sentences = []
    low, high = _arg(min, together.probe), _arg(max, together.probe)
    if low is not None and high is not None:
        sentences.append(
            f"The probe tells the {len(results.languages) + 1} languages apart with an accuracy between "
            f"{together.probe[low]:.0%} (layer {low}) and {together.probe[high]:.0%} (layer {high}); "
            f"guessing gives {chance:.0%}."
        )
    low, high = _arg(min, together.variance), _arg(max, together.variance)
    if low is not None and high is not None:
        sentences.append(
            f"The language explains between {together.variance[low]:.0%} (layer {low}) and "
            f"{together.variance[high]:.0%} (layer {high}) of the variance of sentences."
        )
    mean = _mean(_curves(results, q.DISTANCE).values())
    near = _arg(min, mean)
    if near is not None:
        sentences.append(
            f"The languages' means are nearest to {results.pivot_name}'s at layer {near}: a distance of "
            f"{mean[near]:.2f} of the means' length, on average."
        )
    return sentences


def _map_text(results: Results) -> list[str]:
    explained = results.map.explained
    low, high = _arg(min, explained), _arg(max, explained)
    if low is None or high is None:
        return []
    return [
        f"The two axes hold between {explained[low]:.0%} (layer {low}) and {explained[high]:.0%} "
        f"(layer {high}) of the variance of the sentences."
    ]


def _latent_text(results: Results) -> list[str]:
    sentences = []
    for kind, title in (
        ("words", "Translating words"),
        ("next_token", "Predicting the next token"),
    ):
        for lens, found in _by_lens(results, kind).items():
            pivot = _mean(item.pivot for item in found.values())
            language = _mean(item.language for item in found.values())
            best = _arg(max, pivot)
            if best is None:
                continue
            sentences.append(
                f"{title}, {LENSES.get(lens, lens)}: {results.pivot_name} tokens get the most at layer "
                f"{best}, {pivot[best]:.1%} on average over {len(found)} "
                f"{'language' if len(found) == 1 else 'languages'}, where the language's own get "
                f"{language[best]:.1%}; at the last layer they get {pivot[-1]:.1%} and "
                f"{language[-1]:.1%}."
            )
    return sentences


def _steering_text(results: Results) -> list[str]:
    left = {
        found.name: found.after.identity.distance_share
        for found in results.languages.values()
        if found.after is not None
    }
    if not left:
        return []
    last = [curve[-1] for curve in left.values() if math.isfinite(curve[-1])]
    nearer = sum(1 for share in last if share < 1)
    mexa = [
        found.after.alignment.mexa[-1] - found.before.alignment.mexa[-1]
        for found in results.languages.values()
        if found.after is not None
    ]
    sentences = []
    if last:
        sentences.append(
            f"At the last layer, steering has brought the means of {nearer} of {len(last)} languages "
            f"nearer to {results.pivot_name}'s; what is left of the distance is "
            f"{sum(last) / len(last):.0%} on average."
        )
    if all(map(math.isfinite, mexa)):
        sentences.append(
            f"MEXA at the last layer changes by {_signed(100 * sum(mexa) / len(mexa))} points on average."
        )
    return sentences


def _norms_text(results: Results) -> list[str]:
    norms = results.pivot_norms
    form = size_form(norms.mean[0], norms.mean[-1])
    where = [
        (item.share, layer, item.index)
        for layer, found in enumerate(norms.largest)
        for item in found
        if math.isfinite(item.share)
    ]
    sentences = [
        f"The mean length of {results.pivot_name} token states goes from {norms.mean[0]:{form}} at layer 0 "
        f"to {norms.mean[-1]:{form}} at layer {results.layers - 1}."
    ]
    if where:
        share, layer, index = max(where)
        sentences.append(
            f"The most that one dimension holds of the squared length is {share:.0%}: dimension {index} "
            f"at layer {layer}."
        )
    return sentences


# Tables


def _languages(results: Results) -> Grid:
    names = ("Language", "Tag", "Own name", "Script", "Layer", "Strength", "Relative", "Method",
             "Positions")  # fmt: skip
    hints = {"Relative": "Length of what was added over the mean length of the states"}
    columns = tuple(
        Column(name, numeric=name in ("Layer", "Strength", "Relative"), hint=hints.get(name, ""))
        for name in names
    )
    lines = []
    for tag, found in results.languages.items():
        texts = (found.name, tag, own_name(tag), script_of(tag))
        lines.append(Line((*map(Value, texts), *_steering(found))))
    return Grid(columns, tuple(lines))


def own_name(tag: str) -> str:
    """A language's name in itself."""
    return langcodes.Language.get(tag).autonym()


def _steering(found: LanguageResults) -> tuple[Value, ...]:
    used = found.steering
    if used is None:
        return (Value(NONE),) * 5
    return (
        Value(str(used.layer), used.layer),
        number(used.strength, "g"),
        number(used.relative_strength, ".1%"),
        Value(used.method),
        Value(used.positions),
    )


def _tables(
    results: Results, quantities: Iterable[Quantity], unsteered: bool = True
) -> list[PageTable]:
    """Each quantity's numbers, a row a language and a column a layer."""
    tables = []
    for quantity in quantities:
        title = quantity.title.format(pivot=results.pivot_name)
        before = _curves(results, quantity)
        after = _curves(results, quantity, steered=True)
        for curves, state in ((before if unsteered else {}, "unsteered"), (after, "steered")):
            if any(curves.values()):
                caption = f"{title}, {state}, by layer"
                grid = curve_grid(curves, "Language", results.layers, quantity.form)
                tables.append(PageTable(caption, grid))
    return tables


def curve_grid(curves: Curves, what: str, layers: int, form: str = ".2f") -> Grid:
    """A row a curve, a column a layer."""
    columns = (Column(what, numeric=False), *(Column(str(layer)) for layer in range(layers)))
    lines = [
        Line((Value(name), *(number(value, form) for value in curve)))
        for name, curve in curves.items()
        if curve
    ]
    return Grid(columns, tuple(lines))


def _together(results: Results) -> PageTable:
    rows = {"Probe accuracy": results.together_before.probe}
    rows["Variance explained"] = results.together_before.variance
    if results.together_after is not None:
        rows["Probe accuracy, steered"] = results.together_after.probe
        rows["Variance explained, steered"] = results.together_after.variance
    caption = f"All languages together, by layer (chance: {results.chance:.3f})"
    return PageTable(caption, curve_grid(rows, "Measure", results.layers, ".3f"))


def _explained(results: Results) -> PageTable:
    rows = {"Share of the variance": results.map.explained}
    return PageTable("What the two axes hold, by layer", curve_grid(rows, "Map", results.layers))


def _latents(results: Results) -> list[PageTable]:
    tables = []
    for kind, title in (("next_token", "Next token"), ("words", "Word translation")):
        for lens, found in _by_lens(results, kind).items():
            for part, what in (
                ("pivot", f"{results.pivot_name} tokens"),
                ("language", "the language's tokens"),
            ):
                rows = {name: getattr(item, part) for name, item in found.items()}
                caption = (
                    f"{title}, {LENSES.get(lens, lens)}, probability of {what}, unsteered, by layer"
                )
                tables.append(
                    PageTable(caption, curve_grid(rows, "Language", results.layers, ".3f"))
                )
    return tables


def _lengths(results: Results) -> PageTable:
    rows = {results.pivot_name: results.pivot_norms.mean}
    rows |= {found.name: found.before.norms.mean for found in results.languages.values()}
    form = size_form(*(value for curve in rows.values() for value in curve))
    caption = "Mean length of token states, unsteered, by layer"
    return PageTable(caption, curve_grid(rows, "Language", results.layers, form))


def _dimensions(results: Results) -> PageTable:
    norms: dict[str, Norms] = {results.pivot_name: results.pivot_norms}
    norms |= {found.name: found.before.norms for found in results.languages.values()}
    columns = (Column("Language", numeric=False), *(Column(str(i)) for i in range(results.layers)))
    lines = [
        Line((Value(name), *(_largest(layer) for layer in found.largest)))
        for name, found in norms.items()
    ]
    caption = "The largest dimension at each layer, and its share of the squared length"
    return PageTable(caption, Grid(columns, tuple(lines)))


def _largest(found: Sequence[Dimension]) -> Value:
    if not found:
        return Value(NONE)
    return Value(f"{found[0].index} ({found[0].share:.0%})", found[0].index)


# Curves


def _curves(results: Results, quantity: Quantity, steered: bool = False) -> Curves:
    found: dict[str, Curve] = {}
    for item in results.languages.values():
        measures: Measures | None = item.after if steered else item.before
        if measures is not None:
            found[item.name] = quantity.curve(measures)
    return found


def _by_lens(results: Results, kind: str) -> dict[str, dict[str, Latent]]:
    """What was read out, by lens and language."""
    found: dict[str, dict[str, Latent]] = {}
    for item in results.languages.values():
        for lens, latent in getattr(item.before, kind).items():
            found.setdefault(lens, {})[item.name] = latent
    return found


def _mean(curves: Iterable[Curve]) -> Curve:
    """The mean of curves at each layer, over those that are numbers there."""
    columns = zip(*(curve for curve in curves if curve), strict=True)
    known = [[value for value in column if math.isfinite(value)] for column in columns]
    return tuple(sum(column) / len(column) if column else math.nan for column in known)


def _arg(choose: Callable[..., int], curve: Curve) -> int | None:
    """The layer with the least (`min`) or greatest (`max`) number, None where there is none."""
    known = [layer for layer, value in enumerate(curve) if math.isfinite(value)]
    return choose(known, key=curve.__getitem__) if known else None


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")
