from langsteer.evaluation.report.grids import amount, duration, method_grid
from langsteer.evaluation.report.table import compare_table
from tests.made.cells import random_cells


def test_numbers_for_readers() -> None:
    assert [amount(n) for n in (0, 999, 1000, 12_345, 99_960, 1_234_567)] == [
        *("0", "999", "1.0 k", "12.3 k", "100 k", "1.2 M")
    ]
    assert amount(1_500_000_000, "B") == "1.5 GB"
    assert amount(999_999) == "1.0 M"
    assert [duration(s) for s in (2, 90, 5400)] == ["2 s", "1.5 min", "1.5 h"]


def test_a_mean_over_fewer_languages_says_so() -> None:
    cells = random_cells(["direct", "learned"], ["sw", "et"])
    cells = [c for c in cells if (c.method, c.language) != ("learned", "et")]
    grid = method_grid(compare_table(cells, "raw", draws=300))
    assert grid.lines[1].values[1].text.endswith("(1 of 2)")
