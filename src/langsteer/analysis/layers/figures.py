"""Figures of an analysis, drawn from its results alone.

A language has one colour and marker in all of them. Unsteered is solid, steered dashed.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from langsteer.analysis.layers import quantities as q
from langsteer.analysis.layers.canvas import (
    BLUE,
    ORANGE,
    STEERED,
    STEERED_AT,
    LayerCanvas,
    dashes,
    language_lines,
    language_panel,
    panel_by_language,
    shared_labels,
    stacked,
    steered_at,
)
from langsteer.analysis.layers.figures_of_maps import map_figure
from langsteer.analysis.layers.quantities import LENSES, Quantity
from langsteer.analysis.layers.results import Curve, Latent, LayerResults, Measures, Together
from langsteer.look import plotting
from langsteer.look.plotting import COLOURS, GREY, INK, LAYER, Figure
from langsteer.progress import track


def draw(results: LayerResults) -> list[Figure]:
    """All figures that the results have numbers for. Raises MissingExtraError without matplotlib."""
    with plotting.drawing("the figures", "analysis") as pyplot:
        jobs = _jobs(LayerCanvas(pyplot, results))
        return [job() for job in track(jobs, "Drawing", len(jobs))]


def _jobs(canvas: LayerCanvas) -> list[Callable[[], Figure]]:
    results = canvas.results
    jobs: list[Callable[[], Figure]] = [
        partial(_by_language, canvas, *figure) for figure in q.BY_LANGUAGE
    ]
    jobs.insert(3, partial(_cosines, canvas))
    jobs += [partial(_probe, canvas), partial(map_figure, canvas, steered=False)]
    if results.map.after:
        jobs.append(partial(map_figure, canvas, steered=True))
    for kind, title in (("next_token", "Next token"), ("words", "Word translation")):
        jobs += [partial(_latent, canvas, kind, title, lens) for lens in _lenses(results, kind)]
    if results.steered:
        jobs += [partial(_before_after, canvas, *figure) for figure in q.BEFORE_AFTER]
    return [*jobs, partial(_norms, canvas), partial(_dimensions, canvas)]


def _lenses(results: LayerResults, kind: str) -> list[str]:
    lenses = {
        lens for language in results.languages.values() for lens in getattr(language.before, kind)
    }
    return sorted(lenses)


def _by_language(
    canvas: LayerCanvas, name: str, quantities: Sequence[Quantity], caption: str
) -> Figure:
    languages = canvas.results.languages.values()
    every = [
        (quantity, {language.name: quantity.curve(language.before) for language in languages})
        for quantity in quantities
    ]
    known = [(quantity, curves) for quantity, curves in every if all(curves.values())]
    if any(quantity is q.CKA_CHANCE for quantity, _ in known):
        caption += ", and the same with {pivot}'s lines in another order, which is chance"
    figure, axes = stacked(canvas, len(known))
    for panel, (quantity, curves) in zip(axes, known, strict=True):
        panel.set_ylabel(canvas.title(quantity.title))
        language_lines(canvas, panel, curves, quantity.share)
    return canvas.finished(figure, name, caption)


def _norms(canvas: LayerCanvas) -> Figure:
    results = canvas.results
    figure, axes = stacked(canvas, 2)
    norms = {results.pivot_name: results.pivot_norms}
    norms |= {language.name: language.before.norms for language in results.languages.values()}
    for panel, which in zip(axes, ("mean", "median"), strict=True):
        panel.set_ylabel(f"{which.capitalize()} length of token states")
        plotting.logarithmic(panel, "y", subs=(1, 2, 5))
        language_lines(
            canvas, panel, {name: getattr(lengths, which) for name, lengths in norms.items()}
        )
    caption = "Length of the token states at each layer, on a logarithmic scale, unsteered"
    return canvas.finished(figure, "norms", caption)


def _dimensions(canvas: LayerCanvas) -> Figure:
    norms, layers = canvas.results.pivot_norms, canvas.results.layers
    best: dict[int, float] = {}
    for dimensions in norms.largest:
        for dimension in dimensions:
            best[dimension.index] = max(best.get(dimension.index, 0.0), dimension.share)
    shown = sorted(best, key=lambda index: -best[index])[: len(COLOURS)]
    looks = plotting.looks([f"dimension {index}" for index in shown])
    figure, axes = stacked(canvas, 2, len(shown))
    sizes, shares = ({index: [math.nan] * layers for index in shown} for _ in range(2))
    for layer, dimensions in enumerate(norms.largest):
        for dimension in dimensions:
            if dimension.index in sizes:
                sizes[dimension.index][layer] = dimension.size / norms.typical_size[layer]
                shares[dimension.index][layer] = dimension.share
    axes[0].set_ylabel("Size ÷ that of the\nmedian dimension")
    plotting.logarithmic(axes[0], "y", subs=(1, 2, 5))
    axes[1].set_ylabel("Share of the squared length")
    axes[1].set_ylim(0, 1.1 * max(best.values(), default=1.0))
    for panel, values in zip(axes, (sizes, shares), strict=True):
        curves = {f"dimension {i}": tuple(curve) for i, curve in values.items()}
        language_lines(canvas, panel, curves, looks=looks)
    caption = (
        f"The largest dimensions of {canvas.results.pivot_name} token states: mean absolute value "
        "over that of the median dimension, and share of the squared length; a point where the "
        f"dimension is among the {len(norms.largest[0])} largest of the layer"
    )
    return canvas.finished(figure, "dimensions", caption)


def _cosines(canvas: LayerCanvas) -> Figure:
    """1 − cosine on a logarithmic axis: where few dimensions carry the length, all are near 1."""
    caption = (
        "1 − mean cosine of the states of translations, and of sentences that are not translations, by "
        f"layer, on a logarithmic scale{dashes(canvas)}"
    )
    named = ((q.PAIRS, "Translations"), (q.OTHERS, "Not translations"))
    away = [replace(quantity, title=title, curve=_away(quantity)) for quantity, title in named]
    label = "1 − mean cosine (lower: nearer)"
    languages = canvas.results.languages
    return panel_by_language(canvas, "cosine", away, label, caption, languages, logarithmic=True)


def _away(quantity: Quantity) -> Callable[[Measures], Curve]:
    def curve(measures: Measures) -> Curve:
        return tuple(1 - cosine if cosine < 1 else math.nan for cosine in quantity.curve(measures))

    return curve


def _before_after(
    canvas: LayerCanvas, name: str, quantities: Sequence[Quantity], label: str, caption: str
) -> Figure:
    steered = {tag: canvas.results.languages[tag] for tag in canvas.results.steered}
    caption = f"{caption}, by layer{dashes(canvas)}"
    return panel_by_language(canvas, name, quantities, label, caption, steered)


def _latent(canvas: LayerCanvas, kind: str, title: str, lens: str) -> Figure:
    def of(measures: Measures) -> Latent | None:
        latent: Latent | None = getattr(measures, kind).get(lens)
        return latent

    languages = {
        tag: language for tag, language in canvas.results.languages.items() if of(language.before)
    }
    figure, axes = plotting.panels(canvas.pyplot, len(languages), 4)
    for panel, language in zip(axes, languages.values(), strict=True):
        for measures, style in ((language.before, "-"), (language.after, STEERED)):
            if measures is not None and (latent := of(measures)) is not None:
                _latent_lines(canvas, panel, latent, style)
        language_panel(canvas, panel, language)
    axes[0].set_ylim(-0.04, 1.04)
    shared_labels(canvas, figure, axes, "Share of the probability")
    caption = (
        f"{title}: where the probability goes when each layer is read out ({LENSES.get(lens, lens)})"
        f"{dashes(canvas)}; bands: one standard error"
    )
    return canvas.finished(figure, f"{kind.replace('_', '-')}-{lens}", caption)


def _latent_lines(canvas: LayerCanvas, panel: Any, latent: Latent, style: Any) -> None:
    named = style == "-"
    parts = (
        (latent.pivot, latent.pivot_error, BLUE, f"{canvas.results.pivot_name} tokens"),
        (latent.language, latent.language_error, ORANGE, "the language’s tokens"),
        (latent.neither, None, GREY, "neither"),
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


def _probe(canvas: LayerCanvas) -> Figure:
    results = canvas.results
    figure, axes = plotting.panels(canvas.pyplot, 2, 2, 8.4, 2.6, sharey=False)
    states: list[tuple[str, Together, str, Any, str]] = [
        ("unsteered", results.together_before, BLUE, "-", "o")
    ]
    if results.together_after is not None:
        states.append(("steered", results.together_after, ORANGE, STEERED, "s"))
    for label, together, colour, style, marker in states:
        look = {"color": colour, "linestyle": style, "marker": marker, "markersize": 3.5}
        axes[0].plot(together.probe, label=label, **look)
        axes[1].plot(together.variance, label=label, **look)
    axes[0].axhline(
        results.chance, color=INK, linewidth=1, alpha=0.6, linestyle=":", label="chance"
    )
    axes[0].set_ylabel("Accuracy of the language probe")
    axes[1].set_ylabel("Variance that language explains")
    for panel in axes:
        panel.set_ylim(-0.03, 1.03)
        panel.set_xlabel(LAYER)
        plotting.layer_axis(panel, results.layers)
        steered_at(panel, results.languages.values(), STEERED_AT)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=9
    )
    caption = (
        f"How well a linear probe tells the {len(results.languages) + 1} languages apart on held-out "
        "lines, and the share of the variance of sentence states that the language explains"
    )
    return canvas.finished(figure, "probe", caption)
