"""Parts of a corpus that would fall below their least, mended: whole groups move, or lines are exchanged.

Parts that have enough stay as they are.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

Group = Sequence[int]


def with_least(parts: Sequence[str], chosen: Sequence[int], least: int) -> list[int]:
    """Places of lines of a corpus that comes split, with at least so many of each part.

    Where a part has too few, lines of it that are not chosen take the place of those nearest to them of
    the part that has most. As they are where they are too few for that.
    """
    wanted = {part: min(least, count) for part, count in Counter(parts).items()}
    if sum(wanted.values()) > len(chosen):
        return list(chosen)
    kept, counts = set(chosen), Counter(parts[i] for i in chosen)
    for part in sorted(wanted):
        missing = wanted[part] - counts[part]
        free = [i for i, own in enumerate(parts) if own == part and i not in kept]
        for n in range(missing):
            place = free[n * len(free) // missing]
            most = max(sorted(counts), key=lambda own: counts[own])
            gone = min((i for i in kept if parts[i] == most), key=lambda i: (abs(i - place), i))
            kept = kept - {gone} | {place}
            counts[part], counts[most] = counts[part] + 1, counts[most] - 1
    return sorted(kept)


def evened(dealt: Mapping[str, Sequence[Group]], least: int) -> dict[str, list[Group]]:
    """Groups of lines by part, some moved from parts with lines to spare to those with too few.

    The group that is nearest in size to what is missing moves first. A part may still have too few,
    where groups are too large to be moved.
    """
    moved = {part: list(groups) for part, groups in dealt.items()}
    for part in moved:
        while (missing := least - _size(moved[part])) > 0:
            spare = [
                (len(group) < missing, abs(len(group) - missing), -_size(groups), -n, other)
                for other, groups in moved.items()
                for n, group in enumerate(groups)
                if other != part and _size(groups) - len(group) >= least
            ]
            if not spare:
                break
            *_, n, other = min(spare)
            moved[part].append(moved[other].pop(-n))
    return moved


def _size(groups: Sequence[Group]) -> int:
    return sum(map(len, groups))
