"""What the figures of an analysis have in common: looks, axes, lines by language, panels by language."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from langsteer.analysis.layers.quantities import Quantity
from langsteer.analysis.layers.results import Curve, LanguageResults, LayerResults, Measures
from langsteer.look import plotting
from langsteer.look.plotting import COLOURS, INK, LAYER, Figure, Looks

STEERED: Any = (0, (3.5, 1.8))
STEERED_AT = "layer steered at"
BLUE, ORANGE = COLOURS[:2]


class LayerCanvas:
    """What all figures of some results have in common."""

    def __init__(self, pyplot: Any, results: LayerResults) -> None:
        self.pyplot, self.results = pyplot, results
        self.names = {tag: language.name for tag, language in results.languages.items()}
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


def stacked(canvas: LayerCanvas, count: int, names: int | None = None) -> tuple[Any, list[Any]]:
    """Panels one below the other, high enough for a line's name for each language."""
    names = len(canvas.named) if names is None else names
    height = max(2.6, 0.155 * names + 0.35)
    return plotting.panels(canvas.pyplot, count, 1, 7.4, height, sharey=False)


def language_lines(
    canvas: LayerCanvas,
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
    plotting.layer_axis(panel, canvas.results.layers)
    panel.set_xlabel(LAYER if panel.get_subplotspec().is_last_row() else "")
    ends = {name: end for name, curve in curves.items() if (end := _last(curve)) is not None}
    plotting.end_labels(panel, ends, looks)


def _last(curve: Curve) -> tuple[float, float] | None:
    """The last point of a curve that is a number."""
    known = [(float(layer), value) for layer, value in enumerate(curve) if math.isfinite(value)]
    return known[-1] if known else None


def panel_by_language(
    canvas: LayerCanvas,
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
    for panel, language in zip(axes, languages.values(), strict=True):
        for colour, quantity in zip(COLOURS, quantities, strict=False):
            _pair(panel, quantity.curve, language, colour, canvas.title(quantity.title))
        language_panel(canvas, panel, language)
    if all(quantity.share for quantity in quantities):
        axes[0].set_ylim(-0.04, 1.04)
    shared_labels(canvas, figure, axes, label)
    return canvas.finished(figure, name, caption)


def _pair(
    panel: Any,
    curve: Callable[[Measures], Curve],
    language: LanguageResults,
    colour: str,
    label: str,
) -> None:
    panel.plot(curve(language.before), color=colour, linewidth=1.5, label=label)
    if language.after is not None:
        panel.plot(curve(language.after), color=colour, linewidth=1.5, linestyle=STEERED)


def language_panel(canvas: LayerCanvas, panel: Any, language: LanguageResults) -> None:
    panel.set_title(language.name, fontsize=9.5, pad=3)
    plotting.layer_axis(panel, canvas.results.layers, 6)
    steered_at(panel, [language])


def steered_at(panel: Any, languages: Iterable[LanguageResults], label: str | None = None) -> None:
    """A dotted line at each layer that one of the languages is steered at; `label` names the first."""
    layers = {language.steering.layer for language in languages if language.steering is not None}
    for place, layer in enumerate(sorted(layers)):
        name = None if place else label
        panel.axvline(layer, color=INK, alpha=0.45, linewidth=0.9, linestyle=":", label=name)


def shared_labels(canvas: LayerCanvas, figure: Any, axes: Sequence[Any], label: str) -> None:
    from matplotlib.lines import Line2D

    figure.supxlabel(LAYER, fontsize=10)
    figure.supylabel(label, fontsize=10)
    handles, names = axes[0].get_legend_handles_labels()
    if canvas.results.steered:
        keys: tuple[tuple[Any, str], ...] = (
            ("-", "unsteered"),
            (STEERED, "steered"),
            (":", STEERED_AT),
        )
        handles += [Line2D([], [], color=INK, linewidth=1.2, linestyle=style) for style, _ in keys]
        names += [text for _, text in keys]
    figure.legend(handles, names, loc="outside upper center", ncols=min(len(names), 3), fontsize=9)


def dashes(canvas: LayerCanvas) -> str:
    return "; dashed: steered" if canvas.results.steered else ", unsteered"
