"""Published files that are damaged are refused in one line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("lm_eval")


from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks import get_benchmark, load_docs
from tests.made.published import WRITERS, json_lines, tsv, write


def changed(path: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        text = (root / path).read_text(encoding="utf-8")
        (root / path).write_text(change(text), encoding="utf-8")

    return apply


def spoiled(path: str) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        (root / path).write_bytes(b"no")

    return apply


def removed(field: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        rows = [json.loads(line) for line in text.splitlines()]
        del rows[-1][field]
        return json_lines(rows)

    return change


@pytest.mark.parametrize(
    ("name", "tag", "damage", "message"),
    [
        (
            "xnli",
            "sw",
            changed("XNLI-1.0/xnli.test.tsv", lambda t: t.replace("gold_label", "label", 1)),
            r"xnli.test.tsv, line 1: no column 'gold_label'",
        ),
        (
            "xnli",
            "sw",
            changed("XNLI-1.0/xnli.test.tsv", lambda t: t.replace("sw\tneutral", "sw\t-")),
            r"xnli.test.tsv, line 6: 'gold_label' is '-', expected one of entailment",
        ),
        (
            "xnli",
            "tr",
            lambda root: None,
            r"xnli.test.tsv has no rows with the language 'tr'",
        ),
        (
            "pawsx",
            "de",
            changed("x-final/de/test_2k.tsv", lambda t: t.replace("\t1\n", "\tyes\n")),
            r"test_2k.tsv, line 2: 'label' is 'yes', not 0 or 1",
        ),
        (
            "pawsx",
            "de",
            changed("x-final/de/test_2k.tsv", lambda t: t.replace("Paris .\t", "Paris .", 1)),
            r"test_2k.tsv, line \d: 3 columns, expected 4",
        ),
        (
            "xstorycloze",
            "sw",
            changed(
                "spring2016.val.sw.tsv.split_20_80_eval.tsv", lambda t: t.replace("\t2\n", "\t3\n")
            ),
            r"eval.tsv, line 3: 'answer_right_ending' is '3', not 1 or 2",
        ),
        (
            "xstorycloze",
            "hi",
            lambda root: None,
            r"no file .*spring2016.val.hi.tsv.split_20_80_eval.tsv: expected a folder with spring",
        ),
        (
            "belebele",
            "sw",
            changed("belebele/swh_Latn.jsonl", removed("mc_answer3")),
            r"swh_Latn.jsonl, line 2: no field 'mc_answer3'",
        ),
        (
            "belebele",
            "sw",
            changed("belebele/swh_Latn.jsonl", lambda t: t.replace('num": "2"', 'num": "1"')),
            r"Cat#2: 'correct_answer_num' is '1' but '2' in English",
        ),
        (
            "belebele",
            "sw",
            changed("belebele/swh_Latn.jsonl", lambda t: t.replace('num": "2"', 'num": "5"')),
            r"'correct_answer_num' is '5', not 1 to 4",
        ),
        (
            "global_mmlu",
            "de",
            changed("global_mmlu/de/test.csv", lambda t: t.replace("option_d", "d")),
            r"test.csv, line 1: no column 'option_d'",
        ),
        (
            "global_mmlu",
            "de",
            changed("global_mmlu/de/test.csv", lambda t: t.replace(",C,", ",E,")),
            r"test.csv, line 3: 'answer' is 'E', not A, B, C or D",
        ),
        (
            "global_mmlu",
            "sw",
            lambda root: (
                write(root / "global_mmlu/sw/test-00000-of-00001.parquet", "no").unlink and None
            ),
            r"test-00000-of-00001.parquet is not a Parquet file",
        ),
        (
            "mgsm",
            "sw",
            changed("mgsm/mgsm_sw.tsv", lambda t: t.replace("1,001", "many")),
            r"mgsm_sw.tsv, line 2: 'answer' is 'many', expected a number",
        ),
        (
            "mgsm",
            "sw",
            changed("mgsm/mgsm_sw.tsv", lambda t: tsv([("1+1?",)])),
            r"mgsm_sw.tsv, line 1: 1 columns, expected 2: question, answer",
        ),
        (
            "xquad",
            "tr",
            changed("xquad.tr.json", lambda t: t.replace('"context"', '"text"')),
            r"xquad.tr.json, data\[0\].paragraphs\[0\]: no field 'context'",
        ),
        (
            "xquad",
            "tr",
            changed("xquad.tr.json", lambda t: t[:-1]),
            r"xquad.tr.json is not JSON",
        ),
        (
            "xlsum",
            "sw",
            changed("swahili_test.jsonl", removed("summary")),
            r"swahili_test.jsonl, line 1: no field 'summary'",
        ),
        (
            "language_confusion",
            "id",
            changed("test_sets/monolingual/okapi/id.csv", lambda t: t.replace("prompt", "text")),
            r"id.csv, line 1: no column 'prompt'",
        ),
    ],
)
def test_damaged_files_are_refused_in_one_line(
    name: str, tag: str, damage: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    WRITERS[name][0](tmp_path)
    damage(tmp_path)
    with pytest.raises(BenchmarkError, match=message) as caught:
        load_docs(get_benchmark(name), tag, "test", tmp_path)
    assert "\n" not in str(caught.value)
