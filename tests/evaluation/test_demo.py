"""The demonstration: a comparison of two methods on the built-in corpus."""

import math
from pathlib import Path

import numpy as np
import pytest

from langsteer.evaluation.comparison.cells import read_results
from langsteer.evaluation.demo import TOPICS, run_demo
from langsteer.evaluation.harness.choices import choice_scores
from langsteer.evaluation.report.page import make_report
from langsteer.evaluation.statistics import (
    calibrate,
    correct,
    difference,
    gap_closed,
    paired_bootstrap,
)
from langsteer.model.model import Model
from langsteer.model.tokens import Prompt
from langsteer.steering.folder import load
from langsteer.text.corpus import builtin


def test_its_numbers_are_those_of_a_paired_bootstrap_of_the_answers(
    llama: Model, tmp_path: Path
) -> None:
    result = run_demo(llama, ["sw", "et"], "mean_difference", tmp_path, limit=30)
    report = builtin("sw", "et").split()["report"].some(30)
    right = [list(TOPICS).index(topic) for topic in report.topics]

    def hits(language: str, changes: list[object]) -> list[np.ndarray]:
        before, after = "Text: ", "\nThe topic of this text is"
        prompts = [Prompt(text, before, after) for text in report.texts[language]]
        scores = choice_scores(llama, prompts, list(TOPICS.values()), changes)  # type: ignore[arg-type]
        return [correct(calibrate(s.double().numpy()), right) for s in scores]

    (english,) = hits("en", [None])
    assert result.items == len(right) == 30
    assert result.english == pytest.approx(english.mean())
    for row in result.languages:
        vector = load(tmp_path / "vectors" / f"{row.language}.safetensors", llama)
        before, after = hits(row.language, [None, vector])
        change = paired_bootstrap(difference, before, after)
        assert (row.unsteered, row.steered) == pytest.approx((before.mean(), after.mean()))
        assert (row.change.value, row.change.low, row.change.high) == pytest.approx(
            (change.value, change.low, change.high)
        )
        assert row.strength == vector.strength
        closed = paired_bootstrap(gap_closed, english, before, after)
        gap = paired_bootstrap(difference, before, english)
        assert (row.gap_closed is None) == (gap.low <= 0)
        assert row.gap_closed is None or math.isclose(row.gap_closed.value, closed.value)
    assert result.mean.steered == pytest.approx(np.mean([r.steered for r in result.languages]))


def test_its_cells_are_those_of_a_comparison(llama: Model, tmp_path: Path) -> None:
    result = run_demo(llama, ["sw"], "mean_difference", tmp_path, limit=14)
    cells = read_results(tmp_path).cells
    assert [cell.method for cell in cells] == ["direct", "english", "mean_difference"]
    (section,) = make_report(tmp_path, draws=50).sections
    row = section.table.row("mean_difference")
    assert row is not None
    assert row.mean is not None
    assert row.mean.score == pytest.approx(result.mean.steered)
    assert row.title == "Steering: mean difference"
