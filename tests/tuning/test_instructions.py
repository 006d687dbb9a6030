"""The built-in instructions: parallel, balanced, in the right script and language."""

import importlib.resources
import json
import re
from collections import Counter
from statistics import mean

import pytest

from langsteer.text import identify as identify_module
from langsteer.text.identify import CONFIDENT, identify
from langsteer.text.languages import script_share

TAGS = ["en", "es", "hi", "id", "sw", "tr"]
FIELDS = ["id", "kind", "instruction", "chosen", "rejected", "fault"]
KINDS = {
    "question", "explanation", "list", "summary", "rewriting", "classification", "arithmetic",
    "translation", "message", "advice", "conversion", "reading", "story", "unknowable",
}  # fmt: skip
FAULTS = {
    "wrong language": 10, "wrong fact": 7, "wrong number": 6, "ignores the format": 5,
    "incomplete": 3, "off topic": 3, "rude": 3, "made up": 3,
}  # fmt: skip
OUT_OF_LANGUAGE = "019"  # translates from the file's language into another

lingua = pytest.mark.skipif(not identify_module.available(), reason="lingua is not installed")
each_language = pytest.mark.parametrize("tag", TAGS)


def records(tag: str) -> list[dict[str, str]]:
    folder = importlib.resources.files("langsteer") / "data" / "instructions"
    text = (folder / f"{tag}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def untranslated(tag: str) -> list[dict[str, str]]:
    return [r for r in records(tag) if r["kind"] != "translation"]


def numbers(text: str) -> list[str]:
    return sorted(re.findall(r"\d+", text))


def words(text: str) -> int:
    return len(text.split())


def test_these_languages_and_no_other() -> None:
    folder = importlib.resources.files("langsteer") / "data" / "instructions"
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        ["README.md", *(f"{tag}.jsonl" for tag in TAGS)]
    )


@each_language
def test_every_field_is_there_and_filled(tag: str) -> None:
    for record in records(tag):
        assert list(record) == FIELDS
        for value in record.values():
            assert value
            assert value == value.strip()
        assert record["chosen"] != record["rejected"]


@each_language
def test_the_records_are_parallel(tag: str) -> None:
    def row(record: dict[str, str]) -> tuple[str, ...]:
        return record["id"], record["kind"], record["fault"]

    assert [r["id"] for r in records(tag)] == [f"{n:03d}" for n in range(1, 41)]
    assert [row(r) for r in records(tag)] == [row(r) for r in records("en")]
    assert {r["kind"] for r in records(tag)} == KINDS
    assert Counter(r["fault"] for r in records(tag)) == FAULTS


@each_language
def test_nothing_is_said_twice(tag: str) -> None:
    assert len({r["instruction"] for r in records(tag)}) == 40
    assert len({r["chosen"] for r in records(tag)}) == 40
    for n, record in enumerate(records(tag)):
        for other in {*TAGS} - {tag}:
            assert record["instruction"] != records(other)[n]["instruction"]


@each_language
def test_lengths_do_not_tell_the_chosen_from_the_rejected(tag: str) -> None:
    for record in records(tag):
        assert 5 <= words(record["instruction"]) <= 60, record["id"]
        assert 5 <= words(record["chosen"]) <= 80, record["id"]
        assert 5 <= words(record["rejected"]) <= 80, record["id"]
    for length in (len, words):
        chosen = mean(length(r["chosen"]) for r in records(tag))
        rejected = mean(length(r["rejected"]) for r in records(tag))
        assert rejected == pytest.approx(chosen, rel=0.1)
    longer = sum(len(r["chosen"]) > len(r["rejected"]) for r in records(tag))
    assert 10 <= longer <= 30


@each_language
def test_numbers_agree_across_languages(tag: str) -> None:
    for record, english in zip(records(tag), records("en"), strict=True):
        if record["kind"] in ("arithmetic", "conversion", "reading"):
            for name in ("instruction", "chosen", "rejected"):
                assert numbers(record[name]) == numbers(english[name]), record["id"]


@each_language
def test_the_sums_are_right_where_chosen_and_wrong_where_the_fault_is_the_number(tag: str) -> None:
    sums = {"−": int.__sub__, "×": int.__mul__, "÷": int.__floordiv__}

    def right(text: str) -> list[bool]:
        found = re.findall(r"(\d+) ([−×÷]) (\d+) = (\d+)", text)
        return [sums[sign](int(a), int(b)) == int(c) for a, sign, b, c in found]

    for record in records(tag):
        if record["kind"] == "arithmetic":
            assert right(record["chosen"])
            assert all(right(record["chosen"])), record["id"]
            if record["fault"] == "wrong number":
                assert not all(right(record["rejected"])), record["id"]


@each_language
def test_the_formats_that_are_asked_for(tag: str) -> None:
    found = {r["id"]: r for r in records(tag)}
    for number in ("003", "025"):
        assert re.findall(r"^\d\.", found[number]["chosen"], re.M) == ["1.", "2.", "3."]
    assert "\n" not in found["003"]["rejected"]
    assert found["013"]["chosen"].count(",") == found["013"]["rejected"].count(",") == 4
    assert words(found["026"]["chosen"]) <= 8 < words(found["026"]["rejected"])
    assert sentences(found["005"]["chosen"]) == 1 < sentences(found["005"]["rejected"])
    assert sentences(found["021"]["chosen"]) == sentences(found["021"]["rejected"]) == 2
    assert sentences(found["037"]["chosen"]) == 3 < sentences(found["037"]["rejected"])


def sentences(text: str) -> int:
    return len(re.findall(r"[.!?।](?:\s|$)", text))


@each_language
def test_scripts(tag: str) -> None:
    for record in untranslated(tag):
        assert script_share(record["instruction"], tag) == 1.0, record["id"]
        assert script_share(record["chosen"], tag) == 1.0, record["id"]
        if record["fault"] != "wrong language":
            assert script_share(record["rejected"], tag) == 1.0, record["id"]


@lingua
@each_language
def test_instructions_and_chosen_answers_are_in_the_language(tag: str) -> None:
    for name in ("instruction", "chosen"):
        texts = [r[name] for r in untranslated(tag)]
        found = [f for f in identify(texts, TAGS) if f is not None]
        assert len(found) >= 35
        assert [f.language for f in found] == [tag] * len(found)


@lingua
@each_language
def test_rejected_answers_are_in_another_language_where_that_is_the_fault(tag: str) -> None:
    judged = [r for r in records(tag) if r["id"] != OUT_OF_LANGUAGE]
    found = identify([r["rejected"] for r in judged], TAGS)
    for record, language in zip(judged, found, strict=True):
        if record["fault"] != "wrong language":
            if language is not None and language.confidence >= CONFIDENT:
                assert language.language == tag, record["id"]
        else:
            assert language is not None, record["id"]
            assert (language.language == "en") == (tag != "en"), record["id"]


@lingua
@each_language
def test_translations_go_where_they_should(tag: str) -> None:
    to = {"008": tag, "019": "es" if tag == "en" else "en", "032": tag}
    translations = [r for r in records(tag) if r["kind"] == "translation"]
    found = identify([r["chosen"] for r in translations], TAGS)
    assert {r["id"]: f and f.language for r, f in zip(translations, found, strict=True)} == to
