"""Tab-separated text, with cells in double quotes or without."""

import csv
import io

import pytest

from langsteer.errors import CorpusError
from langsteer.text.table import table_rows


def written(rows: list[list[str]], quoting: int = csv.QUOTE_MINIMAL) -> str:
    file = io.StringIO()
    csv.writer(file, delimiter="\t", quoting=quoting).writerows(rows)
    return file.getvalue()


ROWS = [["sw", "en"], ['Sema "ndiyo"', 'Say "yes"'], ["Haya, sawa", "Well, good"], ["La", "No"]]


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_what_a_spreadsheet_writes(quoting: int) -> None:
    assert table_rows(written(ROWS, quoting)) == ROWS
    inside = [["sw", "en"], ["a\tb", "c\nd"], ["e", "f"]]
    assert table_rows(written(inside, quoting)) == inside
    plain = [["sw", "en"], ["a", "b"], ["e\x85\u2028\x0cf", "g"]]
    assert table_rows(written(plain, quoting)) == plain


def test_cells_with_a_comma_in_quotes() -> None:
    assert table_rows('sw\ten\n"a, b"\tc\nd\t"e, f"\n') == [
        ["sw", "en"],
        ["a, b", "c"],
        ["d", "e, f"],
    ]


@pytest.mark.parametrize(
    "text",
    [
        'sw\ten\n"Ndiyo."\t"Yes."\nLa\tNo\n',
        'sw\ten\n"Ndiyo," alisema\t"Yes," she said\n"A ""b"" c"\td\n',
        'sw\ten\nInchi 5"\t5" wide\n',
        'sw\ten\n"Haya, sawa"\tWell, good\n',
        'sw\ten\n"wazi\topen\nLa\tNo\n',
    ],
)
def test_quotes_of_plain_text_stay(text: str) -> None:
    assert table_rows(text) == [line.split("\t") for line in text.strip().split("\n")]


def test_a_cell_that_is_too_long() -> None:
    with pytest.raises(CorpusError, match="too long"):
        table_rows('sw\ten\n"' + "a" * 200_000 + '""b"\tc\n')
