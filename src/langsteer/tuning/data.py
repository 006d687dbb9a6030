"""Instruction records: what is asked, an answer to learn, and perhaps one to prefer it to."""

import hashlib
import importlib.resources
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from langsteer.errors import LanguageError, TuneError
from langsteer.storage.files import listed
from langsteer.storage.lines import json_lines
from langsteer.text.files import read_lines
from langsteer.text.languages import parse_tag
from langsteer.text.readers import hub_rows

BUILTIN = "builtin"
ROLES = ("system", "user", "assistant")

Turn = tuple[str, str]
"""a role and what it says"""


@dataclass(frozen=True)
class Record:
    """What is asked, turn by turn, the last of them the user's, and its answers.

    `language` is the tag of its text, None where nobody said. Records of the same `id` in several
    languages are translations of each other.
    """

    id: str
    language: str | None
    turns: tuple[Turn, ...]
    chosen: str
    rejected: str | None = None

    @property
    def instruction(self) -> str:
        """What the user says last."""
        return self.turns[-1][1]


@dataclass(frozen=True)
class Instructions:
    """Records, in order, and the name of where they are from."""

    records: tuple[Record, ...]
    name: str

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    @property
    def languages(self) -> tuple[str, ...]:
        """The tags of the records, in the order of their first ones."""
        return tuple(dict.fromkeys(r.language for r in self.records if r.language is not None))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the records."""
        plain = [(r.id, r.language, r.turns, r.chosen, r.rejected) for r in self.records]
        return hashlib.sha256(json.dumps(plain, ensure_ascii=False).encode()).hexdigest()

    def only(self, *languages: str) -> "Instructions":
        """The records in these languages. Raises TuneError for one without any.

        With one language, records that name none are taken to be in it.
        """
        tags = [parse_tag(language) for language in languages]
        assumed = tags[0] if len(tags) == 1 else None
        named = [replace(r, language=r.language or assumed) for r in self.records]
        for tag in tags:
            if not any(record.language == tag for record in named):
                has = ", ".join(self.languages) or "none that are named"
                raise TuneError(f"{self.name} has no records in {tag!r}; its languages: {has}")
        return Instructions(tuple(r for r in named if r.language in tags), self.name)

    def split(self, share: float, seed: int = 0) -> tuple["Instructions", "Instructions"]:
        """Records to learn from, and those of a share of the ids, in all languages, held out.

        The same on every machine. Raises TuneError where nothing would be left to learn from.
        """
        if not 0 <= share < 1:
            raise TuneError(
                f"the share of records to hold out is at least 0 and under 1, not {share}"
            )
        ids = sorted({r.id for r in self.records}, key=lambda i: _order(i, seed))
        count = max(1, round(share * len(ids))) if share > 0 else 0
        if count >= len(ids):
            raise TuneError(
                f"{self.name} has {len(ids)} different ids: that is too few to learn from and to "
                "hold some out (--held-out 0 holds none out)"
            )
        held = set(ids[:count])
        parts = ([r for r in self if r.id not in held], [r for r in self if r.id in held])
        return tuple(Instructions(tuple(part), self.name) for part in parts)  # type: ignore[return-value]


def read_instructions(
    sources: str | Path | Sequence[str | Path] = BUILTIN, languages: Sequence[str] = ()
) -> Instructions:
    """Records from all `sources`: `builtin`, JSON lines files, Hugging Face data sets (`hf:ID`).

    A row has `instruction` and `chosen`; or `prompt` with `chosen` (or `completion`), as text or
    as messages; or `messages`, the last of them the answer; or `chosen` and `rejected` messages
    that begin alike. It may have `rejected`, `language`, and `id` (else its number). Raises
    TuneError, naming file and line, or CorpusError where a file cannot be read.
    """
    listed = [sources] if isinstance(sources, str | Path) else list(sources)
    if not listed:
        raise TuneError("there is nothing to learn from: name a file, a data set, or builtin")
    parts = [_read(source, languages) for source in listed]
    name = ", ".join(part.name for part in parts)
    records = Instructions(tuple(record for part in parts for record in part), name)
    return records.only(*languages) if languages else records


def builtin_instructions(languages: Sequence[str] | None = None) -> Instructions:
    """The records written for langsteer, the same ids in each of its languages.

    Raises TuneError for a language it lacks.
    """
    folder = importlib.resources.files("langsteer") / "data" / "instructions"
    return read_aligned(Path(str(folder)), languages)


def read_aligned(folder: Path, languages: Sequence[str] | None = None) -> Instructions:
    """`<tag>.jsonl` files with the same ids in the same order, without `language` in their rows."""
    has = [path.stem for path in listed(folder, "*.jsonl")]
    wanted = list(dict.fromkeys(parse_tag(tag) for tag in languages or has))
    for tag in wanted:
        if tag not in has:
            there = ", ".join(has) or "nothing"
            raise TuneError(f"the built-in instructions are not in {tag!r}; they are in {there}")
    parts = {tag: _read_file(folder / f"{tag}.jsonl", tag) for tag in wanted}
    first = [record.id for record in next(iter(parts.values()), ())]
    for tag, part in parts.items():
        if [record.id for record in part] != first:
            raise TuneError(f"{folder / f'{tag}.jsonl'} is not aligned with {wanted[0]}.jsonl")
    return Instructions(tuple(record for part in parts.values() for record in part), BUILTIN)


def _read(source: str | Path, languages: Sequence[str]) -> Instructions:
    text = str(source)
    if text == BUILTIN:
        return builtin_instructions(languages or None)
    if text.startswith("hf:"):
        name = text[3:]
        rows = ((f"{name}, row {i}", str(i), row) for i, row in enumerate(hub_rows(name), 1))
        return Instructions(_checked(rows, None, name), name)
    path = Path(source)
    return Instructions(_read_file(path), path.name)


def _read_file(path: Path, language: str | None = None) -> tuple[Record, ...]:
    return _checked(_json_rows(path), language, str(path))


def _json_rows(path: Path) -> Iterator[tuple[str, str, Any]]:
    for line in json_lines("\n".join(read_lines(path))):
        place = f"{path}, line {line.number}"
        if line.error:
            raise TuneError(f"{place}: not JSON ({line.error})")
        yield place, str(line.number), line.value


def _checked(
    rows: Iterable[tuple[str, str, Any]], language: str | None, name: str
) -> tuple[Record, ...]:
    """Records of rows, each with its place and number. Ids that were given are there once."""
    records: list[Record] = []
    seen: dict[tuple[str | None, str], str] = {}
    for place, number, row in rows:
        record = _record(row, place, number, language)
        records.append(record)
        before = seen.setdefault((record.language, record.id), place)
        if before is not place:
            raise TuneError(
                f"{place}: the id {record.id!r} is that of {before.split(', ')[-1]} too"
            )
    if not records:
        raise TuneError(f"{name} has no records")
    return tuple(records)


def _record(row: Any, place: str, number: str, language: str | None) -> Record:
    if not isinstance(row, Mapping):
        raise TuneError(f"{place}: not an object")
    row = {key: value for key, value in row.items() if value is not None}  # as data sets fill up
    turns, chosen, rejected = _parts(row, place)
    if rejected is not None and rejected == chosen:
        raise TuneError(f"{place}: the rejected answer is the chosen one")
    named = row.get("language", language)
    try:
        tag = None if named is None else parse_tag(str(named))
    except LanguageError as error:
        raise TuneError(f"{place}: {error}") from error
    return Record(str(row.get("id", number)), tag, turns, chosen, rejected)


def _parts(row: Mapping[str, Any], place: str) -> tuple[tuple[Turn, ...], str, str | None]:
    """What is asked, and the answers, in whichever form they are given."""
    for key in ("instruction", "prompt"):
        if key in row:
            turns = _turns(row[key], key, place)
            answer = "completion" if "chosen" not in row and "completion" in row else "chosen"
            chosen = _answer(row, answer, place)
            return _asked(turns, place), chosen, _optional(row, place)
    if "messages" in row:
        turns = _turns(row["messages"], "messages", place)
        if turns[-1][0] != "assistant":
            raise TuneError(f"{place}: the last of its messages is not the assistant's answer")
        return _asked(turns[:-1], place), turns[-1][1], _optional(row, place)
    if isinstance(row.get("chosen"), list) and isinstance(row.get("rejected"), list):
        better, worse = (_turns(row[key], key, place) for key in ("chosen", "rejected"))
        if better[:-1] != worse[:-1]:
            raise TuneError(f"{place}: chosen and rejected do not begin with the same messages")
        return _asked(better[:-1], place), better[-1][1], worse[-1][1]
    raise TuneError(
        f"{place}: no instruction, prompt or messages; it has {', '.join(row) or 'none'}"
    )


def _optional(row: Mapping[str, Any], place: str) -> str | None:
    return _answer(row, "rejected", place) if "rejected" in row else None


def _answer(row: Mapping[str, Any], key: str, place: str) -> str:
    """An answer given as text, or as a list of the one message."""
    value = row.get(key)
    if isinstance(value, list) and len(value) == 1:
        return _turns(value, key, place)[0][1]
    return _text(value, key, place)


def _asked(turns: tuple[Turn, ...], place: str) -> tuple[Turn, ...]:
    if not turns or turns[-1][0] != "user":
        raise TuneError(f"{place}: nothing that a user says comes before the answer")
    return turns


def _turns(value: Any, key: str, place: str) -> tuple[Turn, ...]:
    if not isinstance(value, list):
        return (("user", _text(value, key, place)),)
    if not value:
        raise TuneError(f"{place}: {key} is empty")
    turns: list[Turn] = []
    for message in value:
        role = message.get("role") if isinstance(message, Mapping) else None
        if role not in ROLES:
            raise TuneError(f"{place}: {key} has a message whose role is {role!r}, not {_LISTED}")
        turns.append((role, _text(message.get("content"), f"{key}: content", place)))
    return tuple(turns)


def _text(value: Any, key: str, place: str) -> str:
    if value is None:
        raise TuneError(f"{place}: no {key}")
    if not isinstance(value, str):
        raise TuneError(f"{place}: {key} is not text")
    if not value.strip():
        raise TuneError(f"{place}: {key} is empty")
    return value.strip()


def _order(identity: str, seed: int) -> str:
    return hashlib.sha256(f"{seed} {identity}".encode()).hexdigest()


_LISTED = " or ".join(ROLES)
