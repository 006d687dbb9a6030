"""Figures of displacements against steering directions: cosines, what is crossed, spans."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langsteer.analysis.drift.canvas import (
    SIGNED,
    WIDTH,
    DriftCanvas,
    array_of,
    band,
    bare,
    language_lines,
    language_map,
    language_mean,
    legend,
    with_grey,
    wrapped,
)
from langsteer.analysis.drift.results import GAP, Cosines, LanguageDrift
from langsteer.look import plotting
from langsteer.look.plotting import COLOURS, GREY, INK, LAYER, Figure
from langsteer.look.words import SIGNIFICANT


def direction(canvas: DriftCanvas) -> Figure:
    figure, axes = canvas.panels(2.7)
    for panel, version in zip(axes, canvas.drift.versions, strict=True):
        cosines = [language.directions[GAP].own for language in version.languages.values()]
        for name, colour, alpha, label in (
            ("covariance", GREY, 0.22, "95% of random vectors, as states vary"),
            ("isotropic", GREY, 0.45, "95% of random vectors, all directions alike"),
        ):
            bound = language_mean(array_of(getattr(cosine, name) for cosine in cosines))
            panel.fill_between(
                canvas.layers, -bound, bound, color=colour, alpha=alpha, linewidth=0, label=label
            )
        language_lines(canvas, panel, array_of(cosine.value for cosine in cosines))
        panel.axhline(0, color=INK, linewidth=0.8, alpha=0.5)
        panel.set_ylim(-1.04, 1.04)
    figure.supylabel("Cosine with the mean difference", fontsize=10)
    figure.supxlabel(LAYER, fontsize=10)
    legend(figure, axes[0], 2)
    caption = (
        "Cosine of each language's own displacement with its steering direction at the same layer "
        "(mean difference to {pivot} in the base, fitted on other lines), and what random vectors "
        "reach"
    )
    return canvas.finished(figure, "direction", caption)


def direction_languages(canvas: DriftCanvas) -> Figure:
    def dots(language: LanguageDrift) -> NDArray[np.bool_]:
        return np.array(language.directions[GAP].own.p_covariance) < SIGNIFICANT

    caption = (
        "Cosine of each language's own displacement with its steering direction at the same layer; "
        f"dot: beyond chance (p < {SIGNIFICANT}) by random vectors with the covariance of the "
        "states, uncorrected for the number of tests; grey: moved too little to have a direction"
    )
    return language_map(
        canvas,
        "direction-languages",
        caption,
        lambda language: np.array(language.directions[GAP].own.value),
        "Cosine",
        limit=1.0,
        dots=dots,
    )


def crossed_figure(canvas: DriftCanvas) -> Figure:
    figure, axes = canvas.panels(2.6)
    every = []
    for panel, version in zip(axes, canvas.drift.versions, strict=True):
        values = 100 * array_of(
            language.movement.crossed for language in version.languages.values()
        )
        every.append(values)
        language_lines(canvas, panel, values)
        panel.axhline(0, color=INK, linewidth=0.8, alpha=0.5)
    known = np.concatenate([values[~np.isnan(values)] for values in every])
    if len(known) and float(np.abs(known).max()) < 1:
        axes[0].set_ylim(-1, 1)
    figure.supylabel("Share of the gap crossed (%)", fontsize=10)
    figure.supxlabel(LAYER, fontsize=10)
    legend(figure, axes[0], 2)
    caption = (
        "How much of the base's mean gap between each language and {pivot} the language's own "
        "displacement crosses: 100% would put the means on each other, below 0 is away from {pivot}"
    )
    return canvas.finished(figure, "crossed", caption)


def cosines_figure(canvas: DriftCanvas) -> Figure:
    drift = canvas.drift
    kind = drift.shown_kind
    names = list(drift.languages)
    height = 0.2 * len(names) * max(1.6, 0.55 * len(drift.versions)) + 0.9
    figure, axes = canvas.pyplot.subplots(
        1, 2, figsize=(WIDTH, max(2.6, height)), sharey=True, sharex=True
    )
    for panel, which in zip(axes, ("own", "raw"), strict=True):
        _cosine_rows(canvas, panel, kind, which)
        title = {"own": f"Own (without {drift.pivot_name}'s)", "raw": "All of the displacement"}
        panel.set_title(title[which], fontsize=10, pad=5)
        panel.set_xlabel("Cosine with the steering vector")
        panel.set_xticks([-1, -0.5, 0, 0.5, 1])
        panel.grid(axis="x", color=INK, alpha=0.12)
    axes[0].set_yticks(range(len(names)), [drift.languages[tag] for tag in names])
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    axes[0].set_xlim(-1.04, 1.04)
    axes[0].tick_params(axis="y", length=0)
    axes[1].tick_params(axis="y", length=0)
    legend(figure, axes[0], 3)
    steering = "mean difference at layer {layer}" if kind == GAP else f"vectors: {kind}"
    caption = (
        f"Cosine of displacement and steering vector ({steering}) in each language, with 95% bootstrap "
        "intervals over sentences; grey: what 95% of random vectors with the covariance of the "
        "states reach; hollow: not beyond it"
    )
    return canvas.finished(figure, "cosines", caption)


def _cosine_rows(canvas: DriftCanvas, panel: Any, kind: str, which: str) -> None:
    drift = canvas.drift
    panel.axvline(0, color=INK, linewidth=0.8, alpha=0.5, zorder=0)
    step = 0.8 / len(drift.versions)
    for place, version in enumerate(drift.versions):
        look = canvas.looks[version.name]
        for row, tag in enumerate(drift.languages):
            y = row + (place - (len(drift.versions) - 1) / 2) * step
            language = version.languages.get(tag)
            if language is not None and kind in language.directions:
                _cosine_point(
                    panel, getattr(language.directions[kind], which), drift.layer, y, look
                )
        panel.plot([], [], linestyle="-", markersize=6, label=version.name, **look)


def _cosine_point(
    panel: Any, cosines: Cosines, layer: int, y: float, look: Mapping[str, Any]
) -> None:
    place = cosines.place_of(layer)
    if place is None or not math.isfinite(cosines.value[place]):
        return
    bound = cosines.covariance[place]
    panel.plot([-bound, bound], [y, y], color=GREY, alpha=0.3, linewidth=3.5, zorder=1)
    panel.plot([cosines.low[place], cosines.high[place]], [y, y], color=look["color"], zorder=2)
    beyond = cosines.p_covariance[place] < SIGNIFICANT
    face = {} if beyond else {"markerfacecolor": "none"}
    panel.plot(cosines.value[place], y, markersize=4.5, zorder=3, **{**look, **face})


def matrix_figure(canvas: DriftCanvas) -> Figure:
    drift = canvas.drift
    size = len(drift.languages)
    width = max(4.0, min(3.0, 0.9 + 0.17 * size) * min(3, len(drift.versions)) + 1.6)
    columns = min(3, len(drift.versions))
    height = (width - 1.6) / columns + 0.1
    figure, axes = plotting.panels(
        canvas.pyplot, len(drift.versions), columns, width, height, sharex=False, sharey=False
    )
    image = None
    for panel, version in zip(axes, drift.versions, strict=True):
        panel.set_title(wrapped(version.name), fontsize=9.5, pad=5)
        values = np.ma.masked_invalid(np.array(version.matrix.cosines, dtype=np.float64))
        image = panel.imshow(values, cmap=with_grey(SIGNED), vmin=-1, vmax=1, aspect="equal")
        tags = list(version.matrix.languages)
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_ticks(range(len(tags)), tags, fontsize=7)
            axis.set_tick_params(length=0)
        panel.tick_params(axis="x", labelrotation=90)
        bare(panel)
    figure.colorbar(image, ax=axes, label="Cosine", shrink=0.7)
    figure.supxlabel("Steering direction of", fontsize=10)
    figure.supylabel("Displacement of", fontsize=10)
    caption = (
        "Cosine of each language's own displacement (rows) with each language's mean difference to "
        "{pivot} (columns) at layer {layer}, with sampling noise; a bright diagonal on a paler "
        "ground: languages move along their own directions more than along others'"
    )
    return canvas.finished(figure, "matrix", caption)


def span_figure(canvas: DriftCanvas) -> Figure:
    figure, axes = canvas.panels(2.6)
    for panel, version in zip(axes, canvas.drift.versions, strict=True):
        spans = [
            span
            for language in version.languages.values()
            if (span := language.directions[GAP].span)
        ]
        values = array_of(span.share for span in spans)
        band(panel, canvas.layers, values, color=COLOURS[0], alpha=0.18)
        panel.plot(
            canvas.layers,
            language_mean(values),
            color=COLOURS[0],
            linewidth=2,
            label="in their span",
        )
        for name, label, colour, style in (
            ("covariance", "random spans, as states vary: mean", COLOURS[1], "-"),
            ("covariance_high", "95% of them", COLOURS[1], "--"),
            ("isotropic_high", "95% of random spans, all directions alike", GREY, ":"),
        ):
            curve = language_mean(array_of(getattr(span, name) for span in spans))
            panel.plot(canvas.layers, curve, color=colour, linestyle=style, label=label)
        canvas.layer_axis(panel)
        canvas.mark_layer(panel)
        panel.set_ylim(-0.03, 1.03)
    figure.supylabel("Share of squared length", fontsize=10)
    figure.supxlabel(LAYER, fontsize=10)
    legend(figure, axes[0], 2)
    caption = (
        f"Share of the squared length of the own displacements that lies in the span of the "
        f"{len(canvas.drift.languages)} languages' steering directions, mean and range over "
        "languages, and the same for random spans of as many dimensions"
    )
    return canvas.finished(figure, "span", caption)
