"""Which unit of work is done next, and what becomes of one that was lost."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from langsteer.scale.units import Ended, Unit, Workers

TRIES = 3
AHEAD = 256  # units that are looked at for one that can be started


def run_units(units: Iterable[Unit], workers: Workers, tries: int = TRIES) -> Iterator[Ended]:
    """Do every unit, in their order where they can be; yield each as it ends.

    A unit whose process died, or that failed in a way that was not foreseen, is tried again; after
    `tries` times it ends with its last error.
    """
    waiting = deque(units)
    running: dict[int, Unit] = {}
    claimed: set[str] = set()
    tried: Counter[int] = Counter()
    while waiting or running:
        while waiting and workers.room():
            unit = _next(waiting, claimed, workers)
            if unit is None:
                break
            running[id(unit)] = unit
            claimed |= unit.claims
        for ended in workers.wait():
            unit = ended.unit
            del running[id(unit)]
            claimed -= unit.claims
            tried[id(unit)] += ended.error is not None
            if ended.untouched or (ended.again and tried[id(unit)] < tries):
                waiting.appendleft(unit)
                continue
            if ended.again and ended.error is not None:
                ended = replace(ended, error=f"{ended.error} (tried {tries} times)")
            yield ended


def _next(waiting: deque[Unit], claimed: set[str], workers: Workers) -> Unit | None:
    """The first that claims nothing claimed and that a process takes, started.

    One whose model a free process holds goes before one for which a model would be opened.
    """
    places = [
        place
        for place in range(min(len(waiting), AHEAD))
        if claimed.isdisjoint(waiting[place].claims)
    ]
    held = [place for place in places if workers.holds(waiting[place].where)]
    for place in held[:1] + places:
        unit = waiting[place]
        if workers.start(unit):
            del waiting[place]
            return unit
    return None
