"""Draw which room imports which, from the imports, into docs/architecture.md: python docs/make_graph.py

With --check nothing is written, and the exit status is 1 where the page does not show the code of today.
"""

import sys
from pathlib import Path

import grimp

PAGE = Path(__file__).parent / "architecture.md"
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


def _floor(room: str, house: list[list[str]]) -> int:
    return next(number for number, floor in enumerate(house) if room in floor)


def updated(page: str) -> str:
    """The page with the graph of today."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + "\n" + block() + "\n" + END + rest.partition(END)[2]


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        if updated(text) != text:
            sys.exit("docs/architecture.md does not show the imports of today: run make graph")
    else:
        PAGE.write_text(updated(text), encoding="utf-8")
