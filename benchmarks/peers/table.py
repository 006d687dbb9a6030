"""The tables of docs/background/peers.md, one a group of parts, from the lines of results."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.part import OURS, Part
from benchmarks.peers.parts import PARTS
from langsteer.storage.files import write_text

PAGE = Path(__file__).parents[2] / "docs" / "background" / "peers.md"
GROUPS = ("fitting", "sweep", "scoring", "generation", "routing")
HEADS = (
    "",
    "against",
    "times the processor time",
    "operations",
    "peak memory",
    "seconds",
    "results",
)
Line = Mapping[str, Any]


def put_tables(lines: Sequence[Line], page: Path = PAGE) -> str:
    """Write each group's table between its marks on the page; returns them all."""
    text = page.read_text(encoding="utf-8")
    tables = {group: table(lines, group) for group in GROUPS}
    for group, told in tables.items():
        before, begin, rest = text.partition(f"<!-- peers: {group} -->")
        _, end, after = rest.partition("<!-- end of peers -->")
        text = f"{before}{begin}\n\n{told}\n\n{end}{after}" if begin and end else text
    write_text(page, text)
    return "\n\n".join(tables.values())


def table(lines: Sequence[Line], group: str) -> str:
    """A row for each peer of each part of a group; a peer without a line is not measured yet."""
    rows = []
    for name, part in PARTS.items():
        if name.partition("-")[0] != group:
            continue
        own = line_of(lines, name, part, OURS)
        rows += [row(part, peer, line_of(lines, name, part, peer), own) for peer in part.peers]
    aligned = [list(HEADS), ["---", "---", *["---:"] * 4, "---"], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in aligned)


def line_of(lines: Sequence[Line], name: str, part: Part, peer: str) -> Line | None:
    """The latest line of these settings."""
    about = {"part": name, "peer": peer, "settings": part.settings}
    of_these = [line for line in lines if {key: line.get(key) for key in about} == about]
    return of_these[-1] if of_these else None


def row(part: Part, peer: str, line: Line | None, own: Line | None) -> list[str]:
    does = part.peers[peer].does
    against = f"{peer}: {does}" if does else peer
    if line is None or "cannot" in line:
        why = "not measured yet" if line is None else f"cannot: {line['cannot']}"
        return [part.title, against, "–", "–", "–", "–", why]
    theirs, ours = line["operations"]
    return [
        part.title,
        against,
        times(line),
        f"{theirs / ours:.1f}" if theirs and ours else "–",
        memory(line, own),
        "{:.3g}, {:.3g}".format(*line["seconds"]),
        results(line["same"]),
    ]


def times(line: Line) -> str:
    """The median, and its interval where there was more than one round."""
    if line.get("rounds") == 1:
        return f"{line['times'][0]:.2f}, one round"
    return "{:.2f} [{:.2f}, {:.2f}]".format(*line["times"])


def memory(line: Line, own: Line | None) -> str:
    """Theirs and ours, over the loaded model."""
    ours = f"{own['memory']:.2f}" if own is not None and "memory" in own else "–"
    return f"{line['memory']:.2f}, {ours}"


def results(same: Mapping[str, Any]) -> str:
    """How theirs and ours compare, in words."""
    if "cosine" in same:
        return vectors(same)
    if "same_decisions" in same:
        return (
            f"{same['same_decisions']} of {same['items']} decisions the same, "
            f"scores within {same['largest_difference']:.2g}"
        )
    if "same_rows" in same:
        return f"{same['same_rows']} of {same['rows']} texts the same"
    theirs = f"{same['right']} and ours " if "right" in same else "ours "
    return f"{theirs}{same['ours_right']} of {same['items']} right"


def vectors(same: Mapping[str, Any]) -> str:
    told = f"{same['layers']} layers: cosine {same['cosine']:.4f}, apart {same['difference']:.2g}"
    if "last_cosine" in same:
        told += f"; last layer {same['last_cosine']:.4f}, {same['last_difference']:.2g}"
    return told
