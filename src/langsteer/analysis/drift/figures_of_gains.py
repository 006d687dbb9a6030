"""Figures of gain against movement, a panel for each version and measure."""

import math
from collections.abc import Mapping
from typing import Any

from langsteer.analysis.drift.canvas import DriftCanvas, wrapped
from langsteer.analysis.drift.results import GainFit
from langsteer.look import plotting
from langsteer.look.plotting import INK, Figure
from langsteer.look.words import p_value, signed


def gains_figure(canvas: DriftCanvas, source: str) -> Figure:
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
            fit = next((f for f in fits if (f.version, f.measure) == (version, measure)), None)
            if fit is None:
                panel.set_axis_off()
                continue
            _gain_panel(panel, fit, canvas.looks[version])
            shown.append((panel, fit))
            if column == 0:
                panel.set_ylabel(f"{wrapped(version)}\ngain", fontsize=9)
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
        text = f"ρ {signed(fit.rho)}, p {p_value(fit.p)}"
    else:
        text = f"{len(fit.points)} languages: no test"
    panel.set_title(text, fontsize=8.5, pad=4)
