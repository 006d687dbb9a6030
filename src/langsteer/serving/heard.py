"""Which vector a text gets, told before an engine sees it: by lingua, among all languages that it knows.

A router reads the model's own states, which there are none of in front of another engine. lingua's confidence is
shared among all of its languages, not only those that have vectors, so that a text in another language is called that
or is left unsure; where it is under 0.9, or a text is too short to judge, nothing is steered.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from langsteer.serving.errors import RequestError
from langsteer.steering.change import Change
from langsteer.steering.foreign import UNKNOWN
from langsteer.steering.router import CONFIDENT
from langsteer.text.identify import (
    Identified,
    available,
    identifiable,
    identifiable_languages,
    identify,
)


class Hears(Protocol):
    """What tells the language of texts."""

    @property
    def languages(self) -> tuple[str, ...]: ...

    def identify(self, texts: Sequence[str]) -> list[Identified]: ...


@dataclass(frozen=True, eq=False)
class Choices:
    """Changes by language, and what hears a language, as `langsteer.serving.asked` reads them of a
    `Steered`: `router` is None where nothing tells languages apart.
    """

    changes: Mapping[str, Change]
    router: Hears | None = None
    confidence: float = CONFIDENT

    @property
    def pivot(self) -> str:
        return next(iter(self.changes.values())).pivot

    def identify(self, texts: Sequence[str | None]) -> list[Identified]:
        """The language of each text. Raises RequestError for what is no text."""
        if self.router is None or any(text is None for text in texts):
            raise RequestError(
                "a language is told from a user's text, and the prompt has none: name a language in "
                "steering, or null",
                code="invalid_steering",
                param="steering",
            )
        return self.router.identify([text or "" for text in texts])

    def choose(self, heard: Identified) -> Change | None:
        """The change for a text that `identify` said this of; None where it is to be left alone."""
        if heard.language == self.pivot or heard.confidence < self.confidence:
            return None
        return self.changes.get(heard.language)


@dataclass(frozen=True)
class Ear:
    """lingua's small models: `languages` are tags as the vectors have them, before all others."""

    languages: tuple[str, ...]

    def identify(self, texts: Sequence[str]) -> list[Identified]:
        """The language of each text; `und`, with no confidence, where it is too short to judge."""
        told = identify(texts, self.languages, quick=True)
        return [heard or Identified(UNKNOWN, 0.0) for heard in told]


def choices(changes: Mapping[str, Change]) -> Choices:
    """What chooses among these changes; without lingua, only names do."""
    if not available():
        return Choices(changes)
    own = [tag for tag in changes if identifiable(tag)]
    return Choices(changes, Ear((*own, *identifiable_languages())))


def never_heard(changes: Mapping[str, Change]) -> list[str]:
    """The languages of vectors that are never chosen by hearing, only by name."""
    return [tag for tag in changes if not identifiable(tag)]
