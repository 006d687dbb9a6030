"""What the figures of a drift have in common: looks, panels by version, axes, maps of languages and layers."""

import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langsteer.analysis.drift.results import Curve, Drift, LanguageDrift, VersionDrift
from langsteer.look import plotting
from langsteer.look.plotting import COLOURS, GREY, INK, LAYER, Figure

WIDTH = 8.6
_DECADES = 1000  # how many times the least colour the greatest is, on a logarithmic scale
_LENGTH = "viridis"
SIGNED = "RdBu_r"


class DriftCanvas:
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
            self.pyplot, len(self.drift.versions), 3, WIDTH, height, sharey=share_y
        )
        for panel, version in zip(axes, self.drift.versions, strict=True):
            panel.set_title(wrapped(version.name), fontsize=10, pad=5)
        return figure, axes

    def layer_axis(self, panel: Any) -> None:
        plotting.layer_axis(panel, self.drift.layers, 6)

    def mark_layer(self, panel: Any) -> None:
        """A line at the layer that the tables show."""
        panel.axvline(self.drift.layer, color=INK, alpha=0.4, linewidth=0.9, linestyle=":")

    def finished(self, figure: Any, name: str, caption: str) -> Figure:
        caption = caption.format(pivot=self.drift.pivot_name, layer=self.drift.layer)
        return plotting.finished(self.pyplot, figure, name, caption)


def wrapped(name: str) -> str:
    return "\n".join(textwrap.wrap(name, 26, break_long_words=True)) or name


def legend(figure: Any, panel: Any, columns: int = 4) -> None:
    handles, names = panel.get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside upper center", ncols=min(len(names), columns), fontsize=9
    )


def array_of(curves: Iterable[Curve]) -> NDArray[np.float64]:
    """Curves as [curves, layers]."""
    return np.array([*curves], dtype=np.float64)


def language_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the languages that have a number; NaN where none has."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = np.where(known, values, 0.0).sum(0) / known.sum(0)
    return mean


def band(panel: Any, layers: Sequence[int], values: NDArray[np.float64], **style: Any) -> None:
    """From the least to the greatest of the languages."""
    known = ~np.isnan(values).all(0)
    low = np.full(values.shape[1], np.nan)
    high = low.copy()
    low[known], high[known] = np.nanmin(values[:, known], 0), np.nanmax(values[:, known], 0)
    panel.fill_between(layers, low, high, linewidth=0, **style)


def language_lines(canvas: DriftCanvas, panel: Any, values: NDArray[np.float64]) -> None:
    for place, curve in enumerate(values):
        label = "one language" if place == 0 else None
        panel.plot(canvas.layers, curve, color=COLOURS[0], alpha=0.4, linewidth=0.8, label=label)
    panel.plot(canvas.layers, language_mean(values), color=COLOURS[1], linewidth=2.2, label="mean")
    canvas.layer_axis(panel)
    canvas.mark_layer(panel)


def language_map(
    canvas: DriftCanvas,
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
    colours = with_grey(SIGNED if limit else _LENGTH)
    image = None
    for panel, version, rows in zip(axes, drift.versions, every, strict=True):
        rows = rows if limit else rows.clip(min=high / _DECADES)  # no zeros: they have no logarithm
        shown = np.ma.masked_invalid(rows)
        image = panel.imshow(shown, norm=scale, cmap=colours, aspect="auto")
        if dots is not None:
            _dots(panel, drift, version, dots)
        bare(panel)
    axes[0].set_yticks(range(len(drift.languages)), list(drift.languages.values()), fontsize=8.5)
    for panel in axes:
        panel.tick_params(axis="y", length=0)
        panel.set_xlim(-0.5, drift.layers - 0.5)
        plotting.whole_layers(panel, 6)
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


def bare(panel: Any) -> None:
    for spine in panel.spines.values():
        spine.set_visible(False)


def with_grey(name: str) -> Any:
    """A colour map that shows what has no number in grey."""
    from matplotlib import colormaps

    return colormaps[name].with_extremes(bad=(GREY, 0.35))
