"""Which of the columns, files or variants of a corpus are in the languages that are wanted.

A tag with a territory serves for one without (`en-US` for `en`), one in another script never does
(`sr-Latn` for `sr`). Where several serve, the same tag comes first, then the language's usual territory
(`pt-BR` before `pt-PT`), then whichever comes first; a row that lacks one takes the next.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import langcodes
import regex

from langsteer.errors import CorpusError, LanguageError
from langsteer.text.corpus import ParallelCorpus
from langsteer.text.files import cleaned, is_visible
from langsteer.text.languages import is_called, language_name, parse_tag, script_name, script_of

logger = logging.getLogger(__name__)

# Names of columns that are also codes of languages, such as Urali and Indonesian.
_WORDS = {
    "doc", "id", "idx", "key", "num", "pid", "rank", "ref", "row", "seq", "set", "sid", "src", "tag",
    "tgt", "uid", "uri", "url",
}  # fmt: skip
_CODE = regex.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{1,10}){0,5}")
_PREFIX = regex.compile(r"(?:sentence|sent|text|translation)[_-](.+)")
_TERRITORY = r"(?:[A-Z]{2}|\d{3})"
_LOOSE = regex.compile(
    rf"([A-Za-z]{{2,3}})(?:[-_]([A-Z][a-z]{{3}}))?(?:[-_]({_TERRITORY}))?(?:[-_]([A-Z][a-z]{{3}}))?"
    r"(?:[-_](?:\d[a-z0-9]{3}|[a-z0-9]{5,8}))*"
)
_LOOSE_CASE = regex.compile(_LOOSE.pattern, regex.IGNORECASE)


def file_tag(code: str, *, any_case: bool = False) -> str | None:
    """The tag that a code in a file stands for; None where it names no language.

    Territories that there are not (`ES-EM`, of a translation tool) and variants are left out, and
    the script may come last (`uz-UZ-Latn`). `any_case` takes these in any case.
    """
    if not _CODE.fullmatch(code.strip()):
        return None
    try:
        return parse_tag(code)
    except LanguageError:
        pass
    match = (_LOOSE_CASE if any_case else _LOOSE).fullmatch(code.strip())
    if match is None:
        return None
    language, script, territory, last = match.groups()
    for parts in ((language, script or last, territory), (language, script or last)):
        try:
            return parse_tag("-".join(part for part in parts if part))
        except LanguageError:
            continue
    return None


def column_tag(name: str) -> str | None:
    """The tag that a column is named by: `swh_Latn`, `sentence_swh_Latn`."""
    prefixed = _PREFIX.fullmatch(name)
    return file_tag(name) or (file_tag(prefixed[1]) if prefixed else None)


def header_tags(header: Sequence[str], languages: Sequence[str]) -> dict[str, str]:
    """The tags of the columns that name a language, by the cells of a header.

    Where all of `languages` are among them only with names (`Swahili`, `Kiswahili`), those count too.
    """
    tags = {cell: tag for cell in header if (tag := column_tag(cell))}
    wanted = [parse_tag(tag) for tag in languages]
    called = {
        cell: tag for cell in header if cell not in tags for tag in wanted if is_called(tag, cell)
    }
    return tags | called if all(serving(tag, tags | called) for tag in wanted) else tags


def serving(wanted: str, tags: Mapping[str, str]) -> list[str]:
    """The names, of `tags` by name, that serve for the tag `wanted`, the best first."""
    exact = [name for name, tag in tags.items() if tag == wanted]
    if langcodes.Language.get(wanted).territory:
        return exact
    language, script = wanted.partition("-")[0], script_of(wanted)
    others = [
        name
        for name, tag in tags.items()
        if tag != wanted and tag.partition("-")[0] == language and script_of(tag) == script
    ]
    usual = langcodes.Language.get(wanted).maximize().territory
    return exact + sorted(others, key=lambda name: not tags[name].endswith(f"-{usual}"))


def parallel(
    rows: Sequence[Mapping[str, Any]],
    languages: Sequence[str],
    pivot: str,
    name: str,
    tags: Mapping[str, str] | None = None,
) -> ParallelCorpus:
    """The corpus of rows that hold texts by column; null, and what a row lacks, is an empty line.

    `tags`: the tag of each column that names a language; None for what the columns' own names say.
    Without `languages`, in all that there are. Raises CorpusError where a column that is wanted is
    missing, is there twice, or holds no text.
    """
    pivot = parse_tag(pivot)
    if tags is None:
        names = dict.fromkeys(key for row in rows for key in row if isinstance(key, str))
        tags = {key: tag for key in names if (tag := column_tag(key))}
        if not tags:
            raise CorpusError(
                f"{name} has no text under the tag of a language: its fields are "
                f"{', '.join(names) or 'none'}. Name them by tags, such as "
                f"{', '.join([*languages, pivot])}"
            )
    wanted = [parse_tag(tag) for tag in languages] or _all_languages(rows, tags, pivot)
    columns = {tag: columns_of(tag, tags, name) for tag in dict.fromkeys((*wanted, pivot))}
    texts = {
        tag: tuple(_cell(row, keys, f"{name}, row {i}") for i, row in enumerate(rows, 1))
        for tag, keys in columns.items()
    }
    return ParallelCorpus(texts, pivot, name)


def columns_of(wanted: str, tags: Mapping[str, str], name: str) -> list[str]:
    """The columns that serve for a tag, the best first; several are told.

    Raises CorpusError where there is none, or two of one tag.
    """
    names = serving(wanted, tags)
    if not names:
        raise missing(wanted, tags, name)
    for i, column in enumerate(names):
        if (twin := next((c for c in names[:i] if tags[c] == tags[column]), None)) is not None:
            raise CorpusError(
                f"{name} has two columns of {language_name(tags[column])} ({tags[column]}), "
                f"{twin!r} and {column!r}: leave one out"
            )
    if len(names) > 1 and tags[names[0]] != wanted:
        logger.warning(
            "%s: %s is read from %s, and from %s where that is empty; name one to have it alone",
            name,
            wanted,
            names[0],
            ", ".join(names[1:]),
        )
    return names


def _all_languages(
    rows: Sequence[Mapping[str, Any]], tags: Mapping[str, str], pivot: str
) -> list[str]:
    """The tags of all columns but the pivot's; those named by a common word only if they read like
    text."""
    of_pivot = serving(pivot, tags)
    return [
        tag
        for name, tag in tags.items()
        if name not in of_pivot and _holds_text(rows, name, name.lower() in _WORDS)
    ]


def _holds_text(rows: Sequence[Mapping[str, Any]], name: str, doubtful: bool) -> bool:
    values = [row[name] for row in rows if row.get(name) is not None]
    if not values:
        return not doubtful
    if not all(isinstance(value, str) for value in values):
        return False
    return not doubtful or sum(" " in value.strip() for value in values) > len(values) / 2


def _cell(row: Mapping[str, Any], keys: Sequence[str], place: str) -> str:
    for key in keys:
        value = row.get(key)
        if value is None:
            continue
        if not isinstance(value, str):
            raise CorpusError(f"{place}: under {key!r} there is {value!r:.60}, which is no text")
        if is_visible(value):
            return cleaned(value)
    return ""


def missing(wanted: str, tags: Mapping[str, str], name: str | Path) -> CorpusError:
    """That there is no text in `wanted`: what there is, and in which script where that is why."""
    language = wanted.partition("-")[0]
    other_script = any(tag.partition("-")[0] == language for tag in tags.values())
    listed = [
        f"{column} ({script_name(tag)} script)"
        if tag.partition("-")[0] == language
        else (column if column == tag else f"{column} ({tag})")
        for column, tag in tags.items()
    ]
    script = f" in {script_name(wanted)} script" if other_script else ""
    return CorpusError(
        f"{name} has no text in {wanted}{script}; it has {', '.join(listed) or 'none'}"
    )
