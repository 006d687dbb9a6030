import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from langsteer.analysis.drift.gains import gain_fits, read_gains, spearman
from langsteer.analysis.drift.results import Drift
from langsteer.errors import AnalysisError
from tests.made.cells import cell


def test_spearman_of_what_is_known() -> None:
    stats = pytest.importorskip("scipy.stats")
    up = spearman([1, 2, 3, 4, 5], [2, 3, 5, 7, 11])
    assert up["rho"] == 1
    assert up["p"] == pytest.approx(2 / 120)
    x, y = [3.0, 1.0, 4.0, 1.5, 5.0, 9.0, 2.6, 5.3], [2.0, 7.0, 1.0, 8.0, 2.0, 8.0, 1.0, 8.0]
    found = spearman(x, y)
    assert found["rho"] == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found["low"] < found["rho"] < found["high"]
    assert 0.05 < found["p"] <= 1
    assert math.isnan(spearman([1, 1, 1, 1, 1], [1, 2, 3, 4, 5])["rho"])


def test_gains_that_follow_movement_and_gains_that_do_not(small: Drift) -> None:
    version = small.versions[1]
    by_movement = sorted(
        small.languages, key=lambda t: version.languages[t].movement.own[small.layer]
    )
    gains = {version.name: {tag: float(i) for i, tag in enumerate(by_movement)}}
    fits = {one.measure: one for one in gain_fits(small, {"made up": gains})}
    own = fits["own movement"]
    assert own.rho == pytest.approx(1)
    assert own.p == pytest.approx(2 / math.factorial(6))
    assert "gain more" in own.verdict
    assert "with 6 languages only a very strong relation would show" in own.verdict
    few = {version.name: dict.fromkeys(by_movement[:3], 1.0)}
    for one in gain_fits(small, {"made up": few}):
        assert math.isnan(one.p)
        assert one.verdict.startswith("3 languages are too few to say anything")
    flat = {version.name: dict.fromkeys(by_movement, 2.0)}
    assert "no correlation" in gain_fits(small, {"made up": flat})[0].verdict
    assert gain_fits(small, {"made up": {"another": {"sw": 1.0}}}) == ()


def test_gains_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "gains.json"
    path.write_text('{"sft": {"swh_Latn": 1, "et": -0.5}, "other": {"sw": 3}}')
    found = read_gains(path).of(["base"], {"my sft": ["my sft", "out/sft", "sft"], "dpo": ["dpo"]})
    assert found == {"gains": {"my sft": {"sw": 1.0, "et": -0.5}}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "holds no gains"),
        ('{"sft": 3}', "holds no gains"),
        ('{"sft": {"sw": "much"}}', "holds no gains"),
        ('{"sft": {"sw": true}}', "holds no gains"),
        ('{"sft": {"qx": 1}}', "no language has the tag 'qx'"),
        ("{", "is not JSON"),
        ('{"benchmarks": [{}]}', "holds no gains"),
    ],
)
def test_files_without_gains(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "gains.json"
    path.write_text(text)
    with pytest.raises(AnalysisError, match=re.escape(message)):
        read_gains(path)
    with pytest.raises(AnalysisError, match="cannot read"):
        read_gains(tmp_path / "missing.json")
    with pytest.raises(AnalysisError, match="run langsteer report"):
        read_gains(tmp_path)


def test_gains_of_a_comparison(tmp_path: Path) -> None:

    from langsteer.evaluation.comparison.cells import write_cell
    from langsteer.evaluation.report.page import make_report, write_report

    for model, method, right in (
        ("org/base", "direct", 4),
        ("org/base", "learned", 6),
        ("out/sft", "direct", 9),
    ):
        for language in ("sw", "et"):
            made = cell(method, language, [i < right for i in range(10)])
            write_cell(tmp_path, replace(made, model=model))
    write_report(make_report(tmp_path, draws=50), tmp_path)
    versions = {"sft": ["sft", "out/sft"], "steered: learned": ["steered: learned", "learned"]}
    (found,) = read_gains(tmp_path).of(["org/base", "base"], versions).values()
    # Two choices, calibrated: what is right and wrong is counted over again, so only signs are known.
    assert set(found) == {"sft", "steered: learned"}
    assert set(found["sft"]) == {"sw", "et"}
    scores = read_gains(tmp_path).scores
    assert scores is not None
    models = scores["sib200"]
    assert (
        found["sft"]["sw"] == models["out/sft"]["direct"]["sw"] - models["org/base"]["direct"]["sw"]
    )
    assert read_gains(tmp_path).of(["another"], versions) == {}
