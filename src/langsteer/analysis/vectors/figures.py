"""Figures of vectors looked at, drawn from the results alone."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langsteer.analysis.vectors.results import (
    RANDOM,
    GroupTest,
    Matrix,
    Transfer,
    VectorRecord,
    VectorResults,
)
from langsteer.look import plotting
from langsteer.look.plotting import COLOURS, GREY, INK, Figure
from langsteer.look.words import MINUS, noun, p_value, signed, written
from langsteer.progress import track
from langsteer.text.languages import language_name

MOST_NUMBERS = 20  # rows up to which the numbers stand in a heat map
MOST_DOTS = 300  # that are drawn one by one, and not in pixels

_LEVELS = "cividis"
_SIGNED = "PuOr"


def draw(results: VectorResults) -> list[Figure]:
    """All figures that the results have numbers for. Raises MissingExtraError without matplotlib."""
    with plotting.drawing("the figures", "analysis") as pyplot:
        jobs: list[Callable[[], Figure]] = []
        if len(results.vectors) > 1:
            jobs += [partial(_similarity, pyplot, results), partial(_centred, pyplot, results)]
        if results.groups:
            jobs.append(partial(_groups, pyplot, results))
        if results.transfer is not None:
            jobs += _transfers(pyplot, results, results.transfer)
        return [job() for job in track(jobs, "Drawing", len(jobs))]


def row_order(results: VectorResults, tags: Sequence[str]) -> list[int]:
    """Places of the tags in the order of the clusters; those that are in none come last."""
    rank = {results.vectors[i].language: r for r, i in enumerate(results.similarity.order)}
    return sorted(range(len(tags)), key=lambda i: (rank.get(tags[i], len(rank)), i))


def label_of(tag: str) -> str:
    return "random direction" if tag == RANDOM else language_name(tag)


# Similarity


def _similarity(pyplot: Any, results: VectorResults) -> Figure:
    """The dendrogram beside the cosines, row by row."""
    order = list(results.similarity.order)
    size = _row(len(order)) * len(order)
    figure, (tree, axes) = pyplot.subplots(
        1, 2, figsize=(5.9 + size, size + 1.3), width_ratios=[1.6, max(size, 1.5)]
    )
    _dendrogram(tree, results.similarity.merges, len(order))
    names = [_with_family(results.vectors[i]) for i in order]
    cosine = np.array(results.similarity.cosine)[np.ix_(order, order)]
    low = float(cosine[~np.eye(len(order), dtype=bool)].min())
    _heat(axes, cosine, names, [results.vectors[i].name for i in order], (low, 1.0), _LEVELS)
    _bar(figure, [tree, axes], "Cosine")
    caption = (
        f"Cosine of the languages' vectors at layer {results.layer}, and their clusters (average "
        "linkage of 1 − cosine), with language families"
    )
    return plotting.finished(pyplot, figure, "similarity", caption)


def _centred(pyplot: Any, results: VectorResults) -> Figure:
    order = list(results.similarity.order)
    size = _row(len(order)) * len(order)
    figure, axes = pyplot.subplots(figsize=(4.6 + size, size + 1.3))
    cosine = np.array(results.similarity.centred)[np.ix_(order, order)]
    names = [_with_family(results.vectors[i]) for i in order]
    _heat(axes, cosine, names, [results.vectors[i].name for i in order], (-1.0, 1.0), _SIGNED)
    _bar(figure, [axes], "Cosine of what is left")
    caption = (
        "The same of the vectors less their mean: what is left when that which all have in common is "
        "taken away, in the order of the clusters"
    )
    return plotting.finished(pyplot, figure, "similarity-centred", caption)


def _dendrogram(axes: Any, merges: Matrix, leaves: int) -> None:
    """Leaves from top to bottom, at the middle of the heat map's rows."""
    from scipy.cluster.hierarchy import dendrogram

    drawn = dendrogram(np.array(merges), no_plot=True)
    for places, heights in zip(drawn["icoord"], drawn["dcoord"], strict=True):
        axes.plot(heights, [(place - 5) / 10 for place in places], color=INK, linewidth=1)
    axes.set_ylim(leaves - 0.5, -0.5)
    axes.set_xlim(1.05 * max(merge[2] for merge in merges) or 1.0, 0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("1 − cosine")
    axes.xaxis.set_major_locator(_ticks(3))
    axes.tick_params(labelsize=8)


def _with_family(record: VectorRecord) -> str:
    family, _, branch = record.branch.partition(", ")
    known = record.branch if branch != family else family
    return f"{record.name} · {known}" if known else record.name


# Groups


def _groups(pyplot: Any, results: VectorResults) -> Figure:
    """Every pair's cosine, of one group above, of different groups below, for each kind of group."""
    tests = results.groups
    figure, panels = plotting.panels(pyplot, len(tests), 1, 7.4, 1.15, sharey=False)
    cosine = np.array(results.similarity.cosine)
    for panel, test in zip(panels, tests, strict=True):
        labels = [getattr(record, test.kind) or record.name for record in results.vectors]
        pairs = [(i, j) for i in range(len(labels)) for j in range(i)]
        same = [cosine[i, j] for i, j in pairs if labels[i] == labels[j]]
        other = [cosine[i, j] for i, j in pairs if labels[i] != labels[j]]
        for level, values, colour in ((1, same, COLOURS[0]), (0, other, GREY)):
            _strip(panel, level, values, colour)
        panel.set_yticks([0, 1], [f"different {noun(test.kind, 2)}", f"same {test.kind}"])
        panel.set_ylim(-0.6, 1.6)
        panel.grid(axis="x", color=INK, alpha=0.12)
        panel.tick_params(axis="y", length=0)
        panel.set_title(_test_words(test), fontsize=9, loc="left", pad=3)
    panels[-1].set_xlabel("Cosine of two languages’ vectors")
    caption = (
        "Cosines of languages of one group and of different groups; bars: means. p: how often groups "
        "dealt out at random among the languages give at least that difference"
    )
    return plotting.finished(pyplot, figure, "families", caption)


def _strip(panel: Any, level: int, values: Sequence[float], colour: str) -> None:
    """Points on one level, moved a little up and down so that they can be told apart."""
    moved = level + np.random.default_rng(level).uniform(-0.22, 0.22, len(values))
    look = {"color": colour, "markersize": 3.5, "alpha": 0.6, "markeredgewidth": 0}
    panel.plot(values, moved, "o", rasterized=len(values) > MOST_DOTS, **look)
    mean = float(np.mean(values))
    panel.plot([mean, mean], [level - 0.38, level + 0.38], color=INK, linewidth=2)


def _test_words(test: GroupTest) -> str:
    p = p_value(test.p, exact=True)
    return f"{test.kind.capitalize()}: difference {signed(test.difference, '.3f')}, p {p}"


# Transfer


def _transfers(
    pyplot: Any, results: VectorResults, carried: Transfer
) -> list[Callable[[], Figure]]:
    strength = "its own strength" if carried.strength is None else f"strength {carried.strength:g}"
    pivot = results.pivot_name
    at = f"vector of the row added to texts of the column, at {strength}"
    gone = "Share of the distance gone"
    jobs: list[Callable[[], Figure]] = [
        partial(_map, pyplot, results, carried, "transfer-layer", np.array(carried.at_layer), gone, 1.0,
                f"Share of the distance to {pivot}'s mean that is gone at the vectors' own layer "
                f"({results.layer}): {at}; framed: a language's own vector"),
        partial(_map, pyplot, results, carried, "transfer-last", np.array(carried.at_last), gone, 1.0,
                f"Share of the distance to {pivot}'s mean that is gone at the last layer: {at}"),
        partial(_map, pyplot, results, carried, "transfer-mexa",
                100 * (np.array(carried.mexa) - np.array(carried.mexa_unsteered)),
                "Change of MEXA (points)", None, f"Change of MEXA with {pivot} at the last layer: {at}"),
    ]  # fmt: skip
    if carried.task:
        change = np.array(carried.task) - np.array(carried.task_unsteered)
        jobs.append(
            partial(_map, pyplot, results, carried, "transfer-task", change, "Change (points)", None,
                    f"Change of the score on the task: {at}")
        )  # fmt: skip
    return jobs


def _map(
    pyplot: Any,
    results: VectorResults,
    carried: Transfer,
    name: str,
    values: NDArray[np.float64],
    label: str,
    limit: float | None,
    caption: str,
) -> Figure:
    rows, columns = row_order(results, carried.vectors), row_order(results, carried.texts)
    shown = values[np.ix_(rows, columns)]
    height = _row(len(rows)) * len(rows)
    width = 1.3 * _row(len(columns)) * len(columns)
    figure, axes = pyplot.subplots(figsize=(3.0 + width, height + 1.5))
    if limit is None:
        known = np.abs(shown[np.isfinite(shown)])
        limit = float(known.max()) if len(known) and known.max() else 1.0
    form = ".2f" if limit == 1.0 and "points" not in label else ".0f"
    _heat(
        axes,
        shown,
        [label_of(carried.vectors[i]) for i in rows],
        [label_of(carried.texts[i]) for i in columns],
        (-limit, limit),
        _SIGNED,
        form,
    )
    axes.set_ylabel("Vector of")
    axes.yaxis.set_label_position("left")
    axes.set_xlabel("Texts in")
    _own(axes, [carried.vectors[i] for i in rows], [carried.texts[i] for i in columns])
    _bar(figure, [axes], label, "min" if np.nanmin(shown) < -limit else "neither")
    return plotting.finished(pyplot, figure, name, caption)


def _row(rows: int) -> float:
    """Inches of a heat map's row, with room for numbers where they are shown."""
    return 0.3 if rows <= MOST_NUMBERS else 0.18


def _own(axes: Any, rows: Sequence[str], columns: Sequence[str]) -> None:
    """A frame around each language's own vector."""
    from matplotlib.patches import Rectangle

    for place, tag in enumerate(columns):
        if tag in rows:
            corner = (place - 0.5, rows.index(tag) - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=INK, linewidth=1.6))


# Heat maps


def _heat(
    axes: Any,
    values: NDArray[np.float64],
    rows: Sequence[str],
    columns: Sequence[str],
    limits: tuple[float, float],
    colours: str,
    form: str = ".2f",
) -> None:
    axes.imshow(
        values, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto", interpolation="nearest"
    )
    axes.set_yticks(range(len(rows)), rows, fontsize=8.5)
    axes.set_xticks(range(len(columns)), columns, fontsize=8.5, rotation=60, ha="right",
                    rotation_mode="anchor")  # fmt: skip
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if colours == _LEVELS:
        axes.yaxis.tick_right()
    if max(values.shape) <= MOST_NUMBERS:
        _numbers(axes, values, form)


def _numbers(axes: Any, values: NDArray[np.float64], form: str) -> None:
    image = axes.images[0]
    for (row, column), value in np.ndenumerate(values):
        if math.isfinite(value):
            colour = np.array(image.cmap(image.norm(value))[:3]) ** 2.2
            dark = float(colour @ (0.2126, 0.7152, 0.0722)) < 0.18
            axes.text(column, row, _short(value, form), ha="center", va="center", fontsize=6.8,
                      color="#ffffff" if dark else "#000000")  # fmt: skip


def _short(value: float, form: str) -> str:
    text = written(value, form)
    if text.strip(f"{MINUS}0.") == "":
        text = text.lstrip(MINUS)
    return text.replace("0.", ".", 1) if text.lstrip(MINUS).startswith("0.") else text


def _bar(figure: Any, axes: Sequence[Any], label: str, extend: str = "neither") -> None:
    """The colours of the last of `axes`, at the right of all of them."""
    bar = figure.colorbar(
        axes[-1].images[0],
        ax=list(axes),
        label=label,
        fraction=0.05,
        pad=0.02,
        aspect=30,
        extend=extend,
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8)
    bar.ax.yaxis.set_major_locator(_ticks(5))


def _ticks(most: int) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(most)
