from pathlib import Path

import pytest

from langsteer.errors import CorpusError, LanguageError, MissingExtraError
from langsteer.text import identify as identify_module
from langsteer.text.corpus import ParallelCorpus, builtin
from langsteer.text.identify import comparable, identifiable, identify, language_of_most, own_words
from langsteer.text.readers import read_ntrex

lingua = pytest.mark.skipif(not identify_module.available(), reason="lingua is not installed")

ENGLISH = "The committee will publish its findings next week."
SWAHILI = "Kamati itachapisha matokeo yake wiki ijayo."


@pytest.fixture
def without_lingua(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identify_module, "_known", dict)


def planted(corpus: ParallelCorpus, tag: str) -> ParallelCorpus:
    """Every tenth line of one side replaced by the other side's next line."""
    other = corpus.pivot if tag != corpus.pivot else corpus.language
    lines = list(corpus.texts[tag])
    lines[::10] = corpus.texts[other][1::10]
    return ParallelCorpus({**corpus.texts, tag: tuple(lines)}, corpus.pivot, "planted")


@lingua
def test_a_text_is_identified_under_the_tag_it_was_asked_for() -> None:
    found = identify([ENGLISH, SWAHILI, "Asante"], ["swa", "en-GB"])
    assert [f and f.language for f in found] == ["en-GB", "swa", None]
    assert all(f is None or f.confidence > 0.9 for f in found)
    assert [f and f.language for f in identify([SWAHILI], quick=True)] == ["sw"]


@lingua
def test_what_cannot_be_identified() -> None:
    with pytest.raises(LanguageError, match="cannot identify ha"):
        identify([ENGLISH], ["ha", "en"])
    with pytest.raises(LanguageError, match="two languages or more"):
        identify([ENGLISH], ["pt", "pt-BR"])
    assert [identifiable(t) for t in ("no", "zh-Hant", "pt-BR", "fil", "sr-Latn", "ha")] == [
        True, True, True, True, False, False,
    ]  # fmt: skip


@lingua
def test_related_languages_and_other_scripts_are_never_compared() -> None:
    assert not comparable("id", "ms")
    assert not comparable("no", "da")
    assert not comparable("pt-BR", "pt")
    assert not comparable("hi", "en")
    assert comparable("sw", "en")
    assert comparable("ja", "zh-Hans")


def test_shared_words_are_set_aside() -> None:
    assert own_words("Norman Eisen anaongoza BBC", "Norman Eisen leads the BBC") == "anaongoza"
    assert own_words("BBCのニュース", "BBC news") == "のニュース"


@lingua
@pytest.mark.parametrize("tag", ["sw", "en"])
def test_planted_lines_are_dropped(tag: str) -> None:
    text = builtin("sw")
    found = planted(text, tag).checked()
    assert found.dropped.get("wrong language", 0) > 0.9 * 42
    kept = set(found.texts[tag])
    assert sum(line not in kept for line in text.texts[tag][1:10]) == 0


@lingua
def test_names_and_short_lines_are_kept() -> None:
    rows = {
        "Asante sana": "Thank you",
        "Norman Eisen ni mwandishi wa The Last Palace: Five Lives": (
            "Norman Eisen is the author of The Last Palace: Five Lives"
        ),
    }
    text = ParallelCorpus({"sw": tuple(rows), "en": tuple(rows.values())}, "en", "names")
    assert text.checked().dropped == {}


@lingua
def test_columns_in_another_language_are_named() -> None:
    texts = builtin("sw", "tr", "id").texts
    with pytest.raises(CorpusError, match=r"Swahili \(sw\) are in English \(en\).*swapped"):
        ParallelCorpus({"sw": texts["en"], "en": texts["sw"]}, "en", "x").checked()
    with pytest.raises(CorpusError, match=r"Swahili \(sw\) are in Turkish \(tr\)"):
        ParallelCorpus(
            {"sw": texts["tr"], "tr": texts["sw"], "en": texts["en"]}, "en", "x"
        ).checked()
    assert language_of_most(texts["id"], "ms") is None
    half = tuple(line for pair in zip(texts["sw"], texts["en"], strict=True) for line in pair)
    mostly = (*texts["en"][:60], *half[:40])
    with pytest.raises(CorpusError, match=r"Swahili \(sw\) are in English"):
        ParallelCorpus({"sw": mostly, "en": texts["en"][40:140]}, "en", "x").checked()


@lingua
def test_published_translations_are_kept(shared: Path) -> None:
    text = read_ntrex(shared / "ntrex", ["fr", "sw", "th", "yo"])
    for tag in text.languages:
        dropped = text.only(tag).checked().dropped
        assert dropped.get("wrong language", 0) + dropped.get("wrong script", 0) < 0.002 * len(text)


def test_unchecked_languages_are_said(without_lingua: None) -> None:
    text = builtin("sw", "tr")
    assert text.checked().unidentified == ("sw", "tr", "en")
    assert text.checked().only("tr").unidentified == ("tr", "en")
    assert len(planted(text.only("sw"), "sw").checked()) == 420
    with pytest.raises(MissingExtraError, match=r"langsteer\[langid\]"):
        identify([ENGLISH], ["sw", "en"])


@lingua
def test_a_language_that_lingua_lacks_is_said() -> None:
    text = ParallelCorpus({"ha": (SWAHILI,), "en": (ENGLISH,)}, "en", "x")
    assert text.checked().unidentified == ("ha",)
