"""Figures of an analysis, drawn from its results alone.

A language has one colour and marker in all of them. Unsteered is solid, steered dashed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from langsteer.analysis.layers import quantities as q
from langsteer.analysis.layers.quantities import Quantity
from langsteer.analysis.layers.results import (
    Curve,
    LanguageResults,
    Latent,
    Map,
    Measures,
    Results,
    Together,
)
from langsteer.look import plotting
from langsteer.look.plotting import COLOURS, INK, Figure, Looks
from langsteer.progress import track

MOST_PICTURES = 36  # of the layers, in one figure of the map
LAYER = "Layer (output of the block)"
LENSES = {"logit": "logit lens", "tuned": "tuned lens"}

_GREY = "#80868f"
_STEERED: Any = (0, (3.5, 1.8))
_BLUE, _ORANGE = COLOURS[:2]
_BY_LANGUAGE: tuple[tuple[str, tuple[Quantity, ...], str], ...] = (
    ("mexa", (q.MEXA, q.MEXA_LAST), "Share of sentences nearer to their translation in {pivot} "
     "than to any other sentence (MEXA), unsteered"),
    ("retrieval", (q.TO_PIVOT, q.FROM_PIVOT), "Share of sentences whose nearest sentence in the "
     "other language, by cosine, is their translation, unsteered"),
    ("cka", (q.CKA, q.CKA_CHANCE), "Similarity of the geometry of the same sentences in each "
     "language and in {pivot} (linear CKA), unsteered"),
    ("distance", (q.DISTANCE, q.VARIANCE), "Distance of each language's mean to {pivot}'s, over the "
     "mean length of the two means, and share of the variance of the two languages' sentences that "
     "lies between them, unsteered"),
)  # fmt: skip
_BEFORE_AFTER: tuple[tuple[str, tuple[Quantity, ...], str, str], ...] = (
    ("mexa-steered", (q.MEXA, q.MEXA_LAST), "MEXA", "MEXA"),
    ("retrieval-steered", (q.TO_PIVOT, q.FROM_PIVOT), "Share found", "Translations found"),
    ("distance-steered", (q.DISTANCE,), "Distance ÷ length", "Distance of means to {pivot}'s"),
    ("identity-steered", (q.NEAREST, q.TAKEN), "Share of sentences",
     "Sentences whose nearest language mean is {pivot}'s, and that the probe fitted on unsteered "
     "states takes for {pivot}"),
)  # fmt: skip


def draw(results: Results) -> list[Figure]:
    """All figures that the results have numbers for. Raises MissingExtraError without matplotlib."""
    with plotting.drawing("the figures", "analysis") as pyplot:
        jobs = _jobs(_Canvas(pyplot, results))
        return [job() for job in track(jobs, "Drawing", len(jobs))]


def shown_layers(layers: int) -> list[int]:
    """The layers that have a picture of the map: all, or evenly spread ones of very many."""
    if layers <= MOST_PICTURES:
        return list(range(layers))
    return sorted({round(x) for x in np.linspace(0, layers - 1, MOST_PICTURES)})


class _Canvas:
    """What all figures of some results have in common."""

    def __init__(self, pyplot: Any, results: Results) -> None:
        self.pyplot, self.results = pyplot, results
        self.names = {tag: found.name for tag, found in results.languages.items()}
        self.pivot_look = {"color": INK, "marker": "o", "markerfacecolor": "none"}
        looks = plotting.looks(list(results.languages))
        self.looks: Looks = {**looks, results.pivot: self.pivot_look}
        self.named: Looks = {
            **{self.names[tag]: look for tag, look in looks.items()},
            results.pivot_name: self.pivot_look,
        }

    def title(self, text: str) -> str:
        return text.format(pivot=self.results.pivot_name)

    def finished(self, figure: Any, name: str, caption: str) -> Figure:
        return plotting.finished(self.pyplot, figure, name, self.title(caption))


def _jobs(canvas: _Canvas) -> list[Callable[[], Figure]]:
    results = canvas.results
    jobs: list[Callable[[], Figure]] = [partial(_by_language, canvas, *one) for one in _BY_LANGUAGE]
    jobs.insert(3, partial(_cosines, canvas))
    jobs += [partial(_probe, canvas), partial(_map, canvas, steered=False)]
    if results.map.after:
        jobs.append(partial(_map, canvas, steered=True))
    for kind, title in (("next_token", "Next token"), ("words", "Word translation")):
        jobs += [partial(_latent, canvas, kind, title, lens) for lens in _lenses(results, kind)]
    if results.steered:
        jobs += [partial(_before_after, canvas, *one) for one in _BEFORE_AFTER]
    return [*jobs, partial(_norms, canvas), partial(_dimensions, canvas)]


def _lenses(results: Results, kind: str) -> list[str]:
    found = {lens for item in results.languages.values() for lens in getattr(item.before, kind)}
    return sorted(found)


# One line a language


def _by_language(
    canvas: _Canvas, name: str, quantities: Sequence[Quantity], caption: str
) -> Figure:
    languages = canvas.results.languages.values()
    every = [
        (quantity, {found.name: quantity.curve(found.before) for found in languages})
        for quantity in quantities
    ]
    known = [(quantity, curves) for quantity, curves in every if all(curves.values())]
    if any(quantity is q.CKA_CHANCE for quantity, _ in known):
        caption += ", and the same with {pivot}'s lines in another order, which is chance"
    figure, axes = _stack(canvas, len(known))
    for panel, (quantity, curves) in zip(axes, known, strict=True):
        panel.set_ylabel(canvas.title(quantity.title))
        _lines(canvas, panel, curves, quantity.share)
    return canvas.finished(figure, name, caption)


def _norms(canvas: _Canvas) -> Figure:
    results = canvas.results
    figure, axes = _stack(canvas, 2)
    norms = {results.pivot_name: results.pivot_norms}
    norms |= {found.name: found.before.norms for found in results.languages.values()}
    for panel, which in zip(axes, ("mean", "median"), strict=True):
        panel.set_ylabel(f"{which.capitalize()} length of token states")
        plotting.logarithmic(panel, "y", subs=(1, 2, 5))
        _lines(canvas, panel, {name: getattr(found, which) for name, found in norms.items()})
    caption = "Length of the token states at each layer, on a logarithmic scale, unsteered"
    return canvas.finished(figure, "norms", caption)


def _dimensions(canvas: _Canvas) -> Figure:
    norms, layers = canvas.results.pivot_norms, canvas.results.layers
    best: dict[int, float] = {}
    for found in norms.largest:
        for item in found:
            best[item.index] = max(best.get(item.index, 0.0), item.share)
    shown = sorted(best, key=lambda index: -best[index])[: len(COLOURS)]
    looks = plotting.looks([f"dimension {index}" for index in shown])
    figure, axes = _stack(canvas, 2, len(shown))
    sizes, shares = ({index: [math.nan] * layers for index in shown} for _ in range(2))
    for layer, found in enumerate(norms.largest):
        for item in found:
            if item.index in sizes:
                sizes[item.index][layer] = item.size / norms.typical_size[layer]
                shares[item.index][layer] = item.share
    axes[0].set_ylabel("Size ÷ that of the\nmedian dimension")
    plotting.logarithmic(axes[0], "y", subs=(1, 2, 5))
    axes[1].set_ylabel("Share of the squared length")
    axes[1].set_ylim(0, 1.1 * max(best.values(), default=1.0))
    for panel, values in zip(axes, (sizes, shares), strict=True):
        curves = {f"dimension {i}": tuple(curve) for i, curve in values.items()}
        _lines(canvas, panel, curves, looks=looks)
    caption = (
        f"The largest dimensions of {canvas.results.pivot_name} token states: mean absolute value "
        "over that of the median dimension, and share of the squared length; a point where the "
        f"dimension is among the {len(norms.largest[0])} largest of the layer"
    )
    return canvas.finished(figure, "dimensions", caption)


def _stack(canvas: _Canvas, count: int, names: int | None = None) -> tuple[Any, list[Any]]:
    """Panels one below the other, high enough for a line's name for each language."""
    names = len(canvas.named) if names is None else names
    height = max(2.6, 0.155 * names + 0.35)
    return plotting.panels(canvas.pyplot, count, 1, 7.4, height, sharey=False)


def _lines(
    canvas: _Canvas,
    panel: Any,
    curves: Mapping[str, Curve],
    share: bool = False,
    looks: Looks | None = None,
) -> None:
    """A line for each name, named at its end."""
    looks = canvas.named if looks is None else looks
    for name, curve in curves.items():
        style = {"markersize": 3.5, "linewidth": 1.3, **looks[name]}
        panel.plot(range(len(curve)), curve, **style)
    if share:
        panel.set_ylim(-0.03, 1.03)
    _layer_axis(panel, canvas.results.layers)
    panel.set_xlabel(LAYER if panel.get_subplotspec().is_last_row() else "")
    ends = {name: end for name, curve in curves.items() if (end := _last(curve)) is not None}
    plotting.end_labels(panel, ends, looks)


def _last(curve: Curve) -> tuple[float, float] | None:
    """The last point of a curve that is a number."""
    known = [(float(x), y) for x, y in enumerate(curve) if math.isfinite(y)]
    return known[-1] if known else None


def _layer_axis(panel: Any, layers: int, most: int = 9) -> None:
    from matplotlib.ticker import MaxNLocator

    panel.xaxis.set_major_locator(MaxNLocator(most, integer=True, min_n_ticks=1))
    panel.set_xlim(-0.3, max(layers - 0.7, 0.3))
    panel.grid(axis="y", color=INK, alpha=0.12)


# One panel a language


def _cosines(canvas: _Canvas) -> Figure:
    """1 − cosine on a logarithmic axis: where few dimensions carry the length, all are near 1."""
    caption = (
        "1 − mean cosine of the states of translations, and of sentences that are not translations, by "
        f"layer, on a logarithmic scale{_dashes(canvas)}"
    )
    named = ((q.PAIRS, "Translations"), (q.OTHERS, "Not translations"))
    away = [replace(one, title=title, curve=_away(one)) for one, title in named]
    label = "1 − mean cosine (lower: nearer)"
    languages = canvas.results.languages
    return _multiples(canvas, "cosine", away, label, caption, languages, logarithmic=True)


def _away(quantity: Quantity) -> Callable[[Measures], Curve]:
    def curve(measures: Measures) -> Curve:
        return tuple(1 - x if x < 1 else math.nan for x in quantity.curve(measures))

    return curve


def _before_after(
    canvas: _Canvas, name: str, quantities: Sequence[Quantity], label: str, caption: str
) -> Figure:
    steered = {tag: canvas.results.languages[tag] for tag in canvas.results.steered}
    caption = f"{caption}, by layer{_dashes(canvas)}"
    return _multiples(canvas, name, quantities, label, caption, steered)


def _multiples(
    canvas: _Canvas,
    name: str,
    quantities: Sequence[Quantity],
    label: str,
    caption: str,
    languages: Mapping[str, LanguageResults],
    logarithmic: bool = False,
) -> Figure:
    figure, axes = plotting.panels(canvas.pyplot, len(languages), 4)
    if logarithmic:
        plotting.logarithmic(axes[0], "y", subs=(1,))
    for panel, found in zip(axes, languages.values(), strict=True):
        for colour, quantity in zip(COLOURS, quantities, strict=False):
            _pair(panel, quantity.curve, found, colour, canvas.title(quantity.title))
        _language_panel(canvas, panel, found)
    if all(quantity.share for quantity in quantities):
        axes[0].set_ylim(-0.04, 1.04)
    _shared_labels(canvas, figure, axes, label)
    return canvas.finished(figure, name, caption)


def _pair(
    panel: Any,
    curve: Callable[[Measures], Curve],
    found: LanguageResults,
    colour: str,
    label: str,
) -> None:
    panel.plot(curve(found.before), color=colour, linewidth=1.5, label=label)
    if found.after is not None:
        panel.plot(curve(found.after), color=colour, linewidth=1.5, linestyle=_STEERED)


def _language_panel(canvas: _Canvas, panel: Any, found: LanguageResults) -> None:
    panel.set_title(found.name, fontsize=9.5, pad=3)
    _layer_axis(panel, canvas.results.layers, 6)
    if found.steering is not None:
        panel.axvline(found.steering.layer, color=INK, alpha=0.45, linewidth=0.9, linestyle=":")


def _shared_labels(canvas: _Canvas, figure: Any, axes: Sequence[Any], label: str) -> None:
    from matplotlib.lines import Line2D

    figure.supxlabel(LAYER, fontsize=10)
    figure.supylabel(label, fontsize=10)
    handles, names = axes[0].get_legend_handles_labels()
    if canvas.results.steered:
        keys: tuple[tuple[Any, str], ...] = (
            ("-", "unsteered"),
            (_STEERED, "steered"),
            (":", "layer steered at"),
        )
        handles += [Line2D([], [], color=INK, linewidth=1.2, linestyle=style) for style, _ in keys]
        names += [text for _, text in keys]
    figure.legend(handles, names, loc="outside upper center", ncols=min(len(names), 3), fontsize=9)


def _dashes(canvas: _Canvas) -> str:
    return "; dashed: steered" if canvas.results.steered else ", unsteered"


def _latent(canvas: _Canvas, kind: str, title: str, lens: str) -> Figure:
    def of(measures: Measures) -> Latent | None:
        found: Latent | None = getattr(measures, kind).get(lens)
        return found

    languages = {tag: found for tag, found in canvas.results.languages.items() if of(found.before)}
    figure, axes = plotting.panels(canvas.pyplot, len(languages), 4)
    for panel, found in zip(axes, languages.values(), strict=True):
        for measures, style in ((found.before, "-"), (found.after, _STEERED)):
            if measures is not None and (latent := of(measures)) is not None:
                _latent_lines(canvas, panel, latent, style)
        _language_panel(canvas, panel, found)
    axes[0].set_ylim(-0.04, 1.04)
    _shared_labels(canvas, figure, axes, "Share of the probability")
    caption = (
        f"{title}: where the probability goes when each layer is read out ({LENSES.get(lens, lens)})"
        f"{_dashes(canvas)}; bands: one standard error"
    )
    return canvas.finished(figure, f"{kind.replace('_', '-')}-{lens}", caption)


def _latent_lines(canvas: _Canvas, panel: Any, latent: Latent, style: Any) -> None:
    named = style == "-"
    parts = (
        (latent.pivot, latent.pivot_error, _BLUE, f"{canvas.results.pivot_name} tokens"),
        (latent.language, latent.language_error, _ORANGE, "the language’s tokens"),
        (latent.neither, None, _GREY, "neither"),
    )
    for curve, error, colour, label in parts:
        width = 1.0 if error is None else 1.5
        name = label if named else None
        panel.plot(curve, color=colour, linestyle=style, linewidth=width, label=name)
        if error is not None:
            middle, half = np.array(curve), np.array(error)
            layers = range(len(curve))
            panel.fill_between(
                layers, middle - half, middle + half, color=colour, alpha=0.2, linewidth=0
            )


# All languages at once


def _probe(canvas: _Canvas) -> Figure:
    results = canvas.results
    figure, axes = plotting.panels(canvas.pyplot, 2, 2, 8.4, 2.6, sharey=False)
    states: list[tuple[str, Together, str, Any, str]] = [
        ("unsteered", results.together_before, _BLUE, "-", "o")
    ]
    if results.together_after is not None:
        states.append(("steered", results.together_after, _ORANGE, _STEERED, "s"))
    for label, found, colour, style, marker in states:
        look = {"color": colour, "linestyle": style, "marker": marker, "markersize": 3.5}
        axes[0].plot(found.probe, label=label, **look)
        axes[1].plot(found.variance, label=label, **look)
    axes[0].axhline(
        results.chance, color=INK, linewidth=1, alpha=0.6, linestyle=":", label="chance"
    )
    axes[0].set_ylabel("Accuracy of the language probe")
    axes[1].set_ylabel("Variance that language explains")
    for panel in axes:
        panel.set_ylim(-0.03, 1.03)
        panel.set_xlabel(LAYER)
        _layer_axis(panel, results.layers)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=9
    )
    caption = (
        f"How well a linear probe tells the {len(results.languages) + 1} languages apart on held-out "
        "lines, and the share of the variance of sentence states that the language explains"
    )
    return canvas.finished(figure, "probe", caption)


def _map(canvas: _Canvas, steered: bool) -> Figure:
    found = canvas.results.map
    layers = shown_layers(canvas.results.layers)
    columns = 6 if len(layers) > 12 else 4
    figure, axes = plotting.panels(canvas.pyplot, len(layers), columns, 9.6, 1.78)
    for panel, layer in zip(axes, layers, strict=True):
        _scatter(canvas, panel, layer, steered)
        panel.set_xlim(-found.limit, found.limit)
        panel.set_ylim(-found.limit, found.limit)
        panel.set_aspect("equal")
        panel.spines[["top", "right"]].set_visible(True)
        panel.tick_params(labelsize=7, length=2)
        explained = found.explained[layer]
        share = f" ({explained:.0%})" if math.isfinite(explained) else ""
        panel.set_title(f"Layer {layer}{share}", fontsize=9, pad=3)
    _map_legend(canvas, figure, steered)
    unit = "root mean square distance of sentences from the centre = 1"
    figure.supxlabel(f"First axis ({unit})", fontsize=9)
    figure.supylabel("Second axis", fontsize=9)
    figure.set_layout_engine("constrained")
    figure.draw_without_rendering()
    for panel, layer in zip(axes, layers, strict=True):
        plotting.label_points(panel, _means(found, layer, canvas.results.pivot, steered))
    return canvas.finished(
        figure, "map-steered" if steered else "map", _map_caption(found, steered)
    )


def _map_caption(found: Map, steered: bool) -> str:
    method = {"pca": "principal components", "umap": "UMAP"}.get(found.method.lower(), found.method)
    share = (
        "; in brackets, the share of the variance that the two axes hold"
        if any(map(math.isfinite, found.explained))
        else ""
    )
    what = (
        "Language means before (hollow) and after steering (filled), and sentences after it, in the "
        "axes of the unsteered states"
        if steered
        else "Sentences (dots) and language means, unsteered"
    )
    return f"{what}: one picture a layer, the same axes throughout ({method}){share}"


def _scatter(canvas: _Canvas, panel: Any, layer: int, steered: bool) -> None:
    """Sentences as dots, in pixels; means as markers."""
    found, pivot = canvas.results.map, canvas.results.pivot
    dots = dict(found.after) | {pivot: found.before[pivot]} if steered else found.before
    points = [(tag, point) for tag, place in dots.items() for point in place.sentences[layer]]
    order = np.random.default_rng(0).permutation(len(points))
    if len(points):
        colours = [_GREY if tag == pivot else canvas.looks[tag]["color"] for tag, _ in points]
        panel.scatter(
            [points[i][1][0] for i in order],
            [points[i][1][1] for i in order],
            c=[colours[i] for i in order],
            s=4,
            alpha=0.5,
            linewidths=0,
            rasterized=True,
        )
    for tag, place in found.before.items():
        look = {"markersize": 5, "markeredgewidth": 0.9, **canvas.looks[tag]}
        if not steered or tag == pivot:
            panel.plot(*place.mean[layer], **look, zorder=4)
        elif tag in found.after:
            start, end = place.mean[layer], found.after[tag].mean[layer]
            colour = canvas.looks[tag]["color"]
            panel.plot(*zip(start, end, strict=True), color=colour, linewidth=0.9, zorder=3)
            panel.plot(*start, **look | {"markerfacecolor": "none", "zorder": 3})
            panel.plot(*end, **look, zorder=4)


def _means(found: Map, layer: int, pivot: str, steered: bool) -> dict[str, tuple[float, float]]:
    """The means that are named: of all languages, or of the steered ones and the pivot."""
    if not steered:
        return {tag: place.mean[layer] for tag, place in found.before.items()}
    after = {tag: place.mean[layer] for tag, place in found.after.items()}
    return after | {pivot: found.before[pivot].mean[layer]}


def _map_legend(canvas: _Canvas, figure: Any, steered: bool) -> None:
    from matplotlib.lines import Line2D

    found, results = canvas.results.map, canvas.results
    tags = [
        tag for tag in found.before if not steered or tag in found.after or tag == results.pivot
    ]
    handles = [
        Line2D([], [], linestyle="", markersize=5.5, **dict(canvas.looks[tag])) for tag in tags
    ]
    every = {**canvas.names, results.pivot: results.pivot_name}
    names = [f"{every[tag]} ({tag})" for tag in tags]
    figure.legend(handles, names, loc="outside upper center", ncols=5, fontsize=8.5)
