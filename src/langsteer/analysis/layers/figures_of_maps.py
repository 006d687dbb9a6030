"""Figures of where languages lie: one picture a layer, unsteered and steered."""

import math
from typing import Any

import numpy as np

from langsteer.analysis.layers.canvas import LayerCanvas
from langsteer.analysis.layers.results import Map
from langsteer.look import plotting
from langsteer.look.plotting import GREY, Figure

MOST_PICTURES = 36  # of the layers, in one figure of the map


def shown_layers(layers: int) -> list[int]:
    """The layers that have a picture of the map: all, or evenly spread ones of very many."""
    if layers <= MOST_PICTURES:
        return list(range(layers))
    return sorted({round(layer) for layer in np.linspace(0, layers - 1, MOST_PICTURES)})


def map_figure(canvas: LayerCanvas, steered: bool) -> Figure:
    places = canvas.results.map
    layers = shown_layers(canvas.results.layers)
    columns = 6 if len(layers) > 12 else 4
    figure, axes = plotting.panels(canvas.pyplot, len(layers), columns, 9.6, 1.78)
    for panel, layer in zip(axes, layers, strict=True):
        _scatter(canvas, panel, layer, steered)
        panel.set_xlim(-places.limit, places.limit)
        panel.set_ylim(-places.limit, places.limit)
        panel.set_aspect("equal")
        panel.spines[["top", "right"]].set_visible(True)
        panel.tick_params(labelsize=7, length=2)
        explained = places.explained[layer]
        share = f" ({explained:.0%})" if math.isfinite(explained) else ""
        panel.set_title(f"Layer {layer}{share}", fontsize=9, pad=3)
    _map_legend(canvas, figure, steered)
    unit = "root mean square distance of sentences from the centre = 1"
    figure.supxlabel(f"First axis ({unit})", fontsize=9)
    figure.supylabel("Second axis", fontsize=9)
    figure.set_layout_engine("constrained")
    figure.draw_without_rendering()
    for panel, layer in zip(axes, layers, strict=True):
        plotting.label_points(panel, _means(places, layer, canvas.results.pivot, steered))
    return canvas.finished(
        figure, "map-steered" if steered else "map", _map_caption(places, steered)
    )


def _map_caption(places: Map, steered: bool) -> str:
    method = {"pca": "principal components", "umap": "UMAP"}.get(
        places.method.lower(), places.method
    )
    share = (
        "; in brackets, the share of the variance that the two axes hold"
        if any(map(math.isfinite, places.explained))
        else ""
    )
    shown = (
        "Language means before (hollow) and after steering (filled), and sentences after it, in the "
        "axes of the unsteered states"
        if steered
        else "Sentences (dots) and language means, unsteered"
    )
    return f"{shown}: one picture a layer, the same axes throughout ({method}){share}"


def _scatter(canvas: LayerCanvas, panel: Any, layer: int, steered: bool) -> None:
    """Sentences as dots, in pixels; means as markers."""
    places, pivot = canvas.results.map, canvas.results.pivot
    dots = dict(places.after) | {pivot: places.before[pivot]} if steered else places.before
    points = [(tag, point) for tag, place in dots.items() for point in place.sentences[layer]]
    order = np.random.default_rng(0).permutation(len(points))
    if len(points):
        colours = [GREY if tag == pivot else canvas.looks[tag]["color"] for tag, _ in points]
        panel.scatter(
            [points[i][1][0] for i in order],
            [points[i][1][1] for i in order],
            c=[colours[i] for i in order],
            s=4,
            alpha=0.5,
            linewidths=0,
            rasterized=True,
        )
    for tag, place in places.before.items():
        look = {"markersize": 5, "markeredgewidth": 0.9, **canvas.looks[tag]}
        if not steered or tag == pivot:
            panel.plot(*place.mean[layer], **look, zorder=4)
        elif tag in places.after:
            start, end = place.mean[layer], places.after[tag].mean[layer]
            colour = canvas.looks[tag]["color"]
            panel.plot(*zip(start, end, strict=True), color=colour, linewidth=0.9, zorder=3)
            panel.plot(*start, **look | {"markerfacecolor": "none", "zorder": 3})
            panel.plot(*end, **look, zorder=4)


def _means(places: Map, layer: int, pivot: str, steered: bool) -> dict[str, tuple[float, float]]:
    """The means that are named: of all languages, or of the steered ones and the pivot."""
    if not steered:
        return {tag: place.mean[layer] for tag, place in places.before.items()}
    after = {tag: place.mean[layer] for tag, place in places.after.items()}
    return after | {pivot: places.before[pivot].mean[layer]}


def _map_legend(canvas: LayerCanvas, figure: Any, steered: bool) -> None:
    from matplotlib.lines import Line2D

    places, results = canvas.results.map, canvas.results
    tags = [
        tag for tag in places.before if not steered or tag in places.after or tag == results.pivot
    ]
    handles = [
        Line2D([], [], linestyle="", markersize=5.5, **dict(canvas.looks[tag])) for tag in tags
    ]
    every = {**canvas.names, results.pivot: results.pivot_name}
    names = [f"{every[tag]} ({tag})" for tag in tags]
    figure.legend(handles, names, loc="outside upper center", ncols=5, fontsize=8.5)
