import importlib.resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langsteer.errors import LanguageError
from langsteer.evaluation.benchmarks.flores_codes import FLORES
from langsteer.text.languages import (
    Family,
    family_of,
    is_called,
    language_name,
    parse_tag,
    script_of,
    script_share,
)


@pytest.mark.parametrize(
    ("code", "tag"),
    [
        ("sw", "sw"), ("swh_Latn", "sw"), ("swa", "sw"), ("zho_Hans", "zh-Hans"), ("zh", "zh-Hans"),
        ("zho-CN", "zh-Hans"), ("zho-TW", "zh-Hant"), ("arb", "ar"), ("arz_Arab", "arz"),
        ("est_Latn", "et"), ("srp_Latn", "sr-Latn"), ("srp_Cyrl", "sr"), ("kor_Hang", "ko"),
        ("no", "nb"), ("nor", "nb"), ("nob_Latn", "nb"), ("no-NO", "nb-NO"), ("nno", "nn"),
        ("sh", "sr-Latn"), ("id", "id"), ("zsm", "ms"), ("jpn_Jpan", "ja"), ("eng_Latn", "en"), ("pt-BR", "pt-BR"), ("yue_Hant", "yue"),
    ],
)  # fmt: skip
def test_codes_of_data_sets(code: str, tag: str) -> None:
    assert parse_tag(code) == tag
    assert parse_tag(tag) == tag


def test_norwegian_is_in_benchmarks_under_either_tag() -> None:
    assert FLORES[parse_tag("no")] == FLORES[parse_tag("nb")] == "nob_Latn"


@pytest.mark.parametrize(
    ("tag", "names", "others"),
    [
        ("sw", "Swahili|kiswahili| SWAHILI |swh_Latn", "English|Swaheli|the Swahili of today|"),
        ("zh-Hans", "Chinese|Chinese (Simplified)|中文|zho_Hans", "Chinese (Traditional)|日本語"),
        ("nb", "Norwegian Bokmål|no|nob", "nn|Norwegian Nynorsk"),
    ],
)
def test_what_a_language_is_called(tag: str, names: str, others: str) -> None:
    assert [name for name in names.split("|") if not is_called(tag, name)] == []
    assert [name for name in others.split("|") if is_called(tag, name)] == []


def test_names_and_scripts() -> None:
    assert language_name("sw") == "Swahili"
    assert (script_of("hi"), script_of("ja"), script_of("sw")) == ("Deva", "Jpan", "Latn")
    assert script_share("ラーメンと我々", "ja") == 1.0
    assert script_share("Привет", "el") == 0.0
    assert script_share("123 …", "el") == 1.0


def test_families() -> None:
    assert family_of("por_Latn") == Family("Indo-European", "Romance")
    assert family_of("zh-Hant") == family_of("yue")
    assert family_of("et") == family_of("fi") != family_of("hu")
    assert family_of("tlh") is None


def test_the_table_of_families_has_canonical_tags_once_each() -> None:
    table = importlib.resources.files("langsteer") / "data" / "families.tsv"
    rows = [line.split("\t") for line in table.read_text("utf-8").splitlines()]
    tags = [tag for row in rows for tag in row[2].split()]
    assert len(tags) == len(set(tags)) > 190
    assert [tag for tag in tags if parse_tag(tag).partition("-")[0] != tag] == []
    assert [tag for tag in FLORES if family_of(tag) is None] == []


@pytest.mark.parametrize("code", ["xx", "klingon", "", "   ", "12", "en_Latn_Latn_x"])
def test_what_is_no_language(code: str) -> None:
    with pytest.raises(LanguageError, match="no language has the tag"):
        parse_tag(code)


def test_a_name_gets_its_tag_suggested() -> None:
    with pytest.raises(LanguageError, match="did you mean 'sw'"):
        parse_tag("Swahili")


@given(st.text(max_size=12))
def test_any_text_gives_a_stable_tag_or_an_error(code: str) -> None:
    try:
        tag = parse_tag(code)
    except LanguageError:
        return
    assert parse_tag(tag) == tag
