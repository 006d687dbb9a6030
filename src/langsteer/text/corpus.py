"""Parallel text: aligned lines in two or more languages, checked, split, fingerprinted.

Reading the formats it comes in is `readers.py`; the corpus that ships with the package is `builtin`.
"""

import hashlib
import importlib.resources
import math
import random
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from langsteer.errors import CorpusError
from langsteer.storage.lines import json_lines
from langsteer.text.files import is_visible
from langsteer.text.identify import (
    comparable,
    identifiable,
    in_other_language,
    language_of_most,
    own_words,
)
from langsteer.text.languages import (
    language_name,
    main_script,
    parse_tag,
    script_name,
    script_share,
)
from langsteer.text.parts import evened, with_least

PARTS = ("fit", "choose", "report")
SMALLEST_PART = 4
BUILTIN = "builtin"
MIXED = "mul"  # ISO 639-2: multiple languages


@dataclass(frozen=True)
class ParallelCorpus:
    """Aligned lines: `texts[tag][i]` is line i in that language; `pivot` is one of the tags.

    `topics[i]`, where known, is the line's topic; `parts[i]`, where the publisher has split the
    corpus, one of `fit`, `choose` and `report`. `dropped` counts the lines that checking removed;
    `unidentified` are the languages that it could check by their script only.
    """

    texts: Mapping[str, tuple[str, ...]]
    pivot: str
    name: str
    topics: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    unidentified: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        lengths = {tag: len(lines) for tag, lines in self.texts.items()}
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{tag} has {n}" for tag, n in lengths.items())
            raise CorpusError(f"{self.name}: the numbers of lines differ: {counts}")
        if self.pivot not in self.texts:
            raise CorpusError(f"{self.name} has no text in the pivot {self.pivot!r}")
        if len(self.texts) < 2:
            raise CorpusError(
                f"{self.name} has one language; parallel text needs two, and {self.pivot} is the "
                "pivot, which others are aligned to: name another language, or another pivot"
            )

    def __len__(self) -> int:
        return len(self.texts[self.pivot])

    @property
    def languages(self) -> tuple[str, ...]:
        """The tags other than the pivot."""
        return tuple(tag for tag in self.texts if tag != self.pivot)

    @property
    def language(self) -> str:
        """The one language beside the pivot. Raises CorpusError where there are several."""
        if len(self.languages) != 1:
            raise CorpusError(
                f"{self.name} has several languages ({', '.join(self.languages)}): name one"
            )
        return self.languages[0]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the tags and lines."""
        digest = hashlib.sha256()
        for tag in sorted(self.texts):
            digest.update(f"{tag}\x1d".encode())
            digest.update("\x1e".join(self.texts[tag]).encode())
        return digest.hexdigest()

    def describe(self) -> dict[str, str | int]:
        """What a vector remembers of the text it was fitted on."""
        return {"name": self.name, "fingerprint": self.fingerprint, "lines": len(self)}

    def only(self, *languages: str) -> "ParallelCorpus":
        """The same lines in these languages and the pivot. Raises CorpusError for one it lacks."""
        tags = [parse_tag(language) for language in languages]
        for tag in tags:
            if tag not in self.languages:
                raise CorpusError(
                    f"{self.name} has no {language_name(tag)} ({tag}); "
                    f"it has {', '.join(self.languages)}"
                )
        kept = {tag: self.texts[tag] for tag in (*tags, self.pivot)}
        unidentified = tuple(tag for tag in self.unidentified if tag in kept)
        return replace(self, texts=kept, unidentified=unidentified)

    def some(self, count: int | None) -> "ParallelCorpus":
        """So many lines, evenly spread; all of them without a count, or where there are no more.

        Of a corpus that comes split, 4 of each part at least, where so many lines can hold that.
        """
        if count is None or count >= len(self):
            return self
        chosen = spread(len(self), count)
        return self.lines(with_least(self.parts, chosen, SMALLEST_PART) if self.parts else chosen)

    def lines(self, index: Iterable[int]) -> "ParallelCorpus":
        """The lines at these places, in this order."""
        chosen = list(index)
        return ParallelCorpus(
            {tag: tuple(lines[i] for i in chosen) for tag, lines in self.texts.items()},
            self.pivot,
            self.name,
            tuple(self.topics[i] for i in chosen) if self.topics else (),
            tuple(self.parts[i] for i in chosen) if self.parts else (),
        )

    def mixed(self, most: int | None = None, seed: int = 0) -> "ParallelCorpus":
        """Pairs of a line of the pivot and its translation into one of the languages, in random order.

        As one corpus in the language `mul`. The languages have equally many of them, or one more; no
        pair comes twice, and with `most` there are no more than that.
        """
        count, tags = len(self), self.languages
        total = min(most or count * len(tags), count * len(tags))
        places = []
        for k in range(total):
            row, which = divmod(k, len(tags))
            places.append((tags[which], (row + which * count // len(tags)) % count))
        random.Random(seed).shuffle(places)
        texts = {
            MIXED: tuple(self.texts[tag][i] for tag, i in places),
            self.pivot: tuple(self.texts[self.pivot][i] for _, i in places),
        }
        return ParallelCorpus(texts, self.pivot, f"{self.name} in {', '.join(tags)}")

    def checked(self, script: bool = True, language: bool = True) -> "ParallelCorpus":
        """Without empty, untranslated, repeated and foreign lines; `dropped` counts them.

        A line goes where it is empty or the same as the pivot's in any language, where less than
        half of the letters in its own words are in the language's script, where it is surely in
        the pivot and not the language or the other way round, or where all of it has come before.
        Languages are told apart by lingua (the extra `langid`); `unidentified` names those that
        were not.
        Raises CorpusError where nothing is left, or most lines are in another script or language.
        """
        named = [tag for tag in self.texts if language and identifiable(tag)]
        out_of_script = self._out_of_script() if script else set()
        self._refuse_other_languages(named)
        foreign = self._foreign_lines(named)
        reasons: Counter[str] = Counter()
        kept: list[int] = []
        seen: set[tuple[str, ...]] = set()
        for i in range(len(self)):
            reason = self._fault(i, out_of_script)
            if reason is None and i in foreign:
                reason = "wrong language"
            row = tuple(plain(lines[i]) for lines in self.texts.values())
            if reason is None and row in seen:
                reason = "duplicate"
            seen.add(row)
            if reason is None:
                kept.append(i)
            else:
                reasons[reason] += 1
        if not kept:
            counts = ", ".join(f"{n} {reason}" for reason, n in reasons.items()) or "it is empty"
            raise CorpusError(f"{self.name} has no usable line ({counts})")
        unidentified = tuple(tag for tag in self.texts if tag not in named)
        return replace(self.lines(kept), dropped=dict(reasons), unidentified=unidentified)

    def split(
        self, fit: float = 0.6, choose: float = 0.2, report: float = 0.2, seed: int = 0
    ) -> dict[str, "ParallelCorpus"]:
        """Disjoint parts `fit`, `choose` and `report`, the same on every machine.

        A corpus that comes split keeps its parts. Otherwise lines that share a sentence in any
        language stay together, groups are ordered by a hash of their text and `seed`, and cut by
        the shares; of enough lines, each part has 4 at least. Raises CorpusError where a part that
        was asked for would have fewer.
        """
        shares = {"fit": fit, "choose": choose, "report": report}
        if self.parts:
            index = {p: [i for i, q in enumerate(self.parts) if q == p] for p in PARTS}
        else:
            index = self._deal(shares, seed)
        for part, chosen in index.items():
            if shares[part] > 0 and len(chosen) < SMALLEST_PART:
                raise CorpusError(
                    f"{self.name} is too small to split: {len(self)} lines leave {len(chosen)} for "
                    f"the part {part!r}, which needs {SMALLEST_PART}: {self._enough(shares)}"
                )
        return {part: self.lines(chosen) for part, chosen in index.items() if shares[part] > 0}

    def dealt(self, fit: float = 0.6, choose: float = 0.2, report: float = 0.2) -> "ParallelCorpus":
        """The same lines with the parts that `split` makes, which then stay what they are.

        In a part of its languages too, where `split` alone could deal other lines.
        """
        parts = self.split(fit, choose, report)
        texts = {
            tag: tuple(line for part in parts.values() for line in part.texts[tag])
            for tag in self.texts
        }
        topics = tuple(topic for part in parts.values() for topic in part.topics)
        names = tuple(name for name, part in parts.items() for _ in range(len(part)))
        return replace(self, texts=texts, topics=topics, parts=names)

    def _deal(self, shares: Mapping[str, float], seed: int) -> dict[str, list[int]]:
        total = sum(shares.values())
        if total <= 0 or min(shares.values()) < 0:
            raise CorpusError(f"the shares of a split must be positive, not {dict(shares)}")
        groups = sorted(self._groups(), key=lambda g: self._order(g, seed))
        dealt: dict[str, list[Sequence[int]]] = {part: [] for part in shares}
        parts, bounds = list(shares), []
        for n in range(len(parts)):
            bounds.append(len(self) * sum(list(shares.values())[: n + 1]) / total)
        done = 0
        for group in groups:
            place = next(n for n, bound in enumerate(bounds) if done < bound - 1e-9)
            dealt[parts[place]].append(group)
            done += len(group)
        if len(self) >= _least_lines(shares):
            asked = {part: dealt[part] for part in parts if shares[part] > 0}
            dealt |= evened(asked, SMALLEST_PART)
        return {part: sorted(i for group in own for i in group) for part, own in dealt.items()}

    def _enough(self, shares: Mapping[str, float]) -> str:
        """What to do about a part that has too few lines."""
        parts = {*self.parts, *(part for part, share in shares.items() if share > 0)}
        least = SMALLEST_PART * len(parts) if self.parts else _least_lines(shares)
        if len(self) < least:
            return f"give {least} lines or more"
        if self.parts:
            return "give that part more lines"
        return "lines that share a sentence stay in one part, so give more that share none"

    def _groups(self) -> list[list[int]]:
        """Lines joined wherever they have a sentence in common (union-find)."""
        parent = list(range(len(self)))

        def root(i: int) -> int:
            while parent[i] != i:
                parent[i] = parent[parent[i]]
                i = parent[i]
            return i

        first: dict[tuple[str, str], int] = {}
        for tag, lines in self.texts.items():
            for i, line in enumerate(lines):
                parent[root(i)] = root(first.setdefault((tag, plain(line)), i))
        groups: dict[int, list[int]] = {}
        for i in range(len(self)):
            groups.setdefault(root(i), []).append(i)
        return list(groups.values())

    def _order(self, group: Sequence[int], seed: int) -> str:
        text = "\x1e".join(self.texts[self.pivot][i] for i in group)
        return hashlib.sha256(f"{seed} {text}".encode()).hexdigest()

    def _out_of_script(self) -> set[int]:
        """Lines whose own words are mostly not in the script of their language.

        Raises CorpusError where most are, empty and untranslated ones apart.
        """
        places: set[int] = set()
        for tag in self.texts:
            wrong = [i for i in range(len(self)) if self._is_out_of_script(i, tag)]
            told = [i for i in wrong if self._fault(i) is None]
            if len(told) > len(self) / 2:
                there = main_script(self.texts[tag][i] for i in told)
                raise CorpusError(
                    f"{self.name}: {len(told)} of {len(self)} lines given as "
                    f"{language_name(tag)} ({tag}) are not in its script ({script_name(tag)}) but "
                    f"in {there}, the first at line {told[0] + 1}: are the files or tags swapped, "
                    "or is the text transliterated?"
                )
            places.update(wrong)
        return places

    def _refuse_other_languages(self, tags: Sequence[str]) -> None:
        for tag in tags:
            other = language_of_most(self.texts[tag], tag)
            if other is not None:
                raise CorpusError(self._in_other("most lines", tag, other))

    def _foreign_lines(self, tags: Sequence[str]) -> set[int]:
        """Lines surely in the pivot where another language is due, or the other way round."""
        foreign: set[int] = set()
        for tag in self.languages:
            if self.pivot not in tags or tag not in tags or not comparable(tag, self.pivot):
                continue
            for given, other in ((tag, self.pivot), (self.pivot, tag)):
                places = in_other_language(self.texts[given], self.texts[other], given, other)
                if len(places) > len(self) / 2:
                    lines = f"{len(places)} of {len(self)} lines"
                    raise CorpusError(self._in_other(lines, given, other))
                foreign.update(places)
        return foreign

    def _in_other(self, lines: str, given: str, other: str) -> str:
        return (
            f"{self.name}: {lines} given as {language_name(given)} ({given}) are in "
            f"{language_name(other)} ({other}): are the files or tags swapped?"
        )

    def _fault(self, i: int, out_of_script: Container[int] = ()) -> str | None:
        pivot = plain(self.texts[self.pivot][i])
        for tag, lines in self.texts.items():
            if not is_visible(lines[i]):
                return "empty"
            if tag != self.pivot and plain(lines[i]) == pivot:
                return "identical to the pivot"
        return "wrong script" if i in out_of_script else None

    def _is_out_of_script(self, i: int, tag: str) -> bool:
        line = self.texts[tag][i]
        own = own_words(line, self.texts[self.pivot][i]) if tag != self.pivot else line
        return script_share(own or line, tag) < 0.5


def builtin(*languages: str, pivot: str = "en") -> ParallelCorpus:
    """The corpus written for langsteer: 420 sentences on seven topics, split into three parts.

    Without `languages`, in all it has. Raises CorpusError for a language it lacks.
    """
    folder = importlib.resources.files("langsteer") / "data" / "corpus"
    has = sorted(
        p.name.removesuffix(".jsonl") for p in folder.iterdir() if p.name.endswith("jsonl")
    )
    wanted = [parse_tag(tag) for tag in languages] or [tag for tag in has if tag != pivot]
    for tag in (*wanted, pivot):
        if tag not in has:
            near = [own for own in has if own.partition("-")[0] == tag.partition("-")[0]]
            use = f": use {' or '.join(near)}" if near else ""
            raise CorpusError(f"the built-in corpus has no {tag!r}{use}; it has {', '.join(has)}")
    rows = {
        tag: [line.value for line in json_lines((folder / f"{tag}.jsonl").read_text("utf-8"))]
        for tag in dict.fromkeys(("en", *wanted, pivot))
    }
    for tag, lines in rows.items():
        if [row["id"] for row in lines] != [row["id"] for row in rows["en"]]:
            raise CorpusError(f"the built-in corpus is damaged: {tag} is not aligned with en")
    return ParallelCorpus(
        {tag: tuple(row["text"] for row in rows[tag]) for tag in (*wanted, pivot)},
        pivot,
        BUILTIN,
        tuple(row["topic"] for row in rows["en"]),
        tuple(row["part"] for row in rows["en"]),
    )


def _least_lines(shares: Mapping[str, float]) -> int:
    """How many lines a corpus needs that is split by these shares."""
    share = min(value for value in shares.values() if value > 0) / sum(shares.values())
    return math.ceil(SMALLEST_PART / share - 1e-9)


def plain(text: str) -> str:
    """A text as it is compared: case, spacing and compatibility forms set aside."""
    return unicodedata.normalize("NFKC", " ".join(text.split())).casefold()


def spread(count: int, wanted: int) -> tuple[int, ...]:
    """Up to `wanted` of the places 0 … count - 1, evenly spread."""
    wanted = min(count, wanted)
    return tuple(i * count // wanted for i in range(wanted))
