from typing import Any

from langsteer.analysis.layers.latent import (
    first_tokens,
    text_items,
    word_items,
    word_list,
    word_starts,
)
from langsteer.model.model import Model
from langsteer.model.tokens import encode
from langsteer.text.corpus import builtin
from tests.made.analysis import word_model


def test_tokens_that_only_one_language_has() -> None:
    english = ["The cat sees a big house, Ali", "Ali and the dog"]
    swahili = ["Paka anaona nyumba kubwa, Ali", "Ali na mbwa a b"]
    model = word_model([*english, *swahili])
    encoded = [encode(model, lines) for lines in (english, swahili)]
    starts = [
        word_starts(model, lines, tokens, tag)
        for lines, tokens, tag in zip((english, swahili), encoded, ("en", "sw"), strict=True)
    ]
    firsts = first_tokens(model, encoded[0], starts[0])

    def words(ids: Any) -> set[str]:
        return set(model.tokenizer.convert_ids_to_tokens(list(map(int, ids))))

    assert words(firsts) == {"The", "cat", "sees", "big", "house", "Ali", "and", "the", "dog"}
    items = text_items(model, swahili, encoded[1], starts[1], firsts, 10)
    assert words(items.language) == {"Paka", "anaona", "nyumba", "kubwa", "na", "mbwa"}
    assert words(items.pivot) == {"The", "cat", "sees", "big", "house", "and", "the", "dog"}
    assert len(items.picks) == 5  # Paka begins its line, with nothing to read before
    for text, place in items.picks:
        assert encoded[1][text].ids[place + 1] in items.language
    one = text_items(model, swahili, encoded[1], starts[1], firsts, 1)
    assert len(one.picks) == 1
    assert text_items(model, swahili, encoded[1], starts[1], firsts, 10).picks == items.picks


def test_words_start_at_letters() -> None:
    flags = [
        [text[a:b] for a, b in spans if _starts(text, a, b, spaced)]
        for text, spans, spaced in (
            ("it's 3rd no", [(0, 2), (2, 3), (3, 4), (4, 6), (6, 8), (8, 11)], True),
            ("un bel uomo", [(0, 2), (2, 6), (6, 8), (8, 11)], True),
            ("猫が好き。", [(0, 1), (1, 2), (2, 4), (4, 5)], False),
            ("नमस्ते", [(0, 2), (2, 4), (4, 6)], True),
        )
    ]
    assert flags == [["it", " no"], ["un", " bel"], ["猫", "が", "好き"], ["नम"]]


def _starts(text: str, start: int, end: int, spaced: bool) -> bool:
    from langsteer.analysis.layers.latent import _starts_word

    return _starts_word(text, start, end, spaced)


def test_word_prompts(gemma: Model) -> None:
    items = word_items(gemma, "sw", "en", 5)
    assert items is not None
    assert len(items.prompts) == 5
    prompt = items.prompts[0]
    text = gemma.tokenizer.decode(prompt.ids, skip_special_tokens=True)
    assert text.endswith('Deutsch: "Buch" - Kiswahili: "')
    assert text.count("Kiswahili") == 5
    marked = gemma.tokenizer.decode(
        [i for i, s in zip(prompt.ids, prompt.source, strict=True) if s]
    )
    answers = [line.split('"')[3] for line in text.splitlines()[:4]]
    assert marked == "".join(answers)
    for kind, word in ((items.pivot, "book"), (items.language, "kitabu")):
        starts = {gemma.tokenizer.decode([int(i)]) for i in kind[0]}
        assert len(starts) == 2
        assert all(f" {word}".startswith(s) or word.startswith(s) for s in starts)
    assert items.picks[0] == (0, len(prompt) - 1)
    german = word_items(gemma, "de", "en", 1)
    assert german is not None
    assert "Français" in gemma.tokenizer.decode(german.prompts[0].ids)
    assert word_items(gemma, "th", "en", 5) is None


def test_words_that_cannot_be_told_apart_are_left_out(llama: Model) -> None:
    """The tokens are letters: Buch and book differ, Haus and house, but not raamat and river."""
    items = word_items(llama, "fr", "en", 99)
    assert items is not None
    words = word_list()
    kept = [
        (de, fr, en)
        for de, fr, en in zip(words["de"], words["fr"], words["en"], strict=True)
        if len({de[0], fr[0], en[0]}) == 3 and all(w[0].isascii() for w in (de, fr, en))
    ]
    assert len(items.prompts) == len(kept)
    assert items.left_out == len(words["fr"]) - len(kept)


def test_the_word_list() -> None:
    words = word_list()
    assert set(words) == set(builtin().texts)
    assert {len(column) for column in words.values()} == {len(words["en"])}
    assert len(words["en"]) >= 30
    assert all(word and word == word.strip() for column in words.values() for word in column)
