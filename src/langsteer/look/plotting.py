"""How figures look, whatever they show: colours, markers, and inline SVG, PNG and PDF of each."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from langsteer.extras import need

INK = "#010203"  # becomes the page's own text colour
GREY = "#80868f"
LAYER = "Layer (output of the block)"
# Far apart for readers with any kind of colour vision, and visible on white and on black.
COLOURS = ("#2d8ff5", "#d28200", "#3ca05a", "#d20078", "#782dff", "#c31e1e", "#c080c0", "#a52db4")
MARKERS = "osD^vPX*"
DPI = {"svg": 150, "png": 200, "pdf": 200}  # of an SVG or PDF: of what is in pixels inside

_LABEL = 8.5  # points

# Colour and marker of each name, as matplotlib's keywords.
Looks = Mapping[str, Mapping[str, Any]]

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "langsteer",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK
    ),
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


@dataclass(frozen=True)
class Figure:
    """A drawing in three formats. `svg` takes the text colour of the page that it stands in."""

    name: str
    caption: str
    svg: str
    png: bytes
    pdf: bytes

    @property
    def svg_file(self) -> str:
        """The SVG as a file of its own, black on transparent."""
        width, height = _size(self.svg)
        start = f'<svg width="{width:g}pt" height="{height:g}pt"'
        svg = re.sub(r'(<svg[^>]*?) style="[^"]*"', r"\1", self.svg, count=1)
        svg = svg.replace("<svg", start, 1).replace("currentColor", "#000000")
        return f'<?xml version="1.0" encoding="utf-8"?>\n{svg}\n'


@contextmanager
def drawing(feature: str, extra: str) -> Iterator[Any]:
    """matplotlib's pyplot in langsteer's style, without a window.

    Raises MissingExtraError, for `feature`, where matplotlib is not installed.
    """
    matplotlib = need("matplotlib", extra, feature)
    matplotlib.use("agg")
    pyplot = need("matplotlib.pyplot", extra, feature)
    with matplotlib.rc_context(_STYLE):
        yield pyplot


def looks(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """A colour and a marker for each name; no two of the first 64 have both in common."""
    by_name = {}
    for place, name in enumerate(names):
        marker = MARKERS[(place + place // len(COLOURS)) % len(MARKERS)]
        by_name[name] = {"color": COLOURS[place % len(COLOURS)], "marker": marker}
    return by_name


def finished(pyplot: Any, figure: Any, name: str, caption: str) -> Figure:
    """Write a figure in each format, and close it. The same drawing gives the same bytes."""
    figure.set_layout_engine("constrained")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once, and not again for each format
    written = {}
    for form in ("svg", "png", "pdf"):
        file = io.BytesIO()
        dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form)
        face = "white" if form == "png" else "none"
        figure.savefig(file, format=form, dpi=DPI[form], metadata=dates, facecolor=face)
        written[form] = file.getvalue()
    pyplot.close(figure)
    name = re.sub(r"[^\w.-]+", "-", name)
    svg = _inline(written["svg"].decode(), name, caption)
    return Figure(name, caption, svg, written["png"], written["pdf"])


def logarithmic(axes: Any, which: str = "x", subs: Sequence[float] = (1, 2, 3, 5, 7)) -> None:
    """Make the x or y axis logarithmic, labelled in plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def layer_axis(panel: Any, layers: int, most: int = 9) -> None:
    """Layers from 0 along x, at most so many of them numbered, and lines across at y's ticks."""
    whole_layers(panel, most)
    panel.set_xlim(-0.3, max(layers - 0.7, 0.3))
    panel.grid(axis="y", color=INK, alpha=0.12)


def whole_layers(panel: Any, most: int) -> None:
    """Whole numbers along x, at most so many."""
    from matplotlib.ticker import MaxNLocator

    panel.xaxis.set_major_locator(MaxNLocator(most, integer=True, min_n_ticks=1))


def panels(
    pyplot: Any, count: int, columns: int, width: float = 8.4, height: float = 1.6, **shared: Any
) -> tuple[Any, list[Any]]:
    """A figure of `count` panels of the same axes, left to right and down, `height` inches each."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure, grid = pyplot.subplots(
        rows,
        columns,
        figsize=(width, rows * height + 0.8),
        squeeze=False,
        **{"sharex": True, "sharey": True} | shared,
    )
    every = list(grid.flat)
    for unused in every[count:]:
        unused.remove()
    for panel in every[max(0, count - columns) : count]:
        panel.tick_params(labelbottom=True)
    return figure, every[:count]


def end_labels(axes: Any, ends: Mapping[str, tuple[float, float]], looks: Looks) -> None:
    """Name each line beside its last point, with its marker; no two names overlap.

    `ends` are in data coordinates. A line that ends before the others is not joined to its name.
    Call it when the limits of the axes are final.
    """
    from matplotlib.transforms import ScaledTranslation

    figure = axes.figure
    figure.set_layout_engine("constrained")
    figure.draw_without_rendering()
    place = [
        axes.transAxes + ScaledTranslation(points / 72, 0, figure.dpi_scale_trans)
        for points in (10, 15, 22)
    ]
    height = axes.get_window_extent().height / figure.dpi * 72
    inverse = axes.transAxes.inverted()
    wanted = [inverse.transform(axes.transData.transform(end))[1] for end in ends.values()]
    last = max((x for x, _ in ends.values()), default=0.0)
    levels = spread(wanted, _LABEL * 1.25 / height, 0.0, 1.0)
    for (name, end), level in zip(ends.items(), levels, strict=True):
        style = dict(looks[name]) | {"markersize": 5, "clip_on": False, "linestyle": ""}
        axes.plot([1], [level], transform=place[1], **style)
        axes.text(1, level, name, transform=place[2], fontsize=_LABEL, va="center")
        if end[0] < last:
            continue
        arrow = {"arrowstyle": "-", "shrinkA": 0, "shrinkB": 0, "linewidth": 0.7, "linestyle": ":"}
        arrow["color"] = looks[name]["color"]
        axes.annotate(
            "", end, (1, level), textcoords=place[0], annotation_clip=False, arrowprops=arrow
        )


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places at least `gap` apart, in the order of `wanted` and as near to it as can be.

    Between `low` and `high` where there is room. Least squares: an isotonic regression of the
    places less the room that those below need.
    """
    from scipy.optimize import isotonic_regression

    if not wanted:
        return []
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    room = [gap * rank for rank in range(len(order))]
    free = isotonic_regression([wanted[i] - r for i, r in zip(order, room, strict=True)]).x
    top = max(low, high - room[-1])
    places = [0.0] * len(wanted)
    for i, level, r in zip(order, free, room, strict=True):
        places[i] = float(min(max(level, low), top) + r)
    return places


def _inline(svg: str, name: str, caption: str) -> str:
    """An SVG that can stand in a page with others: own ids, the page's colour, and any width."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(url\(|href=")#', rf"\1#{name}-", svg)
    svg = re.sub(r"<!--.*?-->\n?", "", svg, flags=re.DOTALL)
    svg = re.sub(r"('DejaVu Sans'), [^;\"]*(sans-serif)", r"\1, \2", svg)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    svg = re.sub(r' transform="rotate\(-0 [^"]*\)"', "", svg)
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag.group()), svg)
    svg = svg.replace(INK, "currentColor")
    size = re.search(r'<svg[^>]*? width="([\d.]+)pt"', svg)
    width = f"{float(size.group(1)) * 4 / 3:.0f}" if size else "800"
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    label = caption.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    start = f'<svg role="img" aria-label="{label}" style="width: {width}px"'
    return svg.replace("<svg", start, 1).strip()


def _size(svg: str) -> tuple[float, float]:
    """Width and height of an SVG by its viewBox, in points."""
    box = re.search(r'viewBox="[\d.]+ [\d.]+ ([\d.]+) ([\d.]+)"', svg)
    return (float(box.group(1)), float(box.group(2))) if box else (600.0, 400.0)


def label_points(panel: Any, named: Mapping[str, tuple[float, float]], size: float = 6.0) -> None:
    """The name of each point beside it, where there is a place that no point or name has taken.

    `size` of the letters, in points. The figure must have been laid out already.
    """
    box = panel.get_window_extent()
    scale = 72 / panel.figure.dpi
    points = {name: panel.transData.transform(point) * scale for name, point in named.items()}
    occupied = [(x - 2.5, y - 2.5, x + 2.5, y + 2.5) for x, y in points.values()]
    low = box.x0 * scale, box.y0 * scale
    high = box.x1 * scale, box.y1 * scale
    for name, (x, y) in points.items():
        width = 0.62 * size * len(name)
        for dx, dy in _around(width, size):
            place = (x + dx - width / 2, y + dy - size / 2, x + dx + width / 2, y + dy + size / 2)
            inside = (
                place[0] > low[0]
                and place[1] > low[1]
                and place[2] < high[0]
                and place[3] < high[1]
            )
            if inside and not any(_overlap(place, other) for other in occupied):
                occupied.append(place)
                panel.annotate(
                    name, named[name], xytext=(dx, dy), textcoords="offset points",
                    ha="center", va="center", fontsize=size, zorder=5,
                )  # fmt: skip
                break


def _around(width: float, size: float) -> list[tuple[float, float]]:
    """Where the centre of a name may be, from its point, in points; the nearest first."""
    near = width / 2 + 4
    up = size / 2 + 3.5
    return [
        (near, 0), (-near, 0), (0, up), (0, -up), (near, up), (-near, up), (near, -up), (-near, -up),
        (near, 1.7 * up), (-near, 1.7 * up), (near, -1.7 * up), (-near, -1.7 * up),
    ]  # fmt: skip


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
