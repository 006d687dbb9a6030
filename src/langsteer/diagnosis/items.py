"""Items of a task: what is asked in the language, its answers, and the English of the same."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from langsteer.errors import DiagnosisError
from langsteer.model.tokens import Conversation, Text
from langsteer.text.corpus import plain

SHARE = 0.5  # of the items that develop a recipe, where a task comes in one part


@dataclass(frozen=True)
class Wording:
    """An item in one language: the prompt, and what may follow it, as it is read after it.

    There is one answer where it is a reference. A prompt does not end in a space: answers begin
    with it.
    """

    prompt: Text
    answers: tuple[str, ...]


@dataclass(frozen=True)
class TaskItem:
    """One item. `right` is the place of the right answer, in every wording.

    `english` is the original, `native` another wording in the language whose answers are in the
    language too, `translation` English by a machine; None where there is none.
    """

    id: str
    own: Wording
    right: int = 0
    english: Wording | None = None
    native: Wording | None = None
    translation: Wording | None = None


@dataclass(frozen=True)
class TaskItems:
    """The items of a task in one language, all with choices or all with a reference.

    `split` says, in words, how `development` and `report` were told apart. `source` is what the
    items are of: a benchmark's name, or a file.
    """

    source: str
    language: str
    development: tuple[TaskItem, ...]
    report: tuple[TaskItem, ...]
    split: str

    @property
    def all(self) -> tuple[TaskItem, ...]:
        return (*self.development, *self.report)

    @property
    def with_choices(self) -> bool:
        return len(self.all[0].own.answers) > 1

    @property
    def fingerprint(self) -> str:
        """A hash of all that is asked, and of which items develop and which report."""
        told = repr((self.source, self.language, self.development, self.report))
        return hashlib.sha256(told.encode()).hexdigest()

    def limited(self, most: int | None) -> "TaskItems":
        """At most so many items, of both parts in their shares."""
        if most is None or most >= len(self.all):
            return self
        first = max(1, round(most * len(self.development) / len(self.all)))
        return replace(
            self, development=self.development[:first], report=self.report[: max(1, most - first)]
        )


def shuffled_in_two(
    items: Sequence[TaskItem], seed: int = 0, source: str = "the task"
) -> tuple[tuple[TaskItem, ...], tuple[TaskItem, ...]]:
    """The items in two halves, by a hash of their ids: the same on every machine, and for items of
    the same ids in every language. Items that ask the same stay together. Raises DiagnosisError, which names
    the `source`, where all do.
    """

    alike: dict[str, list[TaskItem]] = {}
    for item in in_order(items, seed):
        alike.setdefault(plain(str(item.own.prompt)), []).append(item)
    development: list[TaskItem] = []
    report: list[TaskItem] = []
    for group in alike.values():
        (development if len(development) < SHARE * len(items) else report).extend(group)
    if not development or not report:
        raise DiagnosisError(
            f"{source} cannot be cut in two, to choose on and to report on (items: {len(items)}, different "
            f"prompts: {len(alike)}): add items with other prompts"
        )
    return tuple(development), tuple(report)


def in_order(items: Sequence[TaskItem], seed: int = 0) -> tuple[TaskItem, ...]:
    """The items in the order of a hash of their ids, so that the first of them are a fair sample."""
    return tuple(sorted(items, key=lambda item: place_of(item.id, seed)))


def place_of(name: str, seed: int) -> str:
    """A hash of a name, to order by: the same on every machine."""
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()


def wording(pieces: Sequence[str], answers: Sequence[str]) -> Wording:
    """A wording whose prompt is of template and text by turns; spaces at its end go to the answers."""
    kept, spaces = list(pieces), ""
    while kept:
        bare = kept[-1].rstrip(" ")
        spaces = kept[-1][len(bare) :] + spaces
        kept[-1] = bare
        if bare:
            break
        kept.pop()
    return Wording(Conversation(tuple(kept)), tuple(spaces + answer for answer in answers))
