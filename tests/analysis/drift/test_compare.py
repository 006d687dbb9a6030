import gc
import json
import math
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from langsteer.analysis.drift import compare as module
from langsteer.analysis.drift.compare import Drifted, drift
from langsteer.analysis.drift.results import GAP, Drift
from langsteer.analysis.drift.sentences import summary
from langsteer.analysis.drift.tables import version_grid
from langsteer.analysis.drift.versions import DriftOptions, named_versions
from langsteer.analysis.write import drift_into
from langsteer.errors import AnalysisError, MissingExtraError, ModelError, VectorError
from langsteer.fitting.learning import fit
from langsteer.model.model import Model
from langsteer.model.opening import load_model
from tests.helpers import make_vector
from tests.made.drift import QUICK, corpus_of, shifted_gpt2


def test_a_changed_weight_is_found_at_its_block() -> None:
    shift = 0.3 * torch.randn(32, generator=torch.Generator().manual_seed(7))
    base, tuned = shifted_gpt2(2, None), shifted_gpt2(2, shift)
    vector = make_vector(base, layer=2, values=shift, positions="source")
    found = drift(base, [("tuned", tuned)], corpus_of("sw", "et"), vectors=[vector], options=QUICK)
    version = found.results.versions[1]
    sw = version.languages["sw"]
    assert sw.movement.raw[:2] == (0, 0)
    length = float(shift.norm()) / found.results.lengths["sw"][2]
    assert sw.movement.raw[2] == pytest.approx(length, rel=1e-3)
    assert sw.movement.own[2] == pytest.approx(0, abs=1e-4)
    assert version.pivot.raw[2] > 0
    assert sw.directions["test"].raw.value[0] == pytest.approx(1, abs=1e-4)
    assert math.isnan(sw.directions["test"].own.value[0])
    assert torch.allclose(found.displacements["tuned"]["sw"][2], shift, atol=1e-4)
    assert torch.allclose(found.displacements["tuned"]["en"][2], shift, atol=1e-4)
    # The steered base moved by strength × vector at its layer, and not below.
    steered = found.results.versions[0]
    assert steered.steered
    assert set(steered.languages) == {"sw"}
    assert torch.allclose(found.displacements["steered: test"]["sw"][2], shift, atol=1e-4)
    assert found.displacements["steered: test"]["sw"][:2].abs().max() == 0
    assert steered.languages["sw"].directions["test"].own.value[0] == pytest.approx(1, abs=1e-4)
    assert found.results.layer == 2


def test_vectors_fitted_on_lines_apart(base: Model) -> None:
    corpus = corpus_of()
    vectors = [
        fit(base, corpus.split()["fit"], tag, "mean_difference", layer=1)
        for tag in ("sw", "et", "tr")
    ]
    found = drift(base, [], corpus, vectors=vectors, options=DriftOptions(draws=60)).results
    assert {fact.text for fact in found.vectors} == {"lines kept apart"}
    version = found.versions[0]
    assert version.name == "steered: mean_difference"
    sw = version.languages["sw"]
    assert sw.movement.own[0] == 0
    assert sw.directions[GAP].own.value[1] == pytest.approx(1, abs=1e-3)
    assert sw.movement.crossed[1] == pytest.approx(1, abs=0.01)
    assert sw.directions["mean_difference"].span is not None
    assert sw.directions["mean_difference"].span.share == pytest.approx((1,), abs=1e-3)
    whole = drift(
        base,
        [],
        corpus,
        vectors=[fit(base, corpus, "sw", "mean_difference", layer=1)],
        options=QUICK,
    )
    assert "may be too high" in whole.results.vectors[0].text.replace("cosines ", "")
    other = replace(vectors[0], corpus={"name": "ntrex"})
    assert drift(base, [], corpus, vectors=[other], options=QUICK).results.vectors[0].text == (
        "other text"
    )


def test_versions_on_disk(from_disk: Drifted) -> None:
    copy, tuned, lora = from_disk.results.versions
    assert [v.name for v in from_disk.results.versions] == ["copy", "tuned", "lora"]
    assert copy.notes == ("copy has the same weights as the base.",)
    assert copy.languages["sw"].movement.raw == (0, 0, 0, 0)
    assert [x > 0 for x in tuned.languages["sw"].movement.raw] == [False, False, True, True]
    assert [x > 0 for x in lora.languages["sw"].movement.raw] == [False, True, True, True]
    assert tuned.source.endswith("tuned")
    assert lora.source.endswith("adapter")


def test_a_copy_is_reported_without_numbers_that_do_not_exist(from_disk: Drifted) -> None:
    text = json.dumps(from_disk.results.as_json(), allow_nan=False)
    assert Drift.from_json(json.loads(text)).as_json() == json.loads(text)
    sentences = " ".join(summary(from_disk.results, from_disk.results.versions[0]))
    assert "copy did not move the mean states of any language" in sentences
    assert "At no layer" in sentences
    grid = version_grid(from_disk.results, from_disk.results.versions[0])
    assert [value.text for value in grid.lines[0].values][1:7] == ["0.0%", "0.0%", *"––––"]


def test_displacements_on_disk(from_disk: Drifted, tmp_path: Path) -> None:
    tensors = load_file(from_disk.write_displacements(tmp_path / "d.safetensors"))
    assert set(tensors) == {
        f"{v}/{t}" for v in ("copy", "tuned", "lora") for t in ("sw", "et", "tr", "en")
    }
    assert tensors["tuned/sw"].shape == (4, 32)
    assert tensors["copy/sw"].abs().max() == 0


def test_one_model_is_open_at_a_time(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[weakref.ref[Any]] = []

    def load(*arguments: Any, **options: Any) -> Model:
        gc.collect()
        assert [ref() for ref in opened if ref() is not None] == []
        model = load_model(*arguments, **options)
        opened.append(weakref.ref(model.network))
        return model

    monkeypatch.setattr(module, "load_model", load)
    drift(folders / "base", [folders / "copy", folders / "tuned"], corpus_of("sw"), options=QUICK)
    assert len(opened) == 3
    gc.collect()
    assert all(ref() is None for ref in opened)


def test_tuned_models_are_opened_as_the_base_is(folders: Path) -> None:
    found = drift(
        folders / "base", [folders / "copy"], corpus_of("sw"), options=QUICK, dtype="bfloat16"
    ).results
    assert found.versions[0].fingerprint["dtype"] == "bfloat16"
    assert found.versions[0].languages["sw"].movement.raw == (0, 0, 0, 0)
    other = load_model(folders / "copy", dtype="float32")
    mixed = drift(
        load_model(folders / "base", dtype="bfloat16"),
        [("copy", other)],
        corpus_of("sw"),
        options=QUICK,
    )
    assert "rounding moves states too" in mixed.results.versions[0].notes[-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pivot": "de"}, "leads to de, and the text's pivot is en"),
        ({"positions": "generated"}, "acts on generated tokens"),
        ({"language": "hi"}, "the vectors are for hi"),
        ({"layer": 9}, "has no layer 9"),
        ({"values": torch.ones(8)}, "does not fit"),
    ],
)
def test_vectors_that_cannot_be_used(base: Model, change: dict[str, Any], message: str) -> None:
    vector = make_vector(base, **change)
    with pytest.raises((VectorError, ModelError), match=message):
        drift(base, [], corpus_of("sw"), vectors=[vector], options=QUICK)


def test_vectors_of_several_kinds(base: Model, tmp_path: Path) -> None:
    first, second = make_vector(base, positions="source"), make_vector(base, layer=2)
    learned = make_vector(base, method="learned", language="et")
    for name, vector in (("a", first), ("b", second), ("c", learned)):
        vector.save(tmp_path / f"{name}.safetensors")
    found = drift(base, [], corpus_of(), vectors=[tmp_path], options=QUICK).results
    assert [version.name for version in found.versions] == [
        *("steered: test, layer 1", "steered: test, layer 2", "steered: learned")
    ]
    with pytest.raises(VectorError, match="two vectors of test, layer 1 for sw"):
        drift(base, [], corpus_of(), vectors=[first, first], options=QUICK)
    (tmp_path / "empty").mkdir()
    with pytest.raises(VectorError, match="no vector file"):
        drift(base, [], corpus_of(), vectors=[tmp_path / "empty"], options=QUICK)


def test_nothing_to_compare(base: Model) -> None:
    with pytest.raises(AnalysisError, match="name a tuned version"):
        drift(base, [], corpus_of("sw"))
    with pytest.raises(ModelError, match="two versions are called x"):
        named_versions([("x", "a"), ("x", "b")])
    assert list(named_versions(["a/sft", "b/sft", "c/dpo"])) == ["a/sft", "b/sft", "dpo"]
    with pytest.raises(ModelError, match="has no layer 7"):
        drift(base, [("x", base)], corpus_of("sw"), options=replace(QUICK, layer=7))


def test_without_the_extra(base: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'langsteer\[analysis\]'"):
        drift_into(tmp_path, base, [("x", base)], corpus_of("sw"))
    assert not list(tmp_path.iterdir())
