from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from langsteer.errors import CellError
from langsteer.evaluation.comparison.cells import Cell, Cost, Item
from langsteer.evaluation.report.grids import pair_grid
from langsteer.evaluation.report.samples import item_scores
from langsteer.evaluation.report.table import (
    MCNEMAR,
    WILCOXON,
    Contrast,
    Table,
    compare_table,
    compare_tables,
)
from langsteer.evaluation.statistics import holm, mcnemar, sign_flip
from tests.made.cells import cell, random_cells

DRAWS = 300


def graded(method: str, language: str, values: Sequence[float]) -> Cell:
    items = tuple(Item(f"i{place:03}", value=value) for place, value in enumerate(values))
    return Cell(
        "tiny", "flores", language, method, method, "english", "test", "generate", "chrf", items
    )


def of(table: Table, method: str, language: str = "mean") -> Contrast:
    row = table.row(method)
    assert row is not None
    entry = row.mean if language == "mean" else row.entries[table.languages.index(language)]
    assert entry is not None
    assert entry.comparison is not None
    return entry.comparison


def test_a_small_table_by_hand() -> None:
    cells = [
        cell("direct", "sw", [1, 0, 0, 0]),
        cell("learned", "sw", [1, 1, 1, 0], cost=Cost(10, 2.0, 5, 1.0)),
        cell("direct", "et", [1, 1, 0, 0]),
        cell("learned", "et", [0, 1, 1, 0], cost=Cost(20, 3.0, 4, 1.0)),
        cell("english", "sw", [1, 1, 1, 1]),
        cell("english", "et", [1, 1, 1, 1]),
    ]
    table = compare_table(cells, "raw", draws=DRAWS)
    assert table.languages == ("et", "sw")  # by name: Estonian, Swahili
    assert [row.method for row in table.rows] == ["direct", "learned", "english"]
    assert (table.test, table.family, table.language_family) == (MCNEMAR, 1, 2)
    direct, learned, english = table.rows
    assert direct.mean is not None
    assert [entry and entry.score for entry in direct.entries] == [50, 25]
    assert direct.mean.score == 37.5
    assert direct.mean.comparison is None
    assert learned.cost == Cost(tokens=30, seconds=5.0, peak_bytes=5, training_seconds=2.0)
    assert learned.answered == 8
    assert of(table, "learned", "sw").difference.value == 50
    assert of(table, "learned", "sw").p == 0.5  # 2 gains, no loss: 2 / 4
    assert of(table, "learned", "et").p == 1
    mean = of(table, "learned")
    assert mean.difference.value == 25
    assert mean.items == 8
    assert mean.p == pytest.approx(sign_flip(np.array([-1.0, 1, 2, 0])))  # by item
    assert of(table, "english").p is None
    assert of(table, "english").difference.value == 62.5
    assert english.mean is not None


def test_gap_closed_and_where_there_is_no_gap() -> None:
    cells = random_cells(["direct", "learned", "english"], ["sw", "et"])
    table = compare_table(cells, "raw", draws=DRAWS)
    closed = of(table, "learned").gap_closed
    assert closed is not None
    share = of(table, "learned").difference.value / of(table, "english").difference.value
    assert closed.value == pytest.approx(share)
    assert closed.low < closed.value < closed.high
    same = [replace(c, method="english") for c in cells if c.method == "direct"]
    no_gap = compare_table([c for c in cells if c.method != "english"] + same, "raw", draws=DRAWS)
    assert of(no_gap, "learned").gap_closed is None
    assert of(no_gap, "learned", "sw").gap_closed is None
    without = compare_table([c for c in cells if c.method != "english"], "raw", draws=DRAWS)
    assert of(without, "learned").gap_closed is None


def test_calibration_uses_the_whole_cell() -> None:
    scores = [(-1.0, -2.0), (-1.0, -4.0), (-1.0, -3.5)]
    items = tuple(Item(str(i), i % 2, pair) for i, pair in enumerate(scores))
    made = cell("direct", "sw", [1], items=items)
    assert list(item_scores(made, "raw")) == [100, 0, 100]
    # less the means (-1, -19/6): (0, 7/6), (0, -5/6), (0, -1/3)
    assert list(item_scores(made, "calibrated")) == [0, 0, 100]
    assert compare_table([made]).score == "calibrated"


def test_a_method_against_itself() -> None:
    cells = random_cells(["direct", "english"], ["sw", "et"])
    cells += [replace(c, method="copy") for c in cells if c.method == "direct"]
    table = compare_table(cells, draws=DRAWS)
    for language in ("sw", "et", "mean"):
        found = of(table, "copy", language)
        assert (found.difference.value, found.difference.low, found.difference.high) == (0, 0, 0)
        assert found.p == found.p_adjusted == 1
        assert not found.significant


def test_the_order_of_cells_and_items_does_not_matter() -> None:
    cells = random_cells(["direct", "learned", "english"], ["sw", "et", "tr"])
    turned = [replace(c, items=c.items[::-1]) for c in reversed(cells)]
    assert compare_table(cells, draws=DRAWS) == compare_table(turned, draws=DRAWS)


def test_holm_is_over_the_means_and_over_the_languages() -> None:
    cells = random_cells(["direct", "learned", "few_shot", "english"], ["sw", "et", "tr"])
    table = compare_table(cells, "raw", draws=DRAWS)
    assert (table.family, table.language_family) == (2, 6)
    means = [of(table, method) for method in ("few_shot", "learned")]
    assert [m.p_adjusted for m in means] == holm([m.p or 0 for m in means])
    single = [of(table, m, lang) for m in ("few_shot", "learned") for lang in table.languages]
    assert [m.p_adjusted for m in single] == holm([m.p or 0 for m in single])
    direct, learned = (next(c for c in cells if c.method == m) for m in ("direct", "learned"))
    expected = mcnemar(item_scores(direct, "raw"), item_scores(learned, "raw"))
    assert of(table, "learned", "sw").p == expected


def test_only_items_that_both_answered_are_compared_and_a_mismatch_is_said() -> None:
    whole, short = [True] * 10 + [False] * 10, [True] * 15
    table = compare_table([cell("direct", "sw", whole), cell("learned", "sw", short)], "raw", 300)
    found = of(table, "learned", "sw")
    assert found.items == 15
    assert found.difference.value == pytest.approx(100 * 5 / 15)
    assert table.notes == (
        "learned / sw: 15 items compared; 5 were answered by direct only, 0 by learned only.",
    )
    nothing = replace(cell("learned", "sw", [True]), items=(Item("other", 0, (-1.0, -2.0)),))
    table = compare_table([cell("direct", "sw", whole), nothing], "raw", draws=DRAWS)
    row = table.row("learned")
    assert row is not None
    assert row.mean is not None
    assert row.mean.comparison is None


def test_other_targets_and_other_scores_than_the_harness_are_said() -> None:
    other = cell("learned", "sw", [1, 0, 0, 0], harness={"acc": 0.75})
    other = replace(other, items=(replace(other.items[0], target=1), *other.items[1:]))
    notes = compare_table([cell("direct", "sw", [1, 1, 0, 0]), other], "raw", 300).notes
    assert notes == (
        "learned / sw: 1 items have another right answer than in direct's cell.",
        "learned / sw: raw accuracy is 0.0, the harness's 75.0.",
    )


def test_a_method_without_some_languages() -> None:
    cells = random_cells(["direct", "learned"], ["sw", "et", "tr"])
    cells = [c for c in cells if (c.method, c.language) != ("learned", "tr")]
    table = compare_table(cells, "raw", draws=DRAWS)
    row = table.row("learned")
    assert row is not None
    assert row.mean is not None
    assert row.entries[table.languages.index("tr")] is None
    assert row.mean.languages == ("et", "sw")
    sw, et = (of(table, "learned", name).difference.value for name in ("sw", "et"))
    assert of(table, "learned").difference.value == pytest.approx((sw + et) / 2)


def test_languages_of_other_lengths_count_alike() -> None:
    cells = [
        cell("direct", "sw", [0] * 4),
        cell("learned", "sw", [1, 1, 0, 0]),
        cell("direct", "et", [1] * 40),
        cell("learned", "et", [1] * 40),
    ]
    found = of(compare_table(cells, "raw", draws=DRAWS), "learned")
    assert found.difference.value == 25
    assert found.p == pytest.approx(0.5)


def test_english_of_its_own_cell_is_the_upper_bound_and_not_in_the_mean() -> None:
    cells = random_cells(["direct", "learned"], ["sw", "et"])
    cells.append(cell("direct", "en", [True] * 72 + [False] * 8))
    table = compare_table(cells, "raw", draws=DRAWS)
    assert table.languages == ("et", "sw", "en")
    direct, english = table.row("direct"), table.row("english")
    assert direct is not None
    assert direct.mean is not None
    assert direct.mean.languages == ("et", "sw")
    assert english is not None
    assert [entry and entry.score for entry in english.entries] == [90, 90, 90]
    assert of(table, "learned").gap_closed is not None


def test_graded_values_are_tested_by_rank_and_brought_to_per_cent() -> None:
    rng = np.random.default_rng(0)
    values = {
        m: rng.random(60) * 0.4 + (0.1 if m == "learned" else 0) for m in ("direct", "learned")
    }
    cells = [graded(m, lang, list(v)) for m, v in values.items() for lang in ("sw", "et")]
    table = compare_table(cells, draws=DRAWS)
    assert (table.score, table.test) == ("value", WILCOXON)
    expected = 100 * (values["learned"].mean() - values["direct"].mean())
    assert of(table, "learned").difference.value == pytest.approx(expected)
    assert (of(table, "learned").p or 0) < 0.05
    hundred = [
        replace(c, items=tuple(replace(i, value=100 * (i.value or 0)) for i in c.items))
        for c in cells
    ]
    again = compare_table(hundred, draws=DRAWS)
    assert of(again, "learned").difference.value == pytest.approx(expected)


def test_exact_match_is_right_or_wrong() -> None:
    cells = [graded("direct", "sw", [0, 1, 0]), graded("learned", "sw", [1, 1, 1])]
    table = compare_table(cells, draws=DRAWS)
    assert table.test == MCNEMAR
    assert of(table, "learned", "sw").p == 0.5


def test_without_direct_nothing_is_compared() -> None:
    table = compare_table([cell("learned", "sw", [1, 0])], "raw", draws=DRAWS)
    assert table.notes == ("There are no cells of 'direct', so nothing is compared.",)
    assert table.rows[0].mean is not None
    assert table.rows[0].mean.comparison is None


def test_what_cannot_be_one_table() -> None:
    made = cell("direct", "sw", [1, 0])
    with pytest.raises(CellError, match="no cells"):
        compare_table([])
    with pytest.raises(CellError, match="one model, and these have other, tiny"):
        compare_table([made, replace(made, model="other")])
    with pytest.raises(CellError, match="no 'value' score"):
        compare_table([made], "value")
    with pytest.raises(CellError, match="no 'raw' score"):
        compare_table([graded("direct", "sw", [0.5])], "raw")
    tables = compare_tables([made, replace(made, model="other")], draws=DRAWS)
    assert [table.model for table in tables] == ["other", "tiny"]


def test_methods_stand_in_their_usual_order() -> None:
    names = ["english", "few_shot+learned", "learned", "mine", "few_shot", "direct"]
    table = compare_table([cell(name, "sw", [1, 0]) for name in names], draws=DRAWS)
    assert [row.method for row in table.rows] == [
        *("direct", "few_shot", "learned", "mine", "few_shot+learned", "english")
    ]


def test_every_method_against_every_other() -> None:
    cells = random_cells(["direct", "learned", "few_shot", "english"], ["sw", "et"])
    only = random_cells(["probe"], ["sw"], seed=1)
    table = compare_table([*cells, *only], "raw", draws=DRAWS)
    pairs = {(pair.method, pair.other): pair for pair in table.pairs}
    assert set(pairs) == {("few_shot", "probe"), ("few_shot", "learned"), ("probe", "learned")}
    pair = pairs["few_shot", "learned"]
    assert (pair.languages, pair.items) == (2, 160)
    rows = [table.row(name) for name in ("few_shot", "learned")]
    scores = [row.mean.score for row in rows if row is not None and row.mean is not None]
    assert pair.difference.value == pytest.approx(scores[0] - scores[1])
    assert pair.difference.low < pair.difference.value < pair.difference.high
    assert (pairs["probe", "learned"].languages, pairs["probe", "learned"].items) == (1, 80)
    grid = pair_grid(table)
    assert [column.name for column in grid.columns] == ["Method", "Few_Shot", "Probe", "Learned"]
    one, other = grid.lines[0].values[3], grid.lines[2].values[1]
    assert one.sort == pytest.approx(pair.difference.value)
    assert other.sort == pytest.approx(-pair.difference.value)
    assert {one.tone, other.tone} in ({""}, {"better", "worse"})
    assert grid.lines[0].values[1].text == "–"


def test_no_pairs_of_one_method() -> None:
    table = compare_table(random_cells(["direct", "learned"], ["sw"]), "raw", draws=DRAWS)
    assert table.pairs == ()
    assert pair_grid(table).lines == ()
