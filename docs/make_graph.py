"""Draw which room imports which, from the imports: python docs/make_graph.py

A picture, docs/architecture.svg, and a table in docs/architecture.md.

With --check nothing is written, and the exit status is 1 where the page does not show the code of today.
"""

import sys
from pathlib import Path

import grimp

PAGE = Path(__file__).parent / "architecture.md"
PICTURE = PAGE.with_suffix(".svg")
WIDTH, HEIGHT, FLOOR = 96, 30, 78  # of a box, and from floor to floor, in pixels
STYLE = (
    "text{font:13px sans-serif;text-anchor:middle;fill:#1c2733}"
    "rect{fill:#eef3f8;stroke:#5b7083;rx:5px}path{stroke:#7b8c9b;fill:none;marker-end:url(#tip)}"
)
BEGIN, END = "<!-- graph: made by make graph -->\n", "<!-- end of graph -->"


def imports() -> dict[str, set[str]]:
    """The rooms, and which rooms each imports."""
    graph = grimp.build_graph("langsteer", cache_dir=None)
    rooms = {name.split(".")[1] for name in graph.modules if name.count(".") > 1}
    arrows: dict[str, set[str]] = {room: set() for room in rooms}
    for name in graph.modules:
        room = name.split(".")[1] if "." in name else ""
        if room in rooms:
            used = {
                other.split(".")[1]
                for other in graph.find_modules_directly_imported_by(name)
                if "." in other
            }
            arrows[room] |= (used & rooms) - {room}
    return arrows


def floors(arrows: dict[str, set[str]]) -> list[list[str]]:
    """The rooms by floor: each room stands above all that it imports. Raises ValueError on a circle."""
    left, done, house = dict(arrows), set[str](), list[list[str]]()
    while left:
        floor = sorted(room for room, used in left.items() if used <= done)
        if not floor:
            raise ValueError(f"imports go in a circle among {', '.join(sorted(left))}")
        house.append(floor)
        done |= set(floor)
        left = {room: used for room, used in left.items() if room not in done}
    return house


def block() -> str:
    """The table of floors and what each room imports, the highest floor first."""
    arrows = imports()
    house = floors(arrows)
    rows = ["| floor | room | imports |", "| ---: | --- | --- |"]
    for number in range(len(house), 0, -1):
        for room in house[number - 1]:
            used = sorted(arrows[room], key=lambda name: (-_floor(name, house), name))
            rows.append(f"| {number} | `{room}` | {', '.join(f'`{name}`' for name in used)} |")
    count = sum(len(used) for used in arrows.values())
    rows += ["", f"{len(arrows)} rooms on {len(house)} floors, {count} arrows, no circle."]
    return "\n".join(rows) + "\n"


def direct(arrows: dict[str, set[str]]) -> list[tuple[str, str]]:
    """The arrows that no way over other rooms stands for: those that the picture draws."""

    def below(room: str) -> set[str]:
        return set().union(*({used} | below(used) for used in arrows[room]))

    return sorted(
        (room, used)
        for room, all_used in arrows.items()
        for used in all_used
        if not any(used in below(other) for other in all_used - {used})
    )


def hung(arrows: dict[str, set[str]]) -> list[list[str]]:
    """The rooms by floor, each as high as those that import it let it stand: so arrows are short."""
    users = {room: {user for user, used in arrows.items() if room in used} for room in arrows}
    return [sorted(floor) for floor in reversed(floors(users))]


def drawing() -> str:
    """The rooms on their floors, the highest at the top, and the direct arrows, as SVG."""
    arrows = imports()
    house = hung(arrows)
    wide = max(map(len, house)) * (WIDTH + 60)
    places = {
        room: (wide * (2 * i + 1) / (2 * len(floor)), FLOOR * (len(house) - 1 - number) + 30)
        for number, floor in enumerate(house)
        for i, room in enumerate(floor)
    }
    lines = []
    for room, used in direct(arrows):
        (x, y), (to_x, to_y) = places[room], places[used]
        y, to_y = y + HEIGHT / 2, to_y - HEIGHT / 2 - 3
        bend = (to_y - y) / 2
        lines.append(
            f'<path d="M{x:g} {y:g} C{x:g} {y + bend:g} {to_x:g} {to_y - bend:g} {to_x:g} {to_y:g}"/>'
        )
    for room, (x, y) in places.items():
        box = f'x="{x - WIDTH / 2:g}" y="{y - HEIGHT / 2:g}" width="{WIDTH}" height="{HEIGHT}"'
        lines.append(f'<rect {box}/><text x="{x:g}" y="{y + 4:g}">{room}</text>')
    tip = (
        '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0 8 4 0 8z" style="fill:#7b8c9b;stroke:none;marker:none"/></marker>'
    )
    size = f'width="{wide:g}" height="{FLOOR * len(house):g}" viewBox="0 0 {wide:g} {FLOOR * len(house):g}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    title = "<title>The rooms of langsteer, and which imports which</title>"
    ground = '<rect width="100%" height="100%" style="fill:#fff;stroke:none"/>'
    body = "\n".join(lines)
    return (
        f"{head}\n{title}\n<style>{STYLE}</style>\n<defs>{tip}</defs>\n{ground}\n{body}\n</svg>\n"
    )


def _floor(room: str, house: list[list[str]]) -> int:
    return next(number for number, floor in enumerate(house) if room in floor)


def updated(page: str) -> str:
    """The page with the graph of today."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + "\n" + block() + "\n" + END + rest.partition(END)[2]


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        if updated(text) != text or drawing() != PICTURE.read_text(encoding="utf-8"):
            sys.exit("docs/architecture.md does not show the imports of today: run make graph")
    else:
        PAGE.write_text(updated(text), encoding="utf-8")
        PICTURE.write_text(drawing(), encoding="utf-8")
