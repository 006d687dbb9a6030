"""A comparison on benchmarks of one's own."""

from pathlib import Path

import pytest

pytest.importorskip("lm_eval")

from langsteer.errors import ConfigError
from langsteer.evaluation.comparison.configuration import read_comparison
from tests.made.own import own_file


def test_a_comparison_names_files_of_one_s_own(tmp_path: Path) -> None:
    own_file(tmp_path / "own")
    keys = "output: out\nbenchmarks: colours\nlanguages: [sw]\n"
    path = tmp_path / "comparison.yaml"
    path.write_text(f"{keys}benchmark_files: own\n")
    wanted = read_comparison(path)
    assert wanted.benchmark("colours").title == "Colours"
    assert wanted.languages_of("colours") == ("sw",)
    path.write_text(wanted.as_yaml())
    assert read_comparison(path) == wanted
    path.write_text(keys)
    with pytest.raises(ConfigError, match="no benchmark 'colours'"):
        read_comparison(path)
    assert read_comparison(path, benchmark_files=[tmp_path / "own"]).languages_of("colours")
