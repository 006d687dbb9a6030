"""The formats that parallel text comes in: tables, JSON, published folders, data sets of the hub."""

import json
from pathlib import Path
from typing import Any

import pytest

from langsteer import progress
from langsteer.errors import CorpusError
from langsteer.text.readers import read_corpus, read_flores
from tests.made.parallel import PAIRS, corpus, write_rows

SAME = corpus().fingerprint


def write_json(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows(**more: Any) -> list[dict[str, Any]]:
    return [{"sw": a, "en": b, **more} for a, b in PAIRS]


def test_only_the_columns_asked_for_count(tmp_path: Path) -> None:
    given = rows(url="http://x", de="ein Satz", id=1, meta={"a": None})
    given[1]["url"] = None
    del given[2]["de"]
    path = write_json(tmp_path / "a.jsonl", given)
    assert read_corpus(path, ["sw"]).fingerprint == SAME
    assert read_corpus(path, check=False).languages == ("sw", "de")
    assert read_corpus(path, ["de"], check=False).texts["de"] == (
        "ein Satz",
        "ein Satz",
        "",
        "ein Satz",
    )
    with pytest.raises(CorpusError, match=r"row 1: under 'id' there is 1, which is no text"):
        read_corpus(path, ["id"])
    with pytest.raises(CorpusError, match=r"no text in fr; it has sw, en, url, de, id"):
        read_corpus(path, ["fr"])


@pytest.mark.parametrize(
    ("head", "turned"),
    [("Swahili\tEnglish", False), ("English\tKiswahili", True), ("swh_Latn\tEnglish", False),
     ("ENGLISH\tswahili", True)],
)  # fmt: skip
def test_a_heading_of_names(tmp_path: Path, head: str, turned: bool) -> None:
    pairs = [(b, a) if turned else (a, b) for a, b in PAIRS]
    path = write_rows(tmp_path / "a.tsv", [head.split("\t"), *pairs])
    assert read_corpus(path, ["sw"]).fingerprint == SAME


def test_a_pair_of_languages_names_is_no_heading_of_others(tmp_path: Path) -> None:
    pairs = [("Kifaransa", "French"), *PAIRS]
    read = read_corpus(write_rows(tmp_path / "a.tsv", pairs), ["sw"])
    assert read.fingerprint == corpus(pairs).fingerprint


def test_columns_without_a_header(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_enabled", True)
    assert read_corpus(write_rows(tmp_path / "a.tsv", PAIRS), ["sw"]).fingerprint == SAME
    said = "a.tsv: it has no header, so its first column is read as sw and its second as en"
    assert said in capsys.readouterr().err
    swapped = [(f"word {i}", "शब्द " + "क" * (i + 1)) for i in range(6)]
    with pytest.raises(CorpusError, match="are the files or tags swapped"):
        read_corpus(write_rows(tmp_path / "b.tsv", swapped), ["hi"])


def test_norwegian_is_found_under_either_tag(tmp_path: Path) -> None:
    for name in ("no", "nob_Latn", "nb"):
        path = write_rows(tmp_path / f"{name}.tsv", [(name, "en"), *PAIRS])
        for asked in ("no", "nb"):
            assert read_corpus(path, [asked], check=False).languages == ("nb",)
    path = write_rows(tmp_path / "id.tsv", [("ms", "en"), *PAIRS])
    with pytest.raises(CorpusError, match="no text in id"):
        read_corpus(path, ["id"], check=False)


def test_what_belongs_to_another_source_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "a.en"
    text.write_text("x\n")
    table = write_rows(tmp_path / "a.tsv", [("sw", "en"), *PAIRS])
    ntrex = tmp_path / "newstest2019-src.eng.txt"
    ntrex.write_text("x\n")
    for source in ("builtin", "hf:owner/name", tmp_path):
        with pytest.raises(
            CorpusError, match=r"a\.en would not be read.*--pivot-file\) goes with a"
        ):
            read_corpus(source, ["sw"], pivot_file=text)
    for source in ("builtin", table, tmp_path):
        with pytest.raises(CorpusError, match=r"'dev' would not be read.*--split\) is of a hub"):
            read_corpus(source, ["sw"], split="dev")
    with pytest.raises(CorpusError, match="no corpus is named"):
        read_corpus(" ", ["sw"])


def test_null_is_an_empty_line(tmp_path: Path) -> None:
    given = rows()
    given[0]["sw"] = None
    read = read_corpus(write_json(tmp_path / "a.jsonl", given), ["sw"])
    assert (read.fingerprint, read.dropped) == (corpus(PAIRS[1:]).fingerprint, {"empty": 1})


def test_two_columns_of_one_language(tmp_path: Path) -> None:
    given = [{"swh_Latn": row["sw"], **row} for row in rows()]
    with pytest.raises(CorpusError, match=r"two columns of Swahili.*'swh_Latn' and 'sw'"):
        read_corpus(write_json(tmp_path / "a.jsonl", given), ["sw"])
    given = [{"de": row["sw"], "deu_Latn": "x", **row} for row in rows()]
    assert read_corpus(write_json(tmp_path / "a.jsonl", given), ["sw"]).fingerprint == SAME
    table = [("sw", "en", "sw"), *((a, b, a) for a, b in PAIRS)]
    with pytest.raises(CorpusError, match="several columns called 'sw'"):
        read_corpus(write_rows(tmp_path / "a.tsv", table), ["sw"])


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(rows()),
        json.dumps(rows(), indent=1),
        json.dumps({"version": "1", "data": rows()}, indent=1),
        json.dumps({"version": "1", "data": rows()}),
        "\ufeff" + json.dumps(rows()) + "\x1a",
        "".join("\ufeff" + json.dumps(row) + "\r\n" for row in rows()) + "\x1a",
        json.dumps([{"translation": {"swh_Latn": a, "en-GB": b}} for a, b in PAIRS]),
        json.dumps([{"sentence_swh_Latn": a, "sentence_eng_Latn": b} for a, b in PAIRS]),
    ],
)
def test_forms_of_json(tmp_path: Path, content: str) -> None:
    for name in ("a.json", "a.jsonl"):
        (tmp_path / name).write_text(content, "utf-8")
        assert read_corpus(tmp_path / name, ["sw"]).fingerprint == SAME


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"sw": "a", "en": "b"}\n{"sw": ', "line 2: not JSON"),
        ("[1, 2]", "row 1: not an object"),
        ("5", "line 1: not an object"),
        ('[{"sw": "a"', "line 1: not JSON"),
        ("[" * 100_000, "line 1: not JSON"),
        ('{"sw": ' + "9" * 5000 + "}", "line 1: not JSON"),
        ("{}", "no text under the tag of a language: its fields are none"),
        (
            '{"text": "moja", "label": "namba"}',
            "its fields are text, label. Name them by tags, such as sw, en",
        ),
    ],
)
def test_what_is_not_such_json(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(CorpusError, match=message):
        read_corpus(tmp_path / "a.jsonl", ["sw"])


def test_lines_that_hold_other_ends_of_lines(tmp_path: Path) -> None:
    pairs = [(a.replace(" ", " \u2028\x85\x0c", 1), b) for a, b in PAIRS]
    read = read_corpus(write_rows(tmp_path / "a.tsv", [("sw", "en"), *pairs]), ["sw"])
    assert read.texts["sw"] == tuple(a for a, _ in pairs)


def test_tables(tmp_path: Path) -> None:
    table = [("id", "swh_Latn", "en-US"), *((str(i), *pair) for i, pair in enumerate(PAIRS))]
    path = write_rows(tmp_path / "a.TSV", table)
    assert read_corpus(path, ["sw"]).fingerprint == SAME
    assert read_corpus(path).languages == ("sw",)
    quoted = [[f'"{cell}"' for cell in pair] for pair in PAIRS]
    assert read_corpus(write_rows(tmp_path / "q.tsv", quoted), ["sw"]).fingerprint == SAME


@pytest.mark.parametrize("name", ["{code}.{split}", "{split}.{code}", "{split}.{code}.gz"])
def test_names_of_flores(tmp_path: Path, name: str) -> None:
    for split in ("dev", "devtest"):
        for folder in (tmp_path / "deep" / split, tmp_path / "flat"):
            folder.mkdir(parents=True, exist_ok=True)
            for code, side in (("swh_Latn", 0), ("eng_Latn", 1), ("swh_Latn_x1y2", 1)):
                lines = [pair[side] for pair in PAIRS[: 4 if split == "dev" else 3]]
                (folder / name.format(code=code, split=split)).write_text("\n".join(lines))
    for folder in (tmp_path / "deep", tmp_path / "flat", tmp_path / "deep" / "dev"):
        assert read_corpus(folder, ["sw"]).fingerprint == SAME
    for folder in (tmp_path / "deep", tmp_path / "flat"):
        assert len(read_corpus(folder, ["sw"], split="devtest")) == 3
    assert read_corpus(tmp_path / "deep" / "devtest", ["sw"]).name == "flores-devtest"
    with pytest.raises(CorpusError, match="of the split devtest"):
        read_flores(tmp_path / "deep" / "dev", ["sw"], split="devtest")


def test_a_split_of_a_data_set(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    given = [
        {"sentence_swh_Latn": a, "sentence_eng_Latn": b, "URL": None, "id": i}
        for i, (a, b) in enumerate(PAIRS)
    ]
    datasets.Dataset.from_list(given).to_parquet(tmp_path / "dev.parquet")
    assert read_corpus(f"hf:{tmp_path}", ["sw"], split="validation").fingerprint == SAME
    with pytest.raises(CorpusError, match=r"\(split train\)"):
        read_corpus(f"hf:{tmp_path}", ["sw"])


def test_the_wrong_script_is_named(tmp_path: Path) -> None:
    romanised = [
        ("hi", "en"),
        *((f"Bachcha kitaab {i} padh raha", b) for i, (_, b) in enumerate(PAIRS)),
    ]
    path = write_rows(tmp_path / "a.tsv", romanised)
    with pytest.raises(CorpusError, match=r"Hindi \(hi\).*its script \(Devanagari\) but in Latin"):
        read_corpus(path, ["hi"])


CASES = {
    "plain.tmx": "sw", "plain.tmx.gz": "sw", "ns.tmx": "sw", "inline.tmx": "sw", "rtf.tmx": "sw",
    "zhcn.tmx": "zh", "srlatn.tmx": "sr-Latn", "esem.tmx": "pt", "ptboth.tmx": "pt-PT",
    "floresp": "sw", "url.jsonl": "sw", "de.jsonl": "sw", "arr.json": "sw", "excel.tsv": "sw",
    "ls.tsv": "sw",
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_files_that_went_wrong(shared: Path, name: str) -> None:
    folder = shared.parent / "cases"
    if not folder.is_dir():
        pytest.skip("needs ../shared/cases")
    read = read_corpus(folder / name, [CASES[name]])
    assert len(read) == 40
    assert not any(mark in text for text in read.texts[read.language] for mark in '<{\\"')
