"""The configuration of a comparison: what it may hold, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from langsteer.errors import ConfigError, LangsteerError
from langsteer.evaluation.comparison.configuration import read_comparison
from tests.made.comparisons import wanted


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"langauges": ["sw"]}, "did you mean 'languages'"),
        ({"languages": ["xx-nonsense-tag"]}, "no language has the tag"),
        ({"languages": ["de"], "benchmarks": "xcopa"}, "none of the languages de"),
        ({"languages": ["sw", "de"], "benchmarks": "xcopa"}, "no benchmark .* has 'de'"),
        ({"languages": [False]}, "YAML reads no as false"),
        ({"benchmarks": ["sib2000"]}, "did you mean 'sib200'"),
        ({"methods": ["learnt"]}, "did you mean 'learned'"),
        ({"methods": ["english+learned"]}, "nothing to steer"),
        ({"methods": ["direct", "direct"]}, "direct is there twice"),
        ({"methods": []}, "methods is empty"),
        ({"methods": [{"direct": {"benchmarks": ["sib"]}}]}, "no benchmark 'sib'"),
        ({"limit": "many"}, "limit must be a whole number"),
        ({"corpus": {"lines": 3, "file": "x"}}, "corpus must be a path"),
        ({"output": None}, "output is missing"),
    ],
)
def test_a_wrong_configuration_is_one_clear_line(
    tmp_path: Path, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(LangsteerError, match=message):
        wanted(tmp_path, **keys)


def test_a_configuration_file(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "output: out\nlanguages: [sw]\nmethods: [direct, {few_shot: {k: 3}}]\n"
        "corpus: {path: pairs.tsv, lines: 10}\nbenchmarks: [{sib200: {form: native}}]\n",
        encoding="utf-8",
    )
    found = read_comparison(file)
    assert found.output == tmp_path / "out"
    assert found.corpus.path == str(tmp_path / "pairs.tsv")
    assert found.methods[1].options == {"k": 3}
    for text, message in (
        ("a: [", "is not YAML"),
        ("- a\n", "not a mapping"),
        ("a: 1\n", "no key"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=message):
            read_comparison(file)
    with pytest.raises(ConfigError, match="cannot read"):
        read_comparison(tmp_path / "none.yaml")
