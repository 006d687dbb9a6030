"""What is refused before a comparison opens a model."""

from pathlib import Path
from typing import Any

import pytest

from langsteer.errors import ConfigError
from langsteer.evaluation.comparison.run import compare
from tests.made.comparisons import wanted


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"dtype": "float12"}, "dtype: 'float12' is not a data type to open a model in"),
        (
            {"benchmarks": {"sib200": {"form": "klingon"}}},
            "sib200 has no form 'klingon' .*: it has",
        ),
        ({"data": "nowhere"}, "data: there is no folder .*nowhere"),
        ({"corpus": "nowhere.tsv"}, "corpus: there is no file or folder .*nowhere.tsv"),
    ],
)
def test_what_cannot_be_run(keys: dict[str, Any], message: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        compare(wanted(tmp_path, **keys))
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(
        ConfigError, match=r"output is .*out, a file: name a folder for the results"
    ):
        compare(wanted(tmp_path))


def test_what_lies_where_the_work_is_done_is_not_looked_for_here(tmp_path: Path) -> None:
    asked = wanted(tmp_path, data="on-the-cluster", models="tiny")

    def workers() -> Any:
        raise NotImplementedError

    with pytest.raises(NotImplementedError):
        compare(asked, workers=workers)
