"""What is made first, and what may not be made at once."""

from pathlib import Path

import pytest

pytest.importorskip("lm_eval", reason="lm-eval is not installed")

from langsteer.evaluation.comparison import unit
from langsteer.evaluation.comparison.asked import missing_cells
from langsteer.evaluation.comparison.cells import cell_path
from langsteer.evaluation.comparison.order import claims_of, parts_of, stage_of
from langsteer.evaluation.comparison.run import compare, units_of
from langsteer.evaluation.methods.common import Stage
from langsteer.fitting import learning
from langsteer.model.model import Model
from tests.made.comparisons import wanted


def test_what_is_as_it_is_comes_first() -> None:
    assert stage_of("direct") == stage_of("english") == Stage.NOW
    assert stage_of("few_shot") == stage_of("mean_difference@prompt") == Stage.SOON
    assert stage_of("few_shot+mean_difference") == stage_of("lrp2") == Stage.SOON
    assert stage_of("recover") == Stage.LATE  # it reads all languages
    for slow in ("learned", "few_shot+learned", "lora_sft", "of_a_plugin"):
        assert stage_of(slow) == Stage.LATE


def test_parts_of_stacks_and_recipes() -> None:
    assert parts_of("few_shot+learned@prompt") == ("few_shot", "learned")
    assert parts_of("learned:10@source*0.5 + mean_difference@generated*-0.5") == (
        "learned",
        "mean_difference",
    )


def test_what_would_make_the_same_claims_the_same() -> None:
    alone, stacked = (claims_of("m", "sw", name) for name in ("learned", "few_shot+learned"))
    assert alone & stacked
    assert not alone & claims_of("m", "et", "learned")
    assert not alone & claims_of("n", "sw", "learned")
    assert claims_of("m", "sw", "learned_together") == claims_of("m", "et", "learned_together")
    assert not claims_of("m", "sw", "direct")


def test_units_are_in_the_order_of_stages(data: Path, tmp_path: Path) -> None:
    asked = wanted(
        tmp_path, models=["b", "a"], methods=["learned", "mean_difference", "english", "direct"]
    )
    missing = missing_cells(asked, [])
    units = [
        (unit.model, unit.language, [method.name for method in unit.methods])
        for unit in units_of(asked, missing)
    ]
    own = [["english", "direct"], ["mean_difference"], ["learned"]]
    assert units == [
        (model, tag, methods) for model in "ba" for methods in own for tag in ("sw", "et")
    ]


def test_direct_is_on_disk_before_the_first_fit(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, llama: Model
) -> None:
    monkeypatch.setattr(unit, "load_model", lambda name, **_: llama)
    there: list[set[str]] = []
    learn = learning.learn

    def noting(*arguments: object, **options: object) -> object:
        there.append(
            {
                f"{tag} {method}"
                for tag in ("sw", "et")
                for method in ("direct", "english")
                if cell_path(tmp_path / "out", "tiny", "sib200", tag, method).exists()
            }
        )
        return learn(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("langsteer.evaluation.methods.states.learn", noting)
    methods = ["mean_difference", "direct", "english"]
    corpus = {"path": "builtin", "lines": 20}
    outcome = compare(wanted(tmp_path, methods=methods, corpus=corpus))
    assert outcome.failed == []
    assert there == [{"sw direct", "sw english", "et direct", "et english"}] * 2
