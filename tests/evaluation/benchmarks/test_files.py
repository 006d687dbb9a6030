"""Published files: what ends a line, and what is told of a fault."""

from pathlib import Path

import pytest

from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks.files import lines, table

INSIDE = "a\u2028b\x85c\x0cd\x1de"


@pytest.mark.parametrize("quoted", [True, False, None])
def test_other_ends_of_lines_stay_inside_a_text(tmp_path: Path, quoted: bool | None) -> None:
    cell = f'"{INSIDE}, ""x"""' if quoted is not False else INSIDE
    text = f'{INSIDE}, "x"' if quoted is not False else INSIDE
    path = tmp_path / "a.tsv"
    path.write_bytes(f"id\ttext\n1\t{cell}\r\n2\tz\n".encode())
    rows = table(path, ["id", "text"], "a.tsv", quoted=quoted)
    assert rows == [(2, {"id": "1", "text": text}), (3, {"id": "2", "text": "z"})]
    assert [line for _, line in lines(path, "")][1:] == [f"1\t{cell}", "2\tz"]


def test_a_quoted_cell_of_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(b'id\ttext\n1\t"a\nb"\n2\tz\n')
    rows = table(path, ["id", "text"], "a.tsv", quoted=True)
    assert [row["text"] for _, row in rows] == ["a\nb", "z"]
    path.write_bytes(b'id\ttext\n1\t"a\n')
    with pytest.raises(BenchmarkError, match=r"a\.tsv, line 2"):
        table(path, ["id", "text"], "a.tsv", quoted=True)
