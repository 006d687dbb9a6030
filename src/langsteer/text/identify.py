"""Which language a text is in, told by lingua where it is installed.

Wrongly calling a good line foreign costs more than missing a bad one, so only texts long enough to tell
are judged, never one of two related languages against the other, and with high confidence.
"""

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import regex

from langsteer.errors import LanguageError, MissingExtraError
from langsteer.text.languages import parse_tag, share_script

FEWEST_LETTERS = 20
CONFIDENT = 0.9

_LONGEST = 20_000  # characters, of which a few hundred tell as much
_SAMPLE_LINES = 64
_SAMPLES = 8
_SAMPLE_LETTERS = 100

# Runs of letters, Latin ones apart from others: Japanese puts no space between them.
_WORD = regex.compile(r"[\p{Latin}\p{M}]+|[[\p{L}\p{M}]--\p{Latin}]+", flags=regex.VERSION1)
_LETTER = regex.compile(r"\p{L}")

# Tags of what lingua knows under another code.
_OTHER_CODES = {"zh-Hant": "zh-Hans"}

_RELATED = (
    {"id", "ms"},
    {"nb", "nn", "da"},
    {"hr", "bs", "sr"},
    {"cs", "sk"},
    {"bg", "mk"},
    {"xh", "zu"},
    {"st", "tn"},
)


@dataclass(frozen=True)
class Identified:
    """The language a text is most likely in, and how likely, from 0 to 1."""

    language: str
    confidence: float


def available() -> bool:
    """Whether lingua is installed."""
    return bool(_known())


def identifiable(tag: str) -> bool:
    """Whether lingua is installed and knows the language, written in its usual script."""
    return _code(tag) in _known()


def identifiable_languages() -> tuple[str, ...]:
    """The tags of all languages that can be told apart; none where lingua is not installed."""
    return tuple(_known())


def identify(
    texts: Sequence[str], tags: Sequence[str] = (), *, quick: bool = False
) -> list[Identified | None]:
    """Which of `tags` each text is in; None for a text of under 20 letters.

    Without `tags`, which of all the languages that lingua knows. `quick` reads far smaller models
    and serves for texts of a few sentences. Raises LanguageError where fewer than two languages
    are left to tell apart or one cannot be identified, and MissingExtraError without lingua.
    """
    if not available():
        raise MissingExtraError("telling languages apart", "lingua-language-detector", "langid")
    named = {_code(tag): tag for tag in reversed(tags or list(_known()))}
    if unknown := [tag for code, tag in named.items() if code not in _known()]:
        raise LanguageError(f"lingua cannot identify {', '.join(unknown)}: leave it out")
    if len(named) < 2:
        raise LanguageError("identification needs two languages or more to tell apart")
    detector = _detector(frozenset(named), quick)
    beginnings = [text[:_LONGEST] for text in texts]
    ranked = detector.compute_language_confidence_values_in_parallel(beginnings)
    return [
        Identified(named[_tag(best[0].language)], best[0].value) if is_judged(text) else None
        for text, best in zip(texts, ranked, strict=True)
    ]


def is_judged(text: str) -> bool:
    """Whether a text has the letters that it takes to tell its language."""
    return len(_LETTER.findall(text)) >= FEWEST_LETTERS


def comparable(first: str, second: str) -> bool:
    """Whether single lines of two languages can be told apart here and script alone does not."""
    known = identifiable(first) and identifiable(second)
    return known and share_script(first, second) and not _are_related(first, second)


def own_words(line: str, translation: str) -> str:
    """The words of a line that its translation has not; those they share are mostly names."""
    shared = {word.casefold() for word in _WORD.findall(translation)}
    return " ".join(word for word in _WORD.findall(line) if word.casefold() not in shared)


def in_other_language(
    lines: Sequence[str], translations: Sequence[str], tag: str, other: str
) -> list[int]:
    """Places of the lines given as `tag` that are surely in `other`, as their translations are.

    Judged by their own words, where there are enough.
    """
    own = [own_words(a, b) for a, b in zip(lines, translations, strict=True)]
    texts = [a if is_judged(a) else b for a, b in zip(own, lines, strict=True)]
    return [
        i
        for i, guess in enumerate(identify(texts, [tag, other]))
        if guess is not None and guess.language == other and guess.confidence >= CONFIDENT
    ]


def language_of_most(lines: Sequence[str], tag: str) -> str | None:
    """The language that most of the lines given as `tag` are in, where it is surely another one."""
    chosen = lines[:: max(1, len(lines) // _SAMPLE_LINES)]
    samples = [" ".join(chosen[i::_SAMPLES]) for i in range(_SAMPLES)]
    if any(len(_LETTER.findall(sample)) < _SAMPLE_LETTERS for sample in samples):
        return None
    counts = Counter(
        guess.language
        for guess in identify(samples, quick=True)
        if guess is not None and guess.confidence >= CONFIDENT
    )
    language, count = counts.most_common(1)[0] if counts else (tag, 0)
    if count <= _SAMPLES / 2 or _code(language) == _code(tag) or _are_related(language, tag):
        return None
    return language


def _are_related(first: str, second: str) -> bool:
    pair = {_code(first), _code(second)}
    return len(pair) == 1 or any(pair <= group for group in _RELATED)


def _code(tag: str) -> str:
    """The tag without a territory, which lingua does not tell apart."""
    parts = [part for part in parse_tag(tag).split("-") if len(part) == 4 or part.islower()]
    code = "-".join(parts)
    return _OTHER_CODES.get(code, code)


@functools.cache
def _tag(language: Any) -> str:
    return parse_tag(language.iso_code_639_1.name.lower())


@functools.cache
def _known() -> dict[str, Any]:
    """lingua's languages by tag; none where it is not installed."""
    try:
        import lingua
    except ImportError:
        return {}
    return {_tag(language): language for language in sorted(lingua.Language.all(), key=str)}


@functools.cache
def _detector(tags: frozenset[str], quick: bool) -> Any:
    import lingua

    builder = lingua.LanguageDetectorBuilder.from_languages(*(_known()[tag] for tag in tags))
    return (builder.with_low_accuracy_mode() if quick else builder).build()
