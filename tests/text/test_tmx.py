"""Translation memories: codes, namespaces, scripts and territories."""

from pathlib import Path

import pytest

from langsteer.errors import CorpusError
from langsteer.text.readers import read_corpus, read_tmx
from langsteer.text.tmx import read_units
from tests.made.parallel import PAIRS, corpus, write_tmx


def read_seg(tmp_path: Path, seg: str) -> str:
    return read_units(write_tmx(tmp_path / "a.tmx", [{"sw": seg}]))[0]["sw"]


@pytest.mark.parametrize(
    ("seg", "text"),
    [
        ('<bpt i="1">&lt;b&gt;</bpt>Mtoto<ept i="1">&lt;/b&gt;</ept> analala', "Mtoto analala"),
        (r'<bpt i="1">{\f214 </bpt>Mtoto<ept i="1">}</ept> analala', "Mtoto analala"),
        ('Mtoto <ph x="1">%s</ph>analala <it pos="begin">&lt;i&gt;</it>sana', "Mtoto analala sana"),
        ("Mtoto<ut>{</ut> analala", "Mtoto analala"),
        ("Mtoto<ph>&lt;br/&gt;</ph>analala", "Mtoto analala"),
        ("Mto<bpt>&lt;b&gt;</bpt>to<ept>&lt;/b&gt;</ept> analala", "Mtoto analala"),
        ('<hi type="x">Mtoto <bpt>&lt;b&gt;</bpt>ana<hi>la<ut>x</ut></hi>la</hi>', "Mtoto analala"),
        ("<sub>Mtoto <ph>x</ph>analala</sub>", "Mtoto analala"),
        ("Mtoto<ph>&lt;a title='<sub>kichwa</sub>'&gt;</ph> analala", "Mtoto analala"),
        ("Mtoto <!-- x --><?x y?>analala", "Mtoto analala"),
        ("Mtoto\n   analala\ufeff", "Mtoto analala"),
    ],
)
def test_native_codes_are_not_text(tmp_path: Path, seg: str, text: str) -> None:
    assert read_seg(tmp_path, seg) == text


@pytest.mark.parametrize("root", ["", ' xmlns="http://www.lisa.org/tmx14"', ' xmlns="urn:x"'])
def test_any_namespace(tmp_path: Path, root: str) -> None:
    units = [{"en-US": b, "SW": a} for a, b in PAIRS]
    read = read_corpus(write_tmx(tmp_path / "a.tmx", units, root), ["sw"])
    assert read.fingerprint == corpus().fingerprint
    assert read_tmx(tmp_path / "a.tmx").languages == ("sw",)


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("zh-CN", "zh"), ("zh-CN", "zh-Hans"), ("zh_TW", "zh-TW"), ("sr-Latn-RS", "sr-Latn"),
        ("uz-Cyrl-UZ", "uz-Cyrl"), ("hi-Latn-IN", "hi-Latn"), ("sr-Latn-RS", "sr-Latn-RS"),
        ("ES-EM", "es"), ("es-em", "es"), ("PT-XX", "pt"), ("uz-UZ-Latn", "uz"),
        ("sr-SP-Cyrl", "sr"), ("ca-ES-valencia", "ca"), ("swh_Latn", "sw"),
    ],
)  # fmt: skip
def test_codes_of_translation_tools(tmp_path: Path, code: str, wanted: str) -> None:
    units = [{"en-GB": b, code: a} for a, b in PAIRS]
    read = read_corpus(write_tmx(tmp_path / "a.tmx", units), [wanted], check=False)
    assert read.texts[read.language] == corpus().texts["sw"]


@pytest.mark.parametrize(
    ("code", "wanted", "message"),
    [
        ("sr-Latn-RS", "sr-Cyrl", r"no text in sr in Cyrillic script.*sr-Latn-RS \(Latin script\)"),
        ("hi-Latn-IN", "hi", r"in Devanagari script.*hi-Latn-IN \(Latin script\)"),
        ("zh-TW", "zh-CN", r"zh-Hans in Simplified script.*zh-Hant \(Traditional script\)"),
        ("pt-BR", "pt-PT", "no text in pt-PT"),
        ("x-none", "sw", "it has en-GB$"),
    ],
)
def test_another_script_or_territory_does_not_serve(
    tmp_path: Path, code: str, wanted: str, message: str
) -> None:
    units = [{"en-GB": b, code: a} for a, b in PAIRS]
    with pytest.raises(CorpusError, match=message):
        read_corpus(write_tmx(tmp_path / "a.tmx", units), [wanted], check=False)


def test_two_territories_in_one_unit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    units = [{"en": b, "pt-PT": f"{a} P", "pt-BR": f"{a} B"} for a, b in PAIRS]
    del units[1]["pt-BR"]
    path = write_tmx(tmp_path / "a.tmx", units)
    for tag, ends in (("pt-BR", "BBB"), ("pt-PT", "PPPP"), ("pt", "BPBB")):
        caplog.clear()
        read = read_tmx(path, [tag])
        assert "".join(line[-1] for line in read.texts[tag]) == ends
        assert ("pt is read from pt-BR, and from pt-PT" in caplog.text) == (tag == "pt")


def test_units_that_lack_a_language_are_left_out(tmp_path: Path) -> None:
    units = [{"en-US": b, "sw": a} for a, b in PAIRS]
    units[0] = {"en-US": "alone"}
    units[1] = {"en-GB": PAIRS[1][1], "sw": PAIRS[1][0]}
    read = read_tmx(write_tmx(tmp_path / "a.tmx", units), ["sw"])
    assert read.fingerprint == corpus(PAIRS[1:]).fingerprint


def test_what_follows_the_end_is_nothing(tmp_path: Path) -> None:
    path = write_tmx(tmp_path / "a.tmx", [{"en": b, "sw": a} for a, b in PAIRS])
    whole = path.read_bytes()
    path.write_bytes(whole + b"\r\n\x1a")
    assert read_tmx(path).fingerprint == corpus().fingerprint
    path.write_bytes(whole.decode().encode("utf-16"))
    assert read_tmx(path).fingerprint == corpus().fingerprint
    path.write_bytes(whole[:-8] + b"\x1a")
    with pytest.raises(CorpusError, match="not a whole TMX file"):
        read_tmx(path)
