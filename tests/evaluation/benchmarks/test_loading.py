"""What is refused: unknown names, and files that are damaged or at odds."""

import json
from pathlib import Path

import pytest

pytest.importorskip("lm_eval")

from langsteer.errors import BenchmarkError, LanguageError
from langsteer.evaluation.benchmarks import (
    get_benchmark,
    load_docs,
    make_task,
)
from tests.made.tasks import COPA, sib

SIB = get_benchmark("sib200")
XCOPA = get_benchmark("xcopa")


def test_unknown_languages_parts_forms_and_folders(tmp_path: Path) -> None:
    with pytest.raises(LanguageError):
        load_docs(SIB, "klingonese", "test", tmp_path)
    with pytest.raises(BenchmarkError, match=r"XCOPA has no German \(de\): it has en, et, ht"):
        load_docs(XCOPA, "de", "test", tmp_path)
    with pytest.raises(BenchmarkError, match="XCOPA has no part 'train': it has development, test"):
        load_docs(XCOPA, "sw", "train", tmp_path)
    with pytest.raises(BenchmarkError, match="no prompt form 'french': it has english, native"):
        make_task(SIB, "sw", sib(), form="french")
    with pytest.raises(BenchmarkError, match="XCOPA has no 'de'"):
        make_task(XCOPA, "de", [])
    with pytest.raises(
        BenchmarkError, match=r"no folder .*nowhere: expected one with sib200/<code>"
    ):
        load_docs(SIB, "sw", "test", tmp_path / "nowhere")
    with pytest.raises(BenchmarkError, match=r"no file .*test.tsv: expected a folder with sib200/"):
        load_docs(SIB, "sw", "test", tmp_path)
    with pytest.raises(BenchmarkError, match=r"SIB-200 \(sw\): there are no items"):
        make_task(SIB, "sw", [])


HEADER = "index_id\tcategory\ttext\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"test.tsv, line 1: no column 'index_id', 'category', 'text'"),
        ("index_id\ttext\n1\tx\n", r"test.tsv, line 1: no column 'category'; expected the header"),
        (HEADER, r"test.tsv has no items"),
        (f"{HEADER}1\ttravel\n", r"line 2: 2 columns, expected 3: index_id, category, text"),
        (f"{HEADER}1\ttravel\tx\n2\tmusic\ty\n", r"line 3: 'category' is 'music', expected one"),
        (f"{HEADER}x\ttravel\ty\n", r"line 2: 'index_id' is 'x', expected a number"),
        (f"{HEADER}1\ttravel\tx\n1\ttravel\ty\n", r"SIB-200 \(sw\): item 1 comes twice"),
        (f"{HEADER}1\ttravel\t \n", r"SIB-200 \(sw\), item 1: the text \(text\) is empty"),
        (f'{HEADER}1\ttravel\t"x\n', r"test.tsv, line 2: "),
    ],
)
def test_damaged_tables_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "swh_Latn" / "test.tsv"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(BenchmarkError, match=message) as caught:
        load_docs(SIB, "sw", "test", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "swh_Latn" / "test.tsv"
    path.parent.mkdir()
    path.write_bytes(b"index\xff")
    with pytest.raises(BenchmarkError, match="not UTF-8 text"):
        load_docs(SIB, "sw", "test", tmp_path)


def test_labels_that_disagree_with_english_are_refused(tmp_path: Path) -> None:
    for code, topic in (("eng_Latn", "travel"), ("swh_Latn", "health")):
        path = tmp_path / code / "test.tsv"
        path.parent.mkdir()
        path.write_text(f"{HEADER}7\t{topic}\tx\n")
    with pytest.raises(BenchmarkError, match="item 7: 'category' is 'health' but 'travel' in Eng"):
        load_docs(SIB, "sw", "test", tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", r"test.sw.jsonl, line 2: not JSON .*; expected an object with premise, choice1"),
        ("[1]", r"line 2: expected an object with premise"),
        ({"premise": "A."}, r"line 2: no field 'choice1'; it has premise"),
        (COPA | {"label": "0"}, r"line 2: 'label' is '0', expected int"),
        (COPA | {"label": 2}, r"line 2: 'label' is 2, not 0 or 1"),
        (COPA | {"question": "why"}, r"line 2: 'question' is 'why', not cause or effect"),
        (COPA | {"idx": 1, "choice2": " "}, r"item 1: the answer choice 'choice2' is empty"),
    ],
)
@pytest.mark.filterwarnings("ignore:XCOPA")
def test_damaged_json_lines_are_refused(
    tmp_path: Path, row: str | dict[str, object], message: str
) -> None:
    path = tmp_path / "data" / "sw" / "test.sw.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(f"{json.dumps(COPA)}\n{row if isinstance(row, str) else json.dumps(row)}\n")
    with pytest.raises(BenchmarkError, match=message) as caught:
        load_docs(XCOPA, "sw", "test", tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<copa", "line 1: not XML"),
        ("<c><item id='501'/></c>", "item '501': expected the attributes id, asks-for"),
        (
            "<c><item id='501' asks-for='cause' most-plausible-alternative='1'><p>x</p></item></c>",
            "item '501': expected text in p, a1 and a2",
        ),
        ("<c/>", "has no items"),
    ],
)
def test_damaged_english_copa_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "copa-test.xml").write_text(content)
    with pytest.raises(BenchmarkError, match=message):
        load_docs(XCOPA, "en", "test", tmp_path)


def test_empty_choices_are_refused() -> None:
    with pytest.raises(BenchmarkError, match="item 5: the answer choice 'choice1' is empty"):
        make_task(XCOPA, "sw", [COPA | {"id": "5", "choice1": ""}])
    with pytest.raises(BenchmarkError, match=r"an answer choice is empty: \['', 'x'\]"):
        make_task(SIB, "sw", sib(), config={"doc_to_choice": ["", "x"]})
    with pytest.raises(BenchmarkError, match="an answer choice is empty, item 1: "):
        make_task(
            SIB,
            "sw",
            sib(),
            config={"doc_to_choice": lambda doc: ["a", "" if doc["id"] == "1" else "b"] * 4},
        )
