"""Which vector a text gets where no router tells: by lingua, among all languages that it knows.

A router reads the model's own states, which there are none of in front of another engine. lingua's confidence is
shared among all of its languages, not only those that have vectors, so that a text in another language is called that
or is left unsure; where it is under 0.9, or a text is too short to judge, nothing is steered.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from langsteer.serving.errors import RequestError
from langsteer.steering.change import Change
from langsteer.steering.foreign import UNKNOWN
from langsteer.steering.router import CONFIDENT
from langsteer.steering.steered import Steered
from langsteer.text.identify import (
    FEWEST_LETTERS,
    Identified,
    available,
    identifiable,
    identifiable_languages,
    identify,
)

PIECES, PIECE = 6, 50  # of a long text, in characters


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
        told = identify([sample(text) for text in texts], self.languages, quick=True)
        return [heard or Identified(UNKNOWN, 0.0) for heard in told]


def sample(text: str) -> str:
    """Pieces from all over a long text, whole words where there are spaces: lingua takes time in
    proportion to the length, and an instruction in English before a text is not the text.
    """
    if len(text) <= PIECES * PIECE:
        return text
    starts = [place * (len(text) - PIECE) // (PIECES - 1) for place in range(PIECES)]
    words = []
    for start in starts:
        piece = text[start : start + PIECE]
        if start:
            piece = piece.partition(" ")[2] or piece
        if start + PIECE < len(text):
            piece = piece.rpartition(" ")[0] or piece
        words.append(piece)
    return " ".join(words)


@dataclass(frozen=True)
class LinguaRouter:
    """An ear in the place of a router in a `Steered`; `languages` are those that have vectors."""

    ear: Ear
    languages: tuple[str, ...]

    def check_fits(self, model: Any) -> None:
        """It reads no states, so it fits every model."""

    def identify(self, model: Any, texts: Sequence[Any]) -> list[Identified]:
        """The language of each text, without the template around it."""
        own = [text if isinstance(text, str) else text.source for text in texts]
        return self.ear.identify(own)

    def choose(
        self, heard: Identified, changes: Mapping[str, Change], confidence: float = CONFIDENT
    ) -> Change | None:
        return changes.get(heard.language) if heard.confidence >= confidence else None


def ear_for(changes: Mapping[str, Change]) -> Ear | None:
    """What tells the languages of these changes from others; None without lingua, and where it
    knows none of them.
    """
    own = [tag for tag in changes if identifiable(tag)]
    return Ear((*own, *identifiable_languages())) if own else None


def choices(changes: Mapping[str, Change]) -> Choices:
    """What chooses among these changes; where lingua cannot, only names do."""
    return Choices(changes, ear_for(changes))


def with_ear(ready: Steered) -> Steered:
    """The same, with lingua for a router where it has none and lingua knows its languages."""
    ear = ear_for(ready.changes) if ready.router is None else None
    if ear is None:
        return ready
    router: Any = LinguaRouter(ear, tuple(tag for tag in ready.changes if identifiable(tag)))
    return replace(ready, router=router)


def warm_up(router: Any) -> None:
    """Read what lingua would read, a second or so, while the first text waits; other routers need not."""
    ear = router.ear if isinstance(router, LinguaRouter) else router
    if isinstance(ear, Ear):
        ear.identify(["a" * FEWEST_LETTERS])


def said_at_start(
    changes: Mapping[str, Change], router: Any, unused: str | Path | None = None
) -> str | None:
    """What whoever starts a server is to know of how `router`, or nothing, tells languages; None
    where each is told by the model's own states. `unused` is the file of a router that the engine
    cannot use.
    """
    lacking = "no router"
    if unused is not None:
        lacking = f"{unused} is not used, as this engine gives no hidden states to read"
    if router is None:
        why = "" if available() else ", nor lingua (pip install 'langsteer[langid]')"
        only = next(iter(changes)) if len(changes) == 1 else None
        what = f"every text is steered with {only}" if only else "requests must name a language"
        missing = f"{lacking} (fit --router)" if unused is None else lacking
        return f"{missing}{why}: {what}"
    silent = [tag for tag in changes if tag not in router.languages]
    named = f"named only, as nothing tells them: {', '.join(silent)}" if silent else None
    if not isinstance(router, Ear | LinguaRouter):
        return named
    heard = (
        f"{lacking}: lingua hears the language, of texts of {FEWEST_LETTERS} letters or more; shorter "
        "ones are not steered unless a request names one"
    )
    return f"{heard}; {named}" if named else heard
