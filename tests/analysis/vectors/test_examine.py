import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from langsteer.analysis.inputs import texts_for
from langsteer.analysis.vectors.examine import (
    cosines,
    examine,
    group_test,
    read_vector,
    similarity,
    unembedded,
)
from langsteer.analysis.vectors.results import VectorResults
from langsteer.analysis.vectors.transfer import transfer
from langsteer.analysis.write import examine_into
from langsteer.errors import AnalysisError, MissingExtraError, VectorError
from langsteer.model.model import Model
from langsteer.steering.vector import SteeringVector, check_comparable
from langsteer.text.corpus import builtin
from tests.helpers import ARCHITECTURES, make_vector, tiny
from tests.made.vectors import INDIC, ROMANCE, planted


def test_cosines() -> None:
    values = np.array([[1.0, 2.0, -1.0], [-2.0, -4.0, 2.0], [2.0, -1.0, 0.0]])
    assert np.allclose(cosines(values), [[1, -1, 0], [-1, 1, 0], [0, 0, 1]])
    assert np.isnan(cosines(np.array([[0.0, 0.0], [1.0, 0.0]]))[0, 1])


def test_planted_clusters_are_found(llama: Model) -> None:
    vectors = planted(llama)
    found = similarity(torch.stack([v.values for v in vectors]).double().numpy())
    order = [vectors[i].language for i in found.order]
    for tags in (ROMANCE, INDIC):
        places = sorted(order.index(tag) for tag in tags)
        assert places == list(range(places[0], places[0] + 4))
    assert [row[3] for row in found.merges][-1] == 10
    cosine = np.array(found.cosine)
    assert np.allclose(np.diag(cosine), 1)
    assert cosine[0, 1] > 0.8 > abs(cosine[0, 5])


def test_what_all_vectors_share() -> None:
    rng = np.random.default_rng(0)
    one = np.tile(rng.normal(size=50), (6, 1))
    same = similarity(one)
    assert same.shared == pytest.approx(1.0)
    assert np.isnan(np.array(same.centred)).all()
    independent = similarity(rng.normal(size=(6, 4000)))
    assert independent.shared == pytest.approx(independent.shared_chance, abs=0.02)
    assert np.array(independent.centred)[0, 1] == pytest.approx(-0.2, abs=0.05)
    alone = similarity(one[:1])
    assert (alone.merges, alone.order, alone.cosine) == ((), (0,), ((1.0,),))


def test_groups_that_are_there_are_told_from_chance(llama: Model) -> None:
    found = {test.kind: test for test in examine(planted(llama), permutations=2000).groups}
    assert set(found) == {"family", "branch", "script"}
    branch = found["branch"]
    assert branch.pairs == 12
    assert branch.within > 0.8 > 0.3 > branch.between
    assert branch.difference > branch.chance
    assert branch.p < 0.01
    assert branch.p >= 1 / 2001


def test_random_groups_are_not() -> None:
    """p is as often under 0.2 as it says."""
    rng = np.random.default_rng(0)
    labels = ["a"] * 4 + ["b"] * 4 + [""] * 4
    found = []
    for seed in range(60):
        cosine = cosines(rng.normal(size=(12, 20)))
        test = group_test("family", cosine, labels, 400, seed)
        assert test is not None
        found.append(test.p)
    assert 0.35 < float(np.mean(found)) < 0.65
    assert 0.05 < float(np.mean(np.array(found) < 0.2)) < 0.4


def test_a_difference_by_hand() -> None:
    cosine = np.array([[1.0, 0.9, 0.1], [0.9, 1.0, 0.3], [0.1, 0.3, 1.0]])
    test = group_test("family", cosine, ["a", "a", "b"], 3000)
    assert test is not None
    assert (test.within, test.between) == (pytest.approx(0.9), pytest.approx(0.2))
    assert test.difference == pytest.approx(0.7)
    assert test.p == pytest.approx(1 / 3, abs=0.04)  # one of the three ways to pair two of three
    assert group_test("family", cosine, ["a", "", ""], 10) is None
    assert group_test("family", cosine, ["a", "a", "a"], 10) is None


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_unembedding_row_speaks_for_its_token(architecture: str) -> None:
    model = tiny(architecture)
    token = 70
    row = model.head.weight[token].detach().clone()
    vector = make_vector(model, values=row, language="el")
    found = read_vector(model, vector, 3)
    assert found.up[0].id == token
    assert found.up[0].text == model.tokenizer.decode([token])
    against = read_vector(model, replace(vector, values=-row), 3)
    assert against.down[0].id == token
    assert found.up[0].score > 2 > -2 > against.down[0].score


def test_the_norms_scale_counts_and_its_bias_does_not() -> None:
    for architecture in ("gemma3", "gpt2"):
        model = tiny(architecture)
        values = torch.randn(model.hidden_size, generator=torch.Generator().manual_seed(1))
        norm: Any = model.norm
        kept = {name: p.detach().clone() for name, p in norm.named_parameters()}
        try:
            with torch.no_grad():
                norm.weight.copy_(torch.linspace(0.0, 2.0, model.hidden_size))
                if architecture == "gpt2":
                    norm.bias.fill_(3.0)
            scale = norm.weight + (1.0 if architecture == "gemma3" else 0.0)
            centred = values if architecture == "gemma3" else values - values.mean()
            with torch.no_grad():
                expected = model.head.weight @ (scale * centred)
            expected = (expected - expected.mean()) / expected.std()
            assert torch.allclose(unembedded(model, values), expected, atol=1e-4)
        finally:
            with torch.no_grad():
                for name, parameter in norm.named_parameters():
                    parameter.copy_(kept[name])


def test_special_tokens_are_left_out_and_scripts_counted(llama: Model) -> None:
    special = set(llama.tokenizer.all_special_ids)
    found = read_vector(llama, make_vector(llama, language="el"), 200)
    assert not special & {token.id for token in (*found.up, *found.down)}
    assert (found.script_up, found.script_down) == (0.0, 0.0)  # this vocabulary is Latin
    assert math.isnan(read_vector(llama, make_vector(llama, language="sw")).script_up)


def changed(vector: SteeringVector, **changes: Any) -> SteeringVector:
    fingerprint = {**vector.model["fingerprint"], **changes}
    return replace(vector, language="et", model={"name": "other", "fingerprint": fingerprint})


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (lambda v: replace(v, language="et", layer=2), "different layers .* layer 1, that of et 2"),
        (lambda v: replace(v, language="et", pivot="fr"), "different pivots"),
        (lambda v: changed(v, weights="ffff"), r"different models .* \(their weights differ\)"),
        (lambda v: changed(v, layers=9), r"different models .* \(layers 4 and 9\)"),
        (lambda v: v, "several vectors for sw"),
        (lambda v: replace(v, language="et", values=torch.zeros_like(v.values)), "no length"),
    ],
)
def test_what_is_refused(llama: Model, second: Any, message: str) -> None:
    vector = make_vector(llama, layer=1)
    with pytest.raises(VectorError, match=message):
        check_comparable([vector, second(vector)])


def test_the_same_model_in_another_type_is_the_same(llama: Model) -> None:
    vector = make_vector(llama)
    assert check_comparable([vector, changed(vector, dtype="bfloat16", weights="ffff")])


def test_more_bad_input(llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vector = make_vector(llama)
    with pytest.raises(VectorError, match="no vector to look at"):
        examine([])
    with pytest.raises(AnalysisError, match="by a model: name one"):
        examine([vector], corpus=builtin("sw"))
    with pytest.raises(VectorError, match="does not fit"):
        examine([vector], tiny("gpt2"))
    with pytest.raises(AnalysisError, match="one layer, not of 1, 2"):
        transfer(llama, [replace(vector, layer=1), replace(vector, layer=2)], builtin("sw"))
    with pytest.raises(AnalysisError, match="pivot of builtin is de"):
        transfer(llama, [vector], builtin("sw", pivot="de"))
    with pytest.raises(AnalysisError, match="none of the vectors' languages"):
        texts_for([replace(vector, language="ta")])
    assert texts_for([vector, replace(vector, language="ta")]).languages == ("sw",)
    with pytest.raises(AnalysisError, match="not the results of langsteer vectors"):
        VectorResults.from_json({"format": "other"})
    with pytest.raises(AnalysisError, match="format version 99"):
        VectorResults.from_json({"format": VectorResults.FILE.format, "format_version": 99})
    (tmp_path / "vectors.json").write_text("{")
    with pytest.raises(AnalysisError, match="is not JSON"):
        VectorResults.read(tmp_path)
    with pytest.raises(AnalysisError, match="cannot read"):
        VectorResults.read(tmp_path / "none")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"langsteer\[analysis\]"):
        examine_into(tmp_path, [vector])


def test_notes(llama: Model) -> None:
    vectors = [
        make_vector(llama, method="a"),
        make_vector(llama, 1, language="tlh", method="b", corpus={"name": "x"}),
    ]
    notes = " ".join(examine(vectors).notes)
    assert "different methods (a, b)" in notes
    assert "different corpora" in notes
    assert "families of tlh are not known" in notes
