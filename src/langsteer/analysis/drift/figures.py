"""Figures of what training moved, drawn from the results alone.

A version has one colour and marker in all of them; the base is in the colour of the text.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from langsteer.analysis.drift.canvas import (
    WIDTH,
    DriftCanvas,
    array_of,
    band,
    language_lines,
    language_map,
    language_mean,
    legend,
    wrapped,
)
from langsteer.analysis.drift.figures_of_directions import (
    cosines_figure,
    crossed_figure,
    direction,
    direction_languages,
    matrix_figure,
    span_figure,
)
from langsteer.analysis.drift.figures_of_gains import gains_figure
from langsteer.analysis.drift.results import Curve, Drift, Nearness, VersionDrift
from langsteer.look import plotting
from langsteer.look.plotting import COLOURS, GREY, INK, LAYER, Figure
from langsteer.look.words import counted

_ALIKE = 8  # how many times the least of several scales the greatest may be
_BASE: dict[str, Any] = {"color": INK, "marker": "o", "markerfacecolor": "none"}
Panel = Callable[[Any, VersionDrift], None]


def draw(drift: Drift) -> list[Figure]:
    """All figures that the results have numbers for. Raises MissingExtraError without matplotlib."""
    with plotting.drawing("the figures", "analysis") as pyplot:
        canvas = DriftCanvas(pyplot, drift)
        jobs: list[Callable[[], Figure]] = [
            partial(job, canvas)
            for job in (
                *(_alignment, _alignment_languages, _movement, _movement_languages),
                *(direction, direction_languages, crossed_figure, cosines_figure, span_figure),
                *(_similarity, _similarity_languages),
            )
        ]
        if len(drift.languages) > 1:
            jobs.append(partial(matrix_figure, canvas))
        if drift.pairs:
            jobs.append(partial(_pairs, canvas))
        sources = dict.fromkeys(fit.source for fit in drift.gains)
        jobs += [partial(gains_figure, canvas, source) for source in sources]
        return [job() for job in jobs]


def _alignment(canvas: DriftCanvas) -> Figure:
    drift = canvas.drift
    titles = ("MEXA", "Cosine: translations less others", "Linear CKA")
    figure, axes = plotting.panels(canvas.pyplot, 3, 3, WIDTH, 2.7, sharey=False)
    for name, look, alignment in _every_alignment(canvas):
        style = {"markersize": 3.5, "linewidth": 1.4, **look}
        curves = zip(*(_three(alignment[tag]) for tag in canvas.shared), strict=True)
        for panel, many in zip(axes, curves, strict=True):
            panel.plot(canvas.layers, language_mean(array_of(many)), label=name, **style)
    for panel, title in zip(axes, titles, strict=True):
        panel.set_title(title, fontsize=10, pad=5)
        canvas.layer_axis(panel)
        canvas.mark_layer(panel)
    for panel in (axes[0], axes[2]):
        panel.set_ylim(-0.03, 1.03)
    figure.supxlabel(LAYER, fontsize=10)
    legend(figure, axes[0])
    count = len(canvas.shared)
    caption = (
        f"Alignment with {{pivot}} by layer, the mean over {counted(count, 'language')}: share of sentences nearer to their "
        "translation than to any other (MEXA), mean cosine of translations less that of other "
        "sentences, and likeness of geometry (linear CKA); dotted: the layer that tables show"
        + ("" if count == len(drift.languages) else "; only languages that all versions have")
    )
    return canvas.finished(figure, "alignment", caption)


def _three(nearness: Nearness) -> tuple[Curve, Curve, Curve]:
    pairs = zip(nearness.pair_cosine, nearness.other_cosine, strict=True)
    return nearness.mexa, tuple(pair - other for pair, other in pairs), nearness.cka


def _every_alignment(
    canvas: DriftCanvas,
) -> list[tuple[str, Mapping[str, Any], Mapping[str, Nearness]]]:
    every: list[tuple[str, Mapping[str, Any], Mapping[str, Nearness]]] = [
        ("base", _BASE, canvas.drift.alignment)
    ]
    for version in canvas.drift.versions:
        alignment = {tag: language.alignment for tag, language in version.languages.items()}
        every.append((version.name, canvas.looks[version.name], alignment))
    return every


def _alignment_languages(canvas: DriftCanvas) -> Figure:
    languages = canvas.drift.languages
    figure, axes = plotting.panels(canvas.pyplot, len(languages), 4, WIDTH, 1.6)
    for panel, (tag, name) in zip(axes, languages.items(), strict=True):
        for label, look, alignment in _every_alignment(canvas):
            style = {"markersize": 2.5, "linewidth": 1.2, "label": label, **look}
            if tag in alignment:
                panel.plot(canvas.layers, alignment[tag].mexa, **style)
        panel.set_title(name, fontsize=9.5, pad=3)
        canvas.layer_axis(panel)
    axes[0].set_ylim(-0.04, 1.04)
    figure.supxlabel(LAYER, fontsize=10)
    figure.supylabel("MEXA", fontsize=10)
    fullest = max(axes, key=lambda panel: len(panel.get_legend_handles_labels()[0]))
    legend(figure, fullest)
    caption = (
        "Share of each language's sentences that are nearer to their translation in {pivot} than "
        "to any other sentence (MEXA), by layer, in the base and in each version"
    )
    return canvas.finished(figure, "alignment-languages", caption)


def _movement(canvas: DriftCanvas) -> Figure:
    tops = [_longest(version) for version in canvas.drift.versions]
    alike = min(tops) > 0 and max(tops) / min(tops) < _ALIKE
    figure, axes = canvas.panels(2.6, share_y=alike)
    pivot = canvas.drift.pivot_name
    for panel, version, top in zip(axes, canvas.drift.versions, tops, strict=True):
        _movement_panel(canvas, panel, version, pivot)
        panel.set_ylim(0, 1.05 * (max(tops) if alike else top) or 1)
    figure.supylabel("Displacement ÷ length of states (%)", fontsize=10)
    figure.supxlabel(LAYER, fontsize=10)
    legend(figure, axes[0])
    caption = (
        "How far mean states moved from the base, in per cent of their length: all of the "
        "displacement, what is left of it without that of {pivot}, {pivot}'s own, and what the "
        "sampling of sentences alone would look like; means over languages, and the range of the "
        "languages' own displacements" + ("" if alike else "; the panels' scales differ")
    )
    return canvas.finished(figure, "movement", caption)


def _longest(version: VersionDrift) -> float:
    """The greatest displacement that its panel shows, in per cent."""
    movements = [movement.movement for movement in version.languages.values()]
    every = array_of(
        [
            *(movement.own for movement in movements),
            *(movement.raw for movement in movements),
            version.pivot.raw,
        ]
    )
    return 100 * float(np.nanmax(every, initial=0.0))


def _movement_panel(canvas: DriftCanvas, panel: Any, version: VersionDrift, pivot: str) -> None:
    movements = [movement.movement for movement in version.languages.values()]
    own, raw, noise = (
        100 * array_of(getattr(movement, name) for movement in movements)
        for name in ("own", "raw", "noise")
    )
    band(panel, canvas.layers, own, color=COLOURS[0], alpha=0.18)
    styles = (
        (language_mean(raw), "all", {"color": GREY, "linestyle": "-"}),
        (language_mean(own), f"own (without {pivot}'s)", {"color": COLOURS[0], "linewidth": 2.0}),
        (100 * np.array(version.pivot.raw), f"{pivot}", {"color": COLOURS[1], "linestyle": "--"}),
        (language_mean(noise), "sampling", {"color": INK, "linestyle": ":", "linewidth": 1.0}),
    )
    for curve, label, style in styles:
        panel.plot(canvas.layers, curve, label=label, **style)
    canvas.layer_axis(panel)
    canvas.mark_layer(panel)


def _movement_languages(canvas: DriftCanvas) -> Figure:
    caption = (
        "How far each language moved from the base by itself, without {pivot}'s displacement, in "
        "per cent of the length of its states, by layer"
    )
    return language_map(
        canvas,
        "movement-languages",
        caption,
        lambda language: 100 * np.array(language.movement.own),
        "Own displacement (%)",
    )


def _similarity(canvas: DriftCanvas) -> Figure:
    figure, axes = plotting.panels(canvas.pyplot, 2, 2, WIDTH, 2.7, sharey=False)
    for version in canvas.drift.versions:
        look = canvas.looks[version.name]
        for panel, name in zip(axes, ("cka", "cosine"), strict=True):
            values = array_of(
                getattr(language.similarity, name) for language in version.languages.values()
            )
            band(panel, canvas.layers, values, color=look["color"], alpha=0.15)
            style = {"markersize": 3.5, "linewidth": 1.4, "label": version.name, **look}
            panel.plot(canvas.layers, language_mean(values), **style)
            pivot = getattr(version.pivot.similarity, name)
            panel.plot(canvas.layers, pivot, color=look["color"], linestyle=":", linewidth=1.2)
    for panel, title in zip(axes, ("Linear CKA", "Mean cosine of a sentence"), strict=True):
        panel.set_title(title, fontsize=10, pad=5)
        canvas.layer_axis(panel)
        panel.ticklabel_format(axis="y", useOffset=False)
    figure.supxlabel(LAYER, fontsize=10)
    legend(figure, axes[0])
    caption = (
        "Likeness of the states of the same sentences in the base and in each version: mean and "
        "range over languages; dotted: {pivot}"
    )
    return canvas.finished(figure, "similarity", caption)


def _similarity_languages(canvas: DriftCanvas) -> Figure:
    caption = (
        "What each version changed in the geometry of each language's sentences: 1 less the linear "
        "CKA with the base, by layer"
    )
    return language_map(
        canvas,
        "similarity-languages",
        caption,
        lambda language: np.maximum(0.0, 1 - np.array(language.similarity.cka)),
        "1 − CKA",
    )


def _pairs(canvas: DriftCanvas) -> Figure:
    figure, axes = plotting.panels(canvas.pyplot, len(canvas.drift.pairs), 3, WIDTH, 2.4)
    for panel, pair in zip(axes, canvas.drift.pairs, strict=True):
        values = array_of(pair.cosines.values())
        panel.set_title(f"{wrapped(pair.first)}\nand {wrapped(pair.second)}", fontsize=9, pad=4)
        if len(values):
            language_lines(canvas, panel, values)
        panel.axhline(0, color=INK, linewidth=0.8, alpha=0.5)
        panel.set_ylim(-1.04, 1.04)
    figure.supylabel("Cosine of own displacements", fontsize=10)
    figure.supxlabel(LAYER, fontsize=10)
    legend(figure, axes[0])
    caption = (
        "Cosine of the own displacements of each two versions, by layer: 1 where both moved a "
        "language the same way; no line where one of them did not move it"
    )
    return canvas.finished(figure, "versions", caption)
