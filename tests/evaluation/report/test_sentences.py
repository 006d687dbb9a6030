from dataclasses import replace

from langsteer.evaluation.report.sentences import summarise
from langsteer.evaluation.report.table import compare_table
from tests.made.cells import cell, random_cells


def test_the_summary_is_true_of_the_numbers() -> None:
    cells = random_cells(["direct", "learned", "few_shot", "english"], ["sw", "et"])
    text = " ".join(summarise(compare_table(cells, "raw", draws=300), "SIB-200"))
    assert "2 languages, 160 answers a method" in text
    assert "Most is gained by Learned: +" in text
    assert "of the gap to English." in text
    assert "Not significantly different from direct: Few_Shot." in text


def test_the_summary_where_nothing_is_significant() -> None:
    cells = random_cells(["direct", "few_shot", "xlt"], ["sw", "et"], seed=1)
    cells += [replace(c, method="english") for c in cells if c.method == "direct"]
    cells = [c for c in cells if (c.method, c.language) != ("xlt", "et")]
    text = " ".join(summarise(compare_table(cells, "raw", draws=300), "SIB-200"))
    assert "None of the 2 methods differs significantly from direct" in text
    assert "the gap is not clearly above 0" in text
    assert "better" not in text
    worse = [cell("direct", "sw", [True] * 40), cell("learned", "sw", [False] * 40)]
    text = " ".join(summarise(compare_table(worse, "raw", draws=300), "SIB-200"))
    assert "Significantly worse than direct: Learned (−100.0 [−100.0, −100.0])." in text
    assert "there are no English originals" in text
    one = [cell("direct", "sw", [True] * 9 + [False]), cell("learned", "sw", [True] * 10)]
    text = " ".join(summarise(compare_table(one, "raw", draws=300), "SIB-200"))
    assert "The one method does not differ significantly" in text
    assert summarise(compare_table(one[1:], "raw", draws=300), "X") == (
        "X has no cells of 'direct', so no method is compared.",
    )
    only = compare_table(one[:1], "raw", draws=300)
    assert summarise(only, "X")[1] == "No other method has been run."


def test_levels_of_other_items_than_the_difference_are_told() -> None:
    hits = [True] * 2 + [False] * 38
    cells = [cell("direct", "sw", hits), cell("english", "sw", [True] * 38 + [False, False])]
    said = "on the items and languages that both have"
    whole = " ".join(summarise(compare_table(cells, "raw", draws=300), "SIB-200"))
    assert said not in whole
    fewer = replace(cells[0], items=cells[0].items[1:])
    part = " ".join(summarise(compare_table([fewer, cells[1]], "raw", draws=300), "SIB-200"))
    assert said in part
