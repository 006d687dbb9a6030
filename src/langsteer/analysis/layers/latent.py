"""Which language a model has in mind: what to read out, and which tokens count as which language's.

After Wendler et al., *Do Llamas Work in English?* (arXiv 2402.10588). Two kinds of prompts:
parallel text, read at the tokens before words that only the language has, and word translations
as in the paper.
"""

import functools
import importlib.resources
import random
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from langsteer.analysis.layers.reading import Pick
from langsteer.model.model import Model
from langsteer.model.tokens import Prompt, Tokens, encode
from langsteer.text.corpus import spread
from langsteer.text.languages import own_name, script_of

# Scripts without spaces between words: there, any token that starts with a letter starts a word.
_UNSPACED = {"Hans", "Hant", "Jpan", "Thai", "Laoo", "Khmr", "Mymr", "Tibt"}

SHOTS = 4
SOURCES = (
    "de",
    "fr",
    "es",
)  # languages of the words to translate: the first that is neither of the two


@dataclass(frozen=True, eq=False)
class TextItems:
    """Tokens of a language's texts to read out, and the ids that count.

    At each pick, a word that the pivot's texts do not have comes next. `pivot`, `language`: ids of
    the first tokens of words that only the pivot's, only the language's texts have.
    """

    picks: list[Pick]
    pivot: Tensor
    language: Tensor


@dataclass(frozen=True, eq=False)
class WordItems:
    """Word-translation prompts, whose source tokens are the words in the language.

    Each is read out at its last token; `pivot[i]` and `language[i]` are the first tokens of the
    two words, with and without a space before. `left_out` counts the words that cannot be told
    apart by these.
    """

    prompts: list[Tokens]
    pivot: list[Tensor]
    language: list[Tensor]
    left_out: int

    @property
    def picks(self) -> list[Pick]:
        return [(i, len(prompt) - 1) for i, prompt in enumerate(self.prompts)]


def text_items(
    model: Model,
    lines: Sequence[str],
    tokens: Sequence[Tokens],
    starts: Sequence[Sequence[bool]],
    pivot_firsts: set[int],
    wanted: int,
    seed: int = 0,
) -> TextItems:
    """Up to `wanted` tokens, evenly spread over the `lines`, in the later half of each.

    `tokens` and `starts` are those of the lines (`word_starts`); `pivot_firsts` the first tokens
    of the pivot's words (`first_tokens`).
    """
    firsts = first_tokens(model, tokens, starts)
    only = firsts - pivot_firsts
    per_line = -(-wanted // max(len(lines), 1))
    picks: list[Pick] = []
    for text in spread(len(lines), wanted):
        ids = tokens[text].ids
        places = [
            place
            for place in range(1, len(ids) - 1)
            if starts[text][place + 1] and ids[place + 1] in only
        ]
        later = [place for place in places if 2 * place >= len(ids)] or places
        drawn = random.Random(f"{seed} {lines[text]}").sample(later, min(per_line, len(later)))
        picks += [(text, place) for place in sorted(drawn)]
    return TextItems(picks[:wanted], _ids(pivot_firsts - firsts), _ids(only))


def first_tokens(
    model: Model, tokens: Sequence[Tokens], starts: Sequence[Sequence[bool]]
) -> set[int]:
    """Ids of the tokens that words of the texts start with.

    Neither the unknown token nor parts of a character, which say nothing of the language.
    """
    firsts = {
        id
        for text, flags in zip(tokens, starts, strict=True)
        for id, start in zip(text.ids, flags, strict=True)
        if start
    }
    firsts.discard(getattr(model.tokenizer, "unk_token_id", None))
    return {id for id in firsts if "\ufffd" not in model.tokenizer.decode([id])}


def word_starts(
    model: Model, texts: Sequence[str], tokens: Sequence[Tokens], language: str
) -> list[list[bool]]:
    """Which tokens of each text are the first of a word, and hold two of its characters or more.

    A word starts at a letter that follows neither letter, mark nor digit. In scripts without
    spaces, any token that begins with a letter counts, also a single one. With a tokeniser that
    does not tell where its tokens lie, every token of the text counts.
    """
    if not model.tokenizer.is_fast:
        return [list(text.source) for text in tokens]
    spaced = script_of(language) not in _UNSPACED
    flags = []
    for text, encoded in zip(texts, tokens, strict=True):
        offsets = model.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
        flags.append(
            [
                source and _starts_word(text, start, end, spaced)
                for (start, end), source in zip(offsets, encoded.source, strict=False)
            ]
        )
    return flags


def _starts_word(text: str, start: int, end: int, spaced: bool) -> bool:
    while start < end and text[start].isspace():
        start += 1
    if end - start < (2 if spaced else 1) or not text[start].isalpha():
        return False
    return not spaced or start == 0 or not _in_word(text[start - 1])


def _in_word(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character).startswith("M")


@functools.cache
def word_list() -> dict[str, tuple[str, ...]]:
    """The built-in nouns by language tag, the same noun at the same place."""
    file = importlib.resources.files("langsteer") / "data" / "words" / "words.tsv"
    rows = [line.split("\t") for line in file.read_text("utf-8").strip("\n").split("\n")]
    return {tag: tuple(row[i] for row in rows[1:]) for i, tag in enumerate(rows[0])}


def word_items(
    model: Model, language: str, pivot: str, wanted: int, seed: int = 0
) -> WordItems | None:
    """Up to `wanted` prompts that ask for a word of the list in the language.

    `Deutsch: "Buch" - Kiswahili: "` after four others with their answers. An item is left out
    where any two of its words in the three languages could start with the same token. None where
    the list lacks the language or the pivot.
    """
    words = word_list()
    source = next(tag for tag in SOURCES if tag not in (language, pivot))
    if language not in words or pivot not in words:
        return None
    firsts = {
        tag: [_first_of_word(model, word) for word in words[tag]]
        for tag in (source, language, pivot)
    }
    distinct = [
        i
        for i in range(len(words[language]))
        if _told_apart([firsts[tag][i] for tag in (source, language, pivot)])
    ]
    asked = distinct[:wanted]
    return WordItems(
        [_prompt(model, source, language, i, seed) for i in asked],
        [_ids(firsts[pivot][i]) for i in asked],
        [_ids(firsts[language][i]) for i in asked],
        len(words[language]) - len(distinct),
    )


def _told_apart(sets: Sequence[set[int]]) -> bool:
    return all(sets) and len(set().union(*sets)) == sum(map(len, sets))


def _first_of_word(model: Model, word: str) -> set[int]:
    """The token that follows an opening quotation mark where the word does, or a space and it."""
    return {
        token
        for text in (word, f" {word}")
        if (token := _token_after(model.tokenizer, ': "', text)) is not None
    }


def _token_after(tokenizer: Any, before: str, text: str) -> int | None:
    """None where there is no such token: text merges with what is before, or it is only a space."""
    before_ids, ids = (
        list(tokenizer(part, add_special_tokens=False)["input_ids"])
        for part in (before, before + text)
    )
    if ids[: len(before_ids)] != before_ids or len(ids) == len(before_ids):
        return None
    token = int(ids[len(before_ids)])
    blank = not tokenizer.decode([token]).strip()
    return None if blank or token == getattr(tokenizer, "unk_token_id", None) else token


def _prompt(model: Model, source: str, language: str, place: int, seed: int) -> Tokens:
    words = word_list()
    others = [i for i in range(len(words[language])) if i != place]
    shown = random.Random(f"{seed} {place}").sample(others, SHOTS)
    text, spans = "", []
    for i in (*shown, place):
        text += f'{own_name(source)}: "{words[source][i]}" - {own_name(language)}: "'
        if i != place:
            spans.append((len(text), len(text) + len(words[language][i])))
            text += f'{words[language][i]}"\n'
    marked = encode(model, [Prompt(text[a:b], text[:a], text[b:]) for a, b in spans])
    source_of_each = zip(*(tokens.source for tokens in marked), strict=True)
    return Tokens(marked[0].ids, [any(flags) for flags in source_of_each])


def _ids(tokens: set[int]) -> Tensor:
    return torch.tensor(sorted(tokens), dtype=torch.long)
