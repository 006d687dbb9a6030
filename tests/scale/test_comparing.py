"""A comparison by several processes gives the cells that one gives."""

from pathlib import Path

import pytest

pytest.importorskip("lm_eval", reason="lm-eval is not installed")

from langsteer.evaluation.comparison.configuration import read_comparison
from langsteer.evaluation.comparison.run import compare
from langsteer.scale.processes import Processes
from tests.made.clusters import comparison_file, numbers_of


def test_the_same_numbers_from_two_processes(tmp_path: Path) -> None:
    compare(read_comparison(comparison_file(tmp_path, languages=["sw", "et"])))
    shared = read_comparison(comparison_file(tmp_path, "shared", languages=["sw", "et"]))
    steps = []
    outcome = compare(shared, steps.append, lambda: Processes(2))
    assert (len(outcome.made), outcome.failed) == (16, [])
    assert [step.done for step in steps] == list(range(1, 17))
    assert numbers_of(tmp_path / "shared") == numbers_of(tmp_path / "out")
    again = compare(shared, workers=lambda: Processes(2))
    assert (len(again.made), len(again.kept)) == (0, 16)


def test_what_cannot_be_opened_is_told_and_the_rest_is_made(tmp_path: Path) -> None:
    file = comparison_file(tmp_path, languages=["sw"], methods=["direct"])
    wanted = read_comparison(file)
    (tmp_path / "one" / "config.json").write_text("{", encoding="utf-8")
    outcome = compare(wanted, workers=lambda: Processes(2))
    assert len(outcome.made) == 1
    assert [failure.model for failure in outcome.failed] == [str(tmp_path / "one")]
