"""Benchmarks of which some answers have no score: the others count, and nothing stops."""

from pathlib import Path

import pytest

pytest.importorskip("lm_eval", reason="lm-eval is not installed")
pytest.importorskip("lingua", reason="lingua is not installed")

from langsteer.evaluation.comparison.cells import cell_path, read_cell
from langsteer.evaluation.comparison.run import compare
from langsteer.model.model import Model
from tests.made.comparisons import wanted
from tests.made.published import language_confusion


@pytest.mark.parametrize(
    ("benchmark", "language"), [("language_confusion", "id"), ("language_forcing", "sw")]
)
def test_a_score_that_says_nothing_is_left_out(
    benchmark: str, language: str, tmp_path: Path, llama: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Latin letters no answer has a score by word."""
    language_confusion(tmp_path / "data")
    monkeypatch.setattr("langsteer.evaluation.comparison.unit.load_model", lambda *_, **__: llama)
    keys = {"benchmarks": benchmark, "languages": [language], "methods": ["direct"], "limit": 2}
    outcome = compare(wanted(tmp_path, **keys))
    assert [failure.error for failure in outcome.failed] == []
    cell = read_cell(cell_path(tmp_path / "out", "tiny", benchmark, language, "direct"))
    assert "word_pass" not in cell.harness
    assert all(item.value is not None for item in cell.items)
