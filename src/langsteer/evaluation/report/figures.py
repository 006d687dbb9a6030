"""Figures of a comparison."""

from collections.abc import Mapping, Sequence
from typing import Any

from langsteer.evaluation.report.grids import score_name
from langsteer.evaluation.report.samples import DIRECT, ENGLISH, PIVOT
from langsteer.evaluation.report.table import MethodRow, Table
from langsteer.look import plotting
from langsteer.look.plotting import INK, Figure
from langsteer.text.languages import language_name

LEGEND_COLUMNS, LEGEND_LINE = 2, 0.22  # of a legend below a figure; inches a line


def draw_figures(table: Table) -> list[Figure]:
    """The scores by language, the differences to `direct`, and what they cost, as far as known."""
    looks = _looks(table)
    with plotting.drawing("the report", "eval") as pyplot:
        figures = [_scores(pyplot, table, looks)]
        rows = [row for row in table.rows if row.method != ENGLISH and row.comparison]
        if rows:
            figures.append(_differences(pyplot, table, rows, looks))
        if any(row.cost.seconds for row in rows):
            figures.append(_costs(pyplot, table, rows, looks))
    return figures


def _looks(table: Table) -> dict[str, dict[str, Any]]:
    """Colour and marker of each method, the same in every figure."""
    looks: dict[str, dict[str, Any]] = {
        DIRECT: {"color": INK, "marker": "o", "markerfacecolor": "none"},
        ENGLISH: {"color": INK, "marker": "|", "markersize": 13, "markeredgewidth": 2.5},
    }
    others = [row.method for row in table.rows if row.method not in looks]
    return looks | plotting.looks(others)


def _scores(pyplot: Any, table: Table, looks: Mapping[str, Mapping[str, Any]]) -> Figure:
    direct = table.row(DIRECT) or table.rows[0]
    scores = dict(zip(table.languages, direct.entries, strict=True))
    shown = [name for name in table.languages if name != PIVOT]
    shown.sort(key=lambda name: scores[name].score if scores[name] else 0.0)  # type: ignore[union-attr]
    height = 0.34 * len(shown) + 1.0 + _legend_height(table.rows)
    figure, axes = pyplot.subplots(figsize=(8.4, height))
    for row in table.rows:
        entries = dict(zip(table.languages, row.entries, strict=True))
        points = [(e.score, y) for y, name in enumerate(shown) if (e := entries[name]) is not None]
        order = {DIRECT: 4, ENGLISH: 2}.get(row.method, 3)  # direct is a ring: it hides nothing
        style: dict[str, Any] = {"markersize": 6.5, "linestyle": "", "zorder": order}
        axes.plot(*zip(*points, strict=True), label=row.title, **style | dict(looks[row.method]))
    axes.set_yticks(range(len(shown)), [language_name(name) for name in shown])
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.grid(axis="y", color=INK, alpha=0.12)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"{_name(table)} (%)")
    _legend_below(figure, axes)
    caption = f"{_name(table)} of each method in each language"
    return _finished(pyplot, figure, table, "scores", caption)


def _differences(
    pyplot: Any, table: Table, rows: Sequence[MethodRow], looks: Mapping[str, Mapping[str, Any]]
) -> Figure:
    rows = sorted(rows, key=lambda row: row.contrast.difference.value)
    figure, axes = pyplot.subplots(figsize=(7.4, 0.36 * len(rows) + 1.1))
    axes.axvline(0, color=INK, linewidth=1, alpha=0.5, zorder=0)
    for place, row in enumerate(rows):
        contrast, look = row.contrast, dict(looks[row.method])
        change = contrast.difference
        axes.plot([change.low, change.high], [place, place], color=look["color"], linewidth=2)
        face = look["color"] if contrast.significant else "none"
        axes.plot(change.value, place, markersize=8, **look | {"markerfacecolor": face})
    axes.set_yticks(range(len(rows)), [row.title for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.grid(axis="x", color=INK, alpha=0.12)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("Difference to direct (points),\nmean over languages, 95% interval")
    caption = (
        "Difference of each method to direct, with its 95% bootstrap interval. "
        "Filled: significant after Holm's correction"
    )
    return _finished(pyplot, figure, table, "differences", caption)


def _costs(
    pyplot: Any, table: Table, rows: Sequence[MethodRow], looks: Mapping[str, Mapping[str, Any]]
) -> Figure:
    trained = any(row.cost.training_seconds for row in rows)
    height = 3.6 + _legend_height(rows)
    figure, panels = pyplot.subplots(
        1, 1 + trained, figsize=(8.4, height), sharey=True, squeeze=False
    )
    axes, *training = panels[0]
    for row in rows:
        _point(axes, row.cost.seconds / max(1, row.answered), row, looks)
        for panel in training:
            _point(panel, row.cost.training_seconds / 60, row, looks)
    for panel in (axes, *training):
        panel.axhline(0, color=INK, linewidth=1, alpha=0.5, zorder=0)
        panel.grid(color=INK, alpha=0.12)
    axes.set_xlabel("Seconds an item")
    axes.set_ylabel("Difference to direct (points)")
    for panel in training:
        panel.set_xlabel("Minutes of training, all languages")
        panel.set_xlim(left=-0.04 * max(row.cost.training_seconds / 60 for row in rows))
    if min(row.cost.seconds for row in rows) > 0:
        plotting.logarithmic(axes)
    _legend_below(figure, axes)
    caption = "What each method costs against what it gains over direct, with 95% intervals"
    return _finished(pyplot, figure, table, "costs", caption)


def _legend_below(figure: Any, axes: Any) -> None:
    """Names below leave the width to what is drawn, however long they are."""
    names = axes.get_legend_handles_labels()
    figure.legend(*names, loc="outside lower center", ncols=LEGEND_COLUMNS)


def _legend_height(rows: Sequence[MethodRow]) -> float:
    return LEGEND_LINE * -(-len(rows) // LEGEND_COLUMNS)


def _point(axes: Any, cost: float, row: MethodRow, looks: Mapping[str, Mapping[str, Any]]) -> None:
    change, look = row.contrast.difference, looks[row.method]
    axes.plot([cost, cost], [change.low, change.high], color=look["color"], linewidth=1.5)
    axes.plot(cost, change.value, markersize=8, linestyle="", label=row.title, **look)


def _finished(pyplot: Any, figure: Any, table: Table, kind: str, caption: str) -> Figure:
    name = f"{table.model}-{table.benchmark}-{kind}"
    return plotting.finished(pyplot, figure, name, caption)


def _name(table: Table) -> str:
    name = score_name(table)
    return name if table.score == "value" else name[0].upper() + name[1:]
