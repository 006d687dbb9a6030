"""Figures of what training moved, drawn from the results alone.

A version has one colour and marker in all of them; the base is in the colour of the text.
"""

import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langsteer.analysis.drift.results import (
    GAP,
    Cosines,
    Curve,
    Drift,
    GainFit,
    LanguageDrift,
    Nearness,
    VersionDrift,
)
from langsteer.look import plotting
from langsteer.look.plotting import COLOURS, INK, Figure

LAYER = "Layer (output of the block)"
SIGNIFICANT = 0.05

_GREY = "#80868f"
_WIDTH = 8.6
_ALIKE = 8  # how many times the least of several scales the greatest may be
_DECADES = 1000  # how many times the least colour the greatest is, on a logarithmic scale
_LENGTH = "viridis"
_SIGNED = "RdBu_r"
_BASE: dict[str, Any] = {"color": INK, "marker": "o", "markerfacecolor": "none"}

Panel = Callable[[Any, VersionDrift], None]


def draw(drift: Drift) -> dict[str, Figure]:
    """All figures that the results have numbers for, by name.

    Raises MissingExtraError without matplotlib.
    """
    with plotting.drawing("the figures", "analysis") as pyplot:
        canvas = _Canvas(pyplot, drift)
        jobs: list[Callable[[], Figure]] = [
            partial(job, canvas)
            for job in (
                *(_alignment, _alignment_languages, _movement, _movement_languages),
                *(_direction, _direction_languages, _crossed, _cosines, _span),
                *(_similarity, _similarity_languages),
            )
        ]
        if len(drift.languages) > 1:
            jobs.append(partial(_matrix, canvas))
        if drift.pairs:
            jobs.append(partial(_pairs, canvas))
        sources = dict.fromkeys(fit.source for fit in drift.gains)
        jobs += [partial(_gains, canvas, source) for source in sources]
        figures = [job() for job in jobs]
    return {figure.name: figure for figure in figures}


class _Canvas:
    """What all figures of some results have in common."""

    def __init__(self, pyplot: Any, drift: Drift) -> None:
        self.pyplot, self.drift = pyplot, drift
        self.looks = plotting.looks([version.name for version in drift.versions])
        self.layers = range(drift.layers)
        shared = [tag for tag in drift.languages if all(tag in v.languages for v in drift.versions)]
        self.shared = shared or list(drift.languages)

    def panels(self, height: float, share_y: bool = True) -> tuple[Any, list[Any]]:
        """A panel for each version, named."""
        figure, axes = plotting.panels(
            self.pyplot, len(self.drift.versions), 3, _WIDTH, height, sharey=share_y
        )
        for panel, version in zip(axes, self.drift.versions, strict=True):
            panel.set_title(_wrapped(version.name), fontsize=10, pad=5)
        return figure, axes

    def layer_axis(self, panel: Any) -> None:
        from matplotlib.ticker import MaxNLocator

        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        panel.set_xlim(-0.3, max(self.drift.layers - 0.7, 0.3))
        panel.grid(axis="y", color=INK, alpha=0.12)

    def mark_layer(self, panel: Any) -> None:
        """A line at the layer that the tables show."""
        panel.axvline(self.drift.layer, color=INK, alpha=0.4, linewidth=0.9, linestyle=":")

    def finished(self, figure: Any, name: str, caption: str) -> Figure:
        caption = caption.format(pivot=self.drift.pivot_name, layer=self.drift.layer)
        return plotting.finished(self.pyplot, figure, name, caption)


def _wrapped(name: str) -> str:
    return "\n".join(textwrap.wrap(name, 26, break_long_words=True)) or name


def _legend(figure: Any, panel: Any, columns: int = 4) -> None:
    handles, names = panel.get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside upper center", ncols=min(len(names), columns), fontsize=9
    )


def _array(curves: Iterable[Curve]) -> NDArray[np.float64]:
    """Curves as [curves, layers]."""
    return np.array([*curves], dtype=np.float64)


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the languages that have a number; NaN where none has."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = np.where(known, values, 0.0).sum(0) / known.sum(0)
    return mean


def _band(panel: Any, layers: Sequence[int], values: NDArray[np.float64], **style: Any) -> None:
    """From the least to the greatest of the languages."""
    known = ~np.isnan(values).all(0)
    low = np.full(values.shape[1], np.nan)
    high = low.copy()
    low[known], high[known] = np.nanmin(values[:, known], 0), np.nanmax(values[:, known], 0)
    panel.fill_between(layers, low, high, linewidth=0, **style)


# Alignment


def _alignment(canvas: _Canvas) -> Figure:
    drift = canvas.drift
    titles = ("MEXA", "Cosine: translations less others", "Linear CKA")
    figure, axes = plotting.panels(canvas.pyplot, 3, 3, _WIDTH, 2.7, sharey=False)
    for name, look, alignment in _every_alignment(canvas):
        style = {"markersize": 3.5, "linewidth": 1.4, **look}
        curves = zip(*(_three(alignment[tag]) for tag in canvas.shared), strict=True)
        for panel, many in zip(axes, curves, strict=True):
            panel.plot(canvas.layers, _mean(_array(many)), label=name, **style)
    for panel, title in zip(axes, titles, strict=True):
        panel.set_title(title, fontsize=10, pad=5)
        canvas.layer_axis(panel)
        canvas.mark_layer(panel)
    for panel in (axes[0], axes[2]):
        panel.set_ylim(-0.03, 1.03)
    figure.supxlabel(LAYER, fontsize=10)
    _legend(figure, axes[0])
    count = len(canvas.shared)
    caption = (
        f"Alignment with {{pivot}} by layer, the mean over {count} "
        f"{'language' if count == 1 else 'languages'}: share of sentences nearer to their "
        "translation than to any other (MEXA), mean cosine of translations less that of other "
        "sentences, and likeness of geometry (linear CKA); dotted: the layer that tables show"
        + ("" if count == len(drift.languages) else "; only languages that all versions have")
    )
    return canvas.finished(figure, "alignment", caption)


def _three(found: Nearness) -> tuple[Curve, Curve, Curve]:
    pairs = zip(found.pair_cosine, found.other_cosine, strict=True)
    return found.mexa, tuple(one - other for one, other in pairs), found.cka


def _every_alignment(
    canvas: _Canvas,
) -> list[tuple[str, Mapping[str, Any], Mapping[str, Nearness]]]:
    found: list[tuple[str, Mapping[str, Any], Mapping[str, Nearness]]] = [
        ("base", _BASE, canvas.drift.alignment)
    ]
    for version in canvas.drift.versions:
        alignment = {tag: one.alignment for tag, one in version.languages.items()}
        found.append((version.name, canvas.looks[version.name], alignment))
    return found


def _alignment_languages(canvas: _Canvas) -> Figure:
    languages = canvas.drift.languages
    figure, axes = plotting.panels(canvas.pyplot, len(languages), 4, _WIDTH, 1.6)
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
    _legend(figure, fullest)
    caption = (
        "Share of each language's sentences that are nearer to their translation in {pivot} than "
        "to any other sentence (MEXA), by layer, in the base and in each version"
    )
    return canvas.finished(figure, "alignment-languages", caption)


# Movement


def _movement(canvas: _Canvas) -> Figure:
    tops = [_longest(version) for version in canvas.drift.versions]
    alike = min(tops) > 0 and max(tops) / min(tops) < _ALIKE
    figure, axes = canvas.panels(2.6, share_y=alike)
    pivot = canvas.drift.pivot_name
    for panel, version, top in zip(axes, canvas.drift.versions, tops, strict=True):
        _movement_panel(canvas, panel, version, pivot)
        panel.set_ylim(0, 1.05 * (max(tops) if alike else top) or 1)
    figure.supylabel("Displacement ÷ length of states (%)", fontsize=10)
    figure.supxlabel(LAYER, fontsize=10)
    _legend(figure, axes[0])
    caption = (
        "How far mean states moved from the base, in per cent of their length: all of the "
        "displacement, what is left of it without that of {pivot}, {pivot}'s own, and what the "
        "sampling of sentences alone would look like; means over languages, and the range of the "
        "languages' own displacements" + ("" if alike else "; the panels' scales differ")
    )
    return canvas.finished(figure, "movement", caption)


def _longest(version: VersionDrift) -> float:
    """The greatest displacement that its panel shows, in per cent."""
    found = [one.movement for one in version.languages.values()]
    every = _array([*(one.own for one in found), *(one.raw for one in found), version.pivot.raw])
    return 100 * float(np.nanmax(every, initial=0.0))


def _movement_panel(canvas: _Canvas, panel: Any, version: VersionDrift, pivot: str) -> None:
    found = [one.movement for one in version.languages.values()]
    own, raw, noise = (
        100 * _array(getattr(one, name) for one in found) for name in ("own", "raw", "noise")
    )
    _band(panel, canvas.layers, own, color=COLOURS[0], alpha=0.18)
    styles = (
        (_mean(raw), "all", {"color": _GREY, "linestyle": "-"}),
        (_mean(own), f"own (without {pivot}'s)", {"color": COLOURS[0], "linewidth": 2.0}),
        (100 * np.array(version.pivot.raw), f"{pivot}", {"color": COLOURS[1], "linestyle": "--"}),
        (_mean(noise), "sampling", {"color": INK, "linestyle": ":", "linewidth": 1.0}),
    )
    for curve, label, style in styles:
        panel.plot(canvas.layers, curve, label=label, **style)
    canvas.layer_axis(panel)
    canvas.mark_layer(panel)


def _movement_languages(canvas: _Canvas) -> Figure:
    caption = (
        "How far each language moved from the base by itself, without {pivot}'s displacement, in "
        "per cent of the length of its states, by layer"
    )
    return _map(
        canvas,
        "movement-languages",
        caption,
        lambda found: 100 * np.array(found.movement.own),
        "Own displacement (%)",
    )


# Direction


def _direction(canvas: _Canvas) -> Figure:
    figure, axes = canvas.panels(2.7)
    for panel, version in zip(axes, canvas.drift.versions, strict=True):
        cosines = [found.directions[GAP].own for found in version.languages.values()]
        for name, colour, alpha, label in (
            ("covariance", _GREY, 0.22, "95% of random vectors, as states vary"),
            ("isotropic", _GREY, 0.45, "95% of random vectors, all directions alike"),
        ):
            bound = _mean(_array(getattr(one, name) for one in cosines))
            panel.fill_between(
                canvas.layers, -bound, bound, color=colour, alpha=alpha, linewidth=0, label=label
            )
        _language_lines(canvas, panel, _array(one.value for one in cosines))
        panel.axhline(0, color=INK, linewidth=0.8, alpha=0.5)
        panel.set_ylim(-1.04, 1.04)
    figure.supylabel("Cosine with the mean difference", fontsize=10)
    figure.supxlabel(LAYER, fontsize=10)
    _legend(figure, axes[0], 2)
    caption = (
        "Cosine of each language's own displacement with its steering direction at the same layer "
        "(mean difference to {pivot} in the base, fitted on other lines), and what random vectors "
        "reach"
    )
    return canvas.finished(figure, "direction", caption)


def _language_lines(canvas: _Canvas, panel: Any, values: NDArray[np.float64]) -> None:
    for place, curve in enumerate(values):
        label = "one language" if place == 0 else None
        panel.plot(canvas.layers, curve, color=COLOURS[0], alpha=0.4, linewidth=0.8, label=label)
    panel.plot(canvas.layers, _mean(values), color=COLOURS[1], linewidth=2.2, label="mean")
    canvas.layer_axis(panel)
    canvas.mark_layer(panel)


def _direction_languages(canvas: _Canvas) -> Figure:
    def dots(found: LanguageDrift) -> NDArray[np.bool_]:
        return np.array(found.directions[GAP].own.p_covariance) < SIGNIFICANT

    caption = (
        "Cosine of each language's own displacement with its steering direction at the same layer; "
        f"dot: beyond chance (p < {SIGNIFICANT}) by random vectors with the covariance of the "
        "states, uncorrected for the number of tests; grey: moved too little to have a direction"
    )
    return _map(
        canvas,
        "direction-languages",
        caption,
        lambda found: np.array(found.directions[GAP].own.value),
        "Cosine",
        limit=1.0,
        dots=dots,
    )


def _crossed(canvas: _Canvas) -> Figure:
    figure, axes = canvas.panels(2.6)
    every = []
    for panel, version in zip(axes, canvas.drift.versions, strict=True):
        values = 100 * _array(found.movement.crossed for found in version.languages.values())
        every.append(values)
        _language_lines(canvas, panel, values)
        panel.axhline(0, color=INK, linewidth=0.8, alpha=0.5)
    known = np.concatenate([values[~np.isnan(values)] for values in every])
    if len(known) and float(np.abs(known).max()) < 1:
        axes[0].set_ylim(-1, 1)
    figure.supylabel("Share of the gap crossed (%)", fontsize=10)
    figure.supxlabel(LAYER, fontsize=10)
    _legend(figure, axes[0], 2)
    caption = (
        "How much of the base's mean gap between each language and {pivot} the language's own "
        "displacement crosses: 100% would put the means on each other, below 0 is away from {pivot}"
    )
    return canvas.finished(figure, "crossed", caption)


def _cosines(canvas: _Canvas) -> Figure:
    drift = canvas.drift
    kind = shown_kind(drift)
    names = list(drift.languages)
    height = 0.2 * len(names) * max(1.6, 0.55 * len(drift.versions)) + 0.9
    figure, axes = canvas.pyplot.subplots(
        1, 2, figsize=(_WIDTH, max(2.6, height)), sharey=True, sharex=True
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
    _legend(figure, axes[0], 3)
    what = "mean difference at layer {layer}" if kind == GAP else f"vectors: {kind}"
    caption = (
        f"Cosine of displacement and steering vector ({what}) in each language, with 95% bootstrap "
        "intervals over sentences; grey: what 95% of random vectors with the covariance of the "
        "states reach; hollow: not beyond it"
    )
    return canvas.finished(figure, "cosines", caption)


def shown_kind(drift: Drift) -> str:
    """The vectors that were given, where they were; else the mean difference of the layer."""
    return drift.vectors[0].kind if drift.vectors else GAP


def at_layer(cosines: Cosines, layer: int) -> int | None:
    """The place of a layer in cosines; that of their only layer where they have one."""
    if len(cosines.layers) == 1:
        return 0
    return cosines.layers.index(layer) if layer in cosines.layers else None


def _cosine_rows(canvas: _Canvas, panel: Any, kind: str, which: str) -> None:
    drift = canvas.drift
    panel.axvline(0, color=INK, linewidth=0.8, alpha=0.5, zorder=0)
    step = 0.8 / len(drift.versions)
    for place, version in enumerate(drift.versions):
        look = canvas.looks[version.name]
        for row, tag in enumerate(drift.languages):
            y = row + (place - (len(drift.versions) - 1) / 2) * step
            found = version.languages.get(tag)
            if found is not None and kind in found.directions:
                _cosine_point(panel, getattr(found.directions[kind], which), drift.layer, y, look)
        panel.plot([], [], linestyle="-", markersize=6, label=version.name, **look)


def _cosine_point(
    panel: Any, cosines: Cosines, layer: int, y: float, look: Mapping[str, Any]
) -> None:
    place = at_layer(cosines, layer)
    if place is None or not math.isfinite(cosines.value[place]):
        return
    bound = cosines.covariance[place]
    panel.plot([-bound, bound], [y, y], color=_GREY, alpha=0.3, linewidth=3.5, zorder=1)
    panel.plot([cosines.low[place], cosines.high[place]], [y, y], color=look["color"], zorder=2)
    beyond = cosines.p_covariance[place] < SIGNIFICANT
    face = {} if beyond else {"markerfacecolor": "none"}
    panel.plot(cosines.value[place], y, markersize=4.5, zorder=3, **{**look, **face})


def _matrix(canvas: _Canvas) -> Figure:
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
        panel.set_title(_wrapped(version.name), fontsize=9.5, pad=5)
        values = np.ma.masked_invalid(np.array(version.matrix.cosines, dtype=np.float64))
        image = panel.imshow(values, cmap=_with_grey(_SIGNED), vmin=-1, vmax=1, aspect="equal")
        tags = list(version.matrix.languages)
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_ticks(range(len(tags)), tags, fontsize=7)
            axis.set_tick_params(length=0)
        panel.tick_params(axis="x", labelrotation=90)
        _bare(panel)
    figure.colorbar(image, ax=axes, label="Cosine", shrink=0.7)
    figure.supxlabel("Steering direction of", fontsize=10)
    figure.supylabel("Displacement of", fontsize=10)
    caption = (
        "Cosine of each language's own displacement (rows) with each language's mean difference to "
        "{pivot} (columns) at layer {layer}, with sampling noise; a bright diagonal on a paler "
        "ground: languages move along their own directions more than along others'"
    )
    return canvas.finished(figure, "matrix", caption)


def _span(canvas: _Canvas) -> Figure:
    figure, axes = canvas.panels(2.6)
    for panel, version in zip(axes, canvas.drift.versions, strict=True):
        spans = [s for f in version.languages.values() if (s := f.directions[GAP].span)]
        values = _array(span.share for span in spans)
        _band(panel, canvas.layers, values, color=COLOURS[0], alpha=0.18)
        panel.plot(
            canvas.layers, _mean(values), color=COLOURS[0], linewidth=2, label="in their span"
        )
        for name, label, colour, style in (
            ("covariance", "random spans, as states vary: mean", COLOURS[1], "-"),
            ("covariance_high", "95% of them", COLOURS[1], "--"),
            ("isotropic_high", "95% of random spans, all directions alike", _GREY, ":"),
        ):
            curve = _mean(_array(getattr(span, name) for span in spans))
            panel.plot(canvas.layers, curve, color=colour, linestyle=style, label=label)
        canvas.layer_axis(panel)
        canvas.mark_layer(panel)
        panel.set_ylim(-0.03, 1.03)
    figure.supylabel("Share of squared length", fontsize=10)
    figure.supxlabel(LAYER, fontsize=10)
    _legend(figure, axes[0], 2)
    caption = (
        f"Share of the squared length of the own displacements that lies in the span of the "
        f"{len(canvas.drift.languages)} languages' steering directions, mean and range over "
        "languages, and the same for random spans of as many dimensions"
    )
    return canvas.finished(figure, "span", caption)


# Likeness to the base, and between versions


def _similarity(canvas: _Canvas) -> Figure:
    figure, axes = plotting.panels(canvas.pyplot, 2, 2, _WIDTH, 2.7, sharey=False)
    for version in canvas.drift.versions:
        look = canvas.looks[version.name]
        for panel, name in zip(axes, ("cka", "cosine"), strict=True):
            values = _array(getattr(f.similarity, name) for f in version.languages.values())
            _band(panel, canvas.layers, values, color=look["color"], alpha=0.15)
            style = {"markersize": 3.5, "linewidth": 1.4, "label": version.name, **look}
            panel.plot(canvas.layers, _mean(values), **style)
            pivot = getattr(version.pivot.similarity, name)
            panel.plot(canvas.layers, pivot, color=look["color"], linestyle=":", linewidth=1.2)
    for panel, title in zip(axes, ("Linear CKA", "Mean cosine of a sentence"), strict=True):
        panel.set_title(title, fontsize=10, pad=5)
        canvas.layer_axis(panel)
        panel.ticklabel_format(axis="y", useOffset=False)
    figure.supxlabel(LAYER, fontsize=10)
    _legend(figure, axes[0])
    caption = (
        "Likeness of the states of the same sentences in the base and in each version: mean and "
        "range over languages; dotted: {pivot}"
    )
    return canvas.finished(figure, "similarity", caption)


def _similarity_languages(canvas: _Canvas) -> Figure:
    caption = (
        "What each version changed in the geometry of each language's sentences: 1 less the linear "
        "CKA with the base, by layer"
    )
    return _map(
        canvas,
        "similarity-languages",
        caption,
        lambda found: np.maximum(0.0, 1 - np.array(found.similarity.cka)),
        "1 − CKA",
    )


def _pairs(canvas: _Canvas) -> Figure:
    figure, axes = plotting.panels(canvas.pyplot, len(canvas.drift.pairs), 3, _WIDTH, 2.4)
    for panel, pair in zip(axes, canvas.drift.pairs, strict=True):
        values = _array(pair.cosines.values())
        panel.set_title(f"{_wrapped(pair.first)}\nand {_wrapped(pair.second)}", fontsize=9, pad=4)
        if len(values):
            _language_lines(canvas, panel, values)
        panel.axhline(0, color=INK, linewidth=0.8, alpha=0.5)
        panel.set_ylim(-1.04, 1.04)
    figure.supylabel("Cosine of own displacements", fontsize=10)
    figure.supxlabel(LAYER, fontsize=10)
    _legend(figure, axes[0])
    caption = (
        "Cosine of the own displacements of each two versions, by layer: 1 where both moved a "
        "language the same way; no line where one of them did not move it"
    )
    return canvas.finished(figure, "versions", caption)


# Gains


def _gains(canvas: _Canvas, source: str) -> Figure:
    fits = [fit for fit in canvas.drift.gains if fit.source == source]
    versions = list(dict.fromkeys(fit.version for fit in fits))
    measures = list(dict.fromkeys(fit.measure for fit in fits))
    figure, grid = canvas.pyplot.subplots(
        len(versions),
        len(measures),
        figsize=(2.35 * len(measures) + 0.6, 2.45 * len(versions) + 0.3),
        squeeze=False,
        sharey="row",
    )
    shown: list[tuple[Any, GainFit]] = []
    for row, version in enumerate(versions):
        for column, measure in enumerate(measures):
            panel = grid[row][column]
            found = [f for f in fits if (f.version, f.measure) == (version, measure)]
            if not found:
                panel.set_axis_off()
                continue
            _gain_panel(panel, found[0], canvas.looks[version])
            shown.append((panel, found[0]))
            if column == 0:
                panel.set_ylabel(f"{_wrapped(version)}\ngain", fontsize=9)
            if row == len(versions) - 1:
                panel.set_xlabel(_measure_label(measure), fontsize=9)
    figure.set_layout_engine("constrained")
    figure.draw_without_rendering()
    for panel, fit in shown:
        plotting.label_points(panel, _places(fit), 7.0)
    caption = (
        f"Gain of each language ({source}) against its movement at layer {{layer}}, with Spearman's "
        "correlation and the p value of a permutation test"
    )
    return canvas.finished(figure, f"gains-{source}", caption)


def _measure_label(measure: str) -> str:
    return {
        "own movement": "own displacement (%)",
        "share of the gap crossed": "gap crossed (%)",
        "cosine with steering": "cosine with steering",
        "change of MEXA": "change of MEXA",
    }.get(measure, measure)


def _places(fit: GainFit) -> dict[str, tuple[float, float]]:
    """Movement and gain of each language."""
    percent = 100 if fit.measure in ("own movement", "share of the gap crossed") else 1
    return {point.language: (percent * point.movement, point.gain) for point in fit.points}


def _gain_panel(panel: Any, fit: GainFit, look: Mapping[str, Any]) -> None:
    panel.axhline(0, color=INK, linewidth=0.8, alpha=0.4, zorder=0)
    panel.plot(
        *zip(*_places(fit).values(), strict=True), **{**look, "linestyle": "", "markersize": 4}
    )
    panel.margins(0.16)
    panel.tick_params(labelsize=8)
    panel.grid(color=INK, alpha=0.1)
    if math.isfinite(fit.rho):
        text = f"ρ {fit.rho:+.2f}, p {_p(fit.p)}".replace("-", "−")
    else:
        text = f"{len(fit.points)} languages: no test"
    panel.set_title(text, fontsize=8.5, pad=4)


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"


# Maps of languages and layers


def _map(
    canvas: _Canvas,
    name: str,
    caption: str,
    curve: Callable[[LanguageDrift], NDArray[np.float64]],
    label: str,
    limit: float | None = None,
    dots: Callable[[LanguageDrift], NDArray[np.bool_]] | None = None,
) -> Figure:
    """Languages by layers, a panel for each version.

    Colours go from −limit to limit, or without one from the greatest number down on a logarithmic
    scale, since versions and layers may lie far apart.
    """
    from matplotlib.colors import LogNorm, Normalize

    drift = canvas.drift
    figure, axes = canvas.panels(max(1.3, 0.2 * len(drift.languages) + 0.55))
    every = []
    for version in drift.versions:
        rows = np.full((len(drift.languages), drift.layers), np.nan)
        for row, tag in enumerate(drift.languages):
            if tag in version.languages:
                rows[row] = curve(version.languages[tag])
        every.append(rows)
    high = limit or float(np.nanmax(np.stack(every), initial=0.0)) or 1.0
    scale = Normalize(-high, high) if limit else LogNorm(high / _DECADES, high, clip=True)
    colours = _with_grey(_SIGNED if limit else _LENGTH)
    image = None
    for panel, version, rows in zip(axes, drift.versions, every, strict=True):
        rows = rows if limit else rows.clip(min=high / _DECADES)  # no zeros: they have no logarithm
        shown = np.ma.masked_invalid(rows)
        image = panel.imshow(shown, norm=scale, cmap=colours, aspect="auto")
        if dots is not None:
            _dots(panel, drift, version, dots)
        _bare(panel)
    axes[0].set_yticks(range(len(drift.languages)), list(drift.languages.values()), fontsize=8.5)
    for panel in axes:
        panel.tick_params(axis="y", length=0)
        panel.set_xlim(-0.5, drift.layers - 0.5)
        _whole_layers(panel)
    figure.supxlabel(LAYER, fontsize=10)
    extend = "neither" if limit else "min"
    figure.colorbar(image, ax=axes, label=label, aspect=14, pad=0.02, extend=extend)
    return canvas.finished(figure, name, caption + ("" if limit else ", on a logarithmic scale"))


def _dots(
    panel: Any,
    drift: Drift,
    version: VersionDrift,
    dots: Callable[[LanguageDrift], NDArray[np.bool_]],
) -> None:
    for row, tag in enumerate(drift.languages):
        if tag in version.languages:
            at = np.flatnonzero(dots(version.languages[tag]))
            panel.plot(at, np.full(len(at), row), ".", color="black", markersize=2.2)


def _whole_layers(panel: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    panel.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))


def _bare(panel: Any) -> None:
    for spine in panel.spines.values():
        spine.set_visible(False)


def _with_grey(name: str) -> Any:
    """A colour map that shows what has no number in grey."""
    from matplotlib import colormaps

    return colormaps[name].with_extremes(bad=(_GREY, 0.35))
