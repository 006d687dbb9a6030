"""Of how many items a change touched a token: one that touched none has measured nothing."""

from collections.abc import Hashable
from dataclasses import dataclass, field

from langsteer.errors import VectorError


@dataclass(frozen=True)
class Coverage:
    """Of how many `items` a change was to act on it `missed` how many: it touched none of their tokens."""

    items: int = 0
    missed: int = 0

    def __str__(self) -> str:
        return (
            f"the change touched no token of {self.missed} of {self.items} items, which are "
            "answered as without it"
        )


@dataclass
class Counted:
    """Items by task, and whether a change touched them."""

    _items: dict[str, dict[Hashable, bool]] = field(default_factory=dict)
    _positions: dict[str, str | None] = field(default_factory=dict)

    def note(self, task: str, item: Hashable, positions: str | None, touched: bool) -> None:
        """A request of an item was answered under a change that acts at `positions`, None for several."""
        items = self._items.setdefault(task, {})
        items[item] = items.get(item, False) or touched
        self._positions[task] = positions

    def coverage(self) -> dict[str, Coverage]:
        """By task."""
        return {
            task: Coverage(len(items), sum(not touched for touched in items.values()))
            for task, items in self._items.items()
        }

    def check(self) -> None:
        """Raise VectorError for a task of which no item was touched."""
        for task, coverage in self.coverage().items():
            if coverage.missed == coverage.items:
                positions = self._positions[task]
                raise VectorError(
                    f"{task}: the change{f' at {positions!r}' if positions else ''} touched no token of "
                    f"{coverage.items} items, which are answered as without it: look at their tokens "
                    "(langsteer evaluate --show-tokens) and steer at other positions"
                )
