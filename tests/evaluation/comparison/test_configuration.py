"""The configuration of a comparison: what it may hold, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from langsteer.errors import ConfigError, LangsteerError
from langsteer.evaluation.comparison.configuration import (
    Chosen,
    Comparison,
    FitText,
    comparison,
    read_comparison,
)
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
        (
            {"methods": [{"few_shot": {"k": "five"}}]},
            "few_shot: its option k should be a valid int",
        ),
        (
            {"methods": [{"few_shot": {"k": "4"}}]},
            "few_shot: its option k should be a number, not '4'",
        ),
        (
            {"methods": [{"few_shot": {"k": -1}}]},
            "few_shot: its option k should be greater than 0, not -1",
        ),
        ({"methods": [{"few_shot_english": {"k": 0}}]}, "k should be greater than 0, not 0"),
        ({"methods": [{"xlt": {"tokens": 0}}]}, "tokens should be greater than 0, not 0"),
        ({"methods": [{"translate_mt": {"beams": 0}}]}, "beams should be greater than 0, not 0"),
        ({"methods": [{"self_translate": {"longest": -1}}]}, "longest should be greater than 0"),
        ({"methods": [{"prompt_optimisation": {"items": 0}}]}, "items should be greater than 0"),
        (
            {"methods": [{"mean_difference": {"strength": float("inf")}}]},
            "strength should be a finite number, not inf",
        ),
        (
            {"methods": [{"mean_difference": {"strengths": [1, float("inf")]}}]},
            "strengths should be finite numbers",
        ),
        ({"methods": [{"learned": {"steps": "many"}}]}, "learned: its option steps should be"),
        ({"methods": [{"learned": {"steps": 0}}]}, "steps should be greater than 0, not 0"),
        ({"methods": [{"learned": {"still": float("nan")}}]}, "should be a finite number, not nan"),
        ({"methods": [{"learned": {"strengths": 1}}]}, "its option strengths should be"),
        ({"methods": [{"learned": {"positions": "sauce"}}]}, "its option positions should be"),
        ({"resources": {"all": {"gpu": 1}}}, "resources.all has no key 'gpu'; did you mean 'gpus'"),
        ({"resources": {"all": {"gpus": True}}}, "resources.all.gpus must be a number, not True"),
        ({"methods": [{"few_shot": {"shots": 4}}]}, "few_shot has no option 'shots': it has k"),
        ({"methods": [{"learned": {"strenght": 1}}]}, "learned has no option 'strenght'; it has"),
        ({"methods": [{"learned@prompt": {"depth": 7}}]}, "depth"),
        ({"methods": [{"learned_together": {"ridges": 1}}]}, "no option 'ridges'"),
        ({"methods": [{"few_shot+learned": {"steering": {"k": 1}}}]}, "learned has no option 'k'"),
        ({"methods": [{"few_shot+learned": {"steps": 1}}]}, "few_shot has no option 'steps'"),
        ({"methods": [{"direct": {"benchmarks": ["sib"]}}]}, "no benchmark 'sib'"),
        ({"limit": "many"}, "limit must be a whole number"),
        ({"corpus": {"lines": 3, "file": "x"}}, "corpus must be a path"),
        ({"output": None}, "the key output is missing: a folder for the results"),
        ({"output": 3}, "output must be a path, not 3"),
        ({"data": ["a"]}, r"data must be a path, not \['a'\]"),
        ({"dtype": 16}, "dtype must be text, not 16"),
        ({"device": 0}, "device must be text, not 0"),
        ({"device_map": {"a": 1}}, "device_map must be text, not"),
        ({"benchmark_files": [3]}, r"benchmark_files\[0\] must be a path, not 3"),
        ({"models": {"a": 1}}, r"models must be a list of names, not \{'a': 1\}"),
        ({"models": ["tiny", 3]}, r"models must be a list of names, not \['tiny', 3\]"),
        ({"models": []}, "models is empty"),
        ({"models": ["tiny", "tiny"]}, "tiny is there twice"),
        ({"languages": []}, "languages is empty"),
        ({"languages": False}, "languages names no language: YAML reads no as false"),
        ({"languages": {"sw": 1}}, "languages must be a list of names"),
        ({"limit": True}, "limit must be a whole number, 1 or more, not True"),
        ({"limit": 1.0}, "limit must be a whole number, 1 or more, not 1.0"),
        ({"limit": "3"}, "limit must be a whole number, 1 or more, not '3'"),
        ({"limit": 0}, "limit must be a whole number, 1 or more, not 0"),
        ({"corpus": {"lines": 0}}, "corpus.lines must be a whole number, 1 or more, not 0"),
        ({"seed": -1}, "seed must be a whole number, 0 or more, not -1"),
        ({"corpus": 3}, r"corpus must be a path, or \{path: …, lines: …\}, not 3"),
        ({"corpus": {"path": 3}}, r"corpus must be a path, .* not \{'path': 3\}"),
        ({"corpus": {"lines": "ten"}}, "corpus.lines must be a whole number, 1 or more, not 'ten'"),
        ({"methods": [3]}, r"methods must be a list of names, or of name: \{option: value\}"),
        ({"methods": [["direct"]]}, "methods must be a list of names, or of name"),
        ({"methods": [{"few_shot": 3}]}, "methods must be a list of names, or of name"),
        (
            {"methods": ["direct", {"few_shot": {"languages": [True]}}]},
            r"methods\[1\]\.languages names no language: YAML reads no as false",
        ),
        (
            {"methods": [{"few_shot": {"languages": 3}}]},
            r"methods\[0\]\.languages must be a list of names, not 3",
        ),
        ({"methods": [{"few_shot": {"benchmarks": []}}]}, r"methods\[0\]\.benchmarks is empty"),
        ({"methods": [{"few_shot": {"languages": "nowhere-at-all"}}]}, "no language has the tag"),
    ],
)
def test_a_wrong_configuration_is_one_clear_line(
    tmp_path: Path, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(LangsteerError, match=message):
        wanted(tmp_path, **keys)


def test_a_key_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no key 5; there are output, models"):
        comparison({"output": "out", 5: 1}, tmp_path)


def test_names_and_paths_in_all_their_forms(tmp_path: Path) -> None:
    checked = comparison(
        {
            "output": "out",
            "data": "~/data",
            "models": "tiny",
            "languages": ["swh", "sw", "et"],
            "benchmarks": "sib200",
            "methods": [
                "direct",
                {"few_shot": None, "few_shot_english": {"languages": "all", "k": 2}},
            ],
            "corpus": "hf:a/b",
            "limit": None,
        },
        tmp_path,
    )
    assert checked == Comparison(
        output=tmp_path / "out",
        data=Path.home() / "data",
        models=("tiny",),
        languages=("sw", "et"),
        methods=(Chosen("direct"), Chosen("few_shot"), Chosen("few_shot_english", {"k": 2})),
        corpus=FitText("hf:a/b"),
    )
    assert isinstance(checked.methods[0], Chosen)
    assert comparison({"output": "/out"}) == Comparison(output=Path("/out"))
    assert comparison({"output": "out", "languages": "all"}).languages == ()


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
        ("a: [b", r"c\.yaml is not YAML: line 1: a list begins with \["),
        ("a: 1\nb: c: d", r"c\.yaml is not YAML: line 2: a colon is where none can be"),
        ("- a\n", "not a mapping"),
        ("a: 1\n", "no key"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=message):
            read_comparison(file)
    file.write_bytes("output: out\ncorpus: été.tsv\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"c\.yaml is not UTF-8: line 2 .*; save it as UTF-8"):
        read_comparison(file)
    with pytest.raises(ConfigError, match="cannot read"):
        read_comparison(tmp_path / "none.yaml")
