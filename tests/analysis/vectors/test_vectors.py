import json
import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from langsteer.analysis.vectors.examine import (
    VectorResults,
    cosines,
    examine,
    examine_into,
    group_test,
    read_vector,
    similarity,
    texts_for,
    unembedded,
)
from langsteer.analysis.vectors.examine import examine as looked
from langsteer.analysis.vectors.figures import draw
from langsteer.analysis.vectors.page import (
    group_text,
    page_of,
    readout_grid,
    similarity_text,
    transfer_text,
    write_report,
)
from langsteer.analysis.vectors.transfer import RANDOM, transfer
from langsteer.errors import AnalysisError, MissingExtraError, VectorError
from langsteer.fitting.learning import fit
from langsteer.model.model import Model
from langsteer.states.capture import mean_states
from langsteer.steering.vector import SteeringVector, check_comparable
from langsteer.text.corpus import builtin
from tests.helpers import ARCHITECTURES, make_vector, run, tiny
from tests.made.pages import Loaded, edge

ROMANCE, INDIC, ALONE = ("es", "it", "fr", "pt"), ("hi", "ur", "bn", "mr"), ("sw", "tr")


def planted(model: Model, noise: float = 0.3, seed: int = 0) -> list[SteeringVector]:
    """Vectors that lie near one of two directions, by branch, or alone."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for tags in (ROMANCE, INDIC, *((tag,) for tag in ALONE)):
        centre = torch.randn(model.hidden_size, generator=generator)
        for tag in tags:
            values = centre + noise * torch.randn(model.hidden_size, generator=generator)
            found.append(make_vector(model, language=tag, values=values, state_norm=10.0))
    return found


# Similarity


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


# Reading out


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


# Transfer


def test_the_mean_difference_brings_its_own_texts_to_the_pivot(llama: Model) -> None:
    corpus = builtin("sw", "et")
    lines = [i for i, part in enumerate(corpus.parts) if part == "report"][:24]
    read = replace(corpus.lines(lines), parts=())
    vectors = [fit(llama, read, tag, "mean_difference", layer=1) for tag in ("sw", "et")]
    found = transfer(llama, vectors, read)
    assert found.vectors == ("sw", "et", RANDOM)
    assert found.texts == ("sw", "et")
    assert found.lines == len(lines)
    assert [found.at_layer[i][i] for i in (0, 1)] == pytest.approx([1.0, 1.0], abs=1e-4)
    assert found.at_layer[2][0] < 0
    assert found.at_last[0][0] > 0.5
    assert found.mexa[0] != found.mexa[2]


def test_transfer_by_hand(llama: Model) -> None:
    """Both distances, against plain means of states under the vector's own context."""
    corpus = builtin("sw", "et")
    vectors = [make_vector(llama, seed, language=tag) for seed, tag in enumerate(("sw", "et"))]
    found = transfer(llama, vectors, corpus, lines=10, strength=0.3, control=False)
    texts = corpus.lines([i for i, part in enumerate(corpus.parts) if part == "report"])
    texts = texts.lines(i * len(texts) // 10 for i in range(10))
    layers = [vectors[0].layer, llama.layers - 1]

    def means(tag: str, vector: SteeringVector | None = None) -> dict[int, torch.Tensor]:
        if vector is None:
            return mean_states(llama, texts.texts[tag], layers).mean
        with vector.applied(llama, strength=0.3, positions="prompt"):
            return mean_states(llama, texts.texts[tag], layers).mean

    there = means("en")
    for i, vector in enumerate(vectors):
        for j, tag in enumerate(("sw", "et")):
            before, after = means(tag), means(tag, vector)
            for layer, values in zip(layers, (found.at_layer, found.at_last), strict=True):
                expected = 1 - float(
                    (after[layer] - there[layer]).norm() / (before[layer] - there[layer]).norm()
                )
                assert values[i][j] == pytest.approx(expected, rel=1e-3)


def test_a_vector_at_the_last_layer(llama: Model) -> None:
    vector = make_vector(llama, layer=llama.layers - 1)
    found = transfer(llama, [vector], builtin("sw"), lines=5)
    assert np.allclose(found.at_layer, found.at_last, atol=1e-5)


def test_own_strength_and_a_task(llama: Model) -> None:
    vectors = [
        make_vector(llama, language="sw", strength=0.0),
        make_vector(llama, 1, language="et"),
    ]
    asked: list[tuple[str | None, str]] = []

    def task(vector: SteeringVector | None, language: str) -> float:
        asked.append((vector and vector.language, language))
        return 50.0 if vector is None else 60.0

    found = transfer(llama, vectors, builtin("sw", "et"), lines=4, strength=None, task=task)
    assert found.at_layer[0] == pytest.approx((0.0, 0.0), abs=1e-6)
    assert found.mexa[0] == found.mexa_unsteered
    assert found.at_layer[1][0] != pytest.approx(0.0, abs=1e-3)
    assert (found.task[1], found.task_unsteered) == ((60.0, 60.0), (50.0, 50.0))
    assert len(asked) == 2 * 4
    assert (None, "et") in asked


# What cannot be compared


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
        VectorResults.from_json({"format": looked.FILE.format, "format_version": 99})
    (tmp_path / "vectors.json").write_text("{")
    with pytest.raises(AnalysisError, match="is not JSON"):
        VectorResults.read(tmp_path)
    with pytest.raises(AnalysisError, match="cannot read"):
        VectorResults.read(tmp_path / "none")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
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


# Figures and page


@pytest.fixture(scope="module")
def results() -> VectorResults:
    model = tiny("llama")
    vectors = [v for v in planted(model) if v.language in ("es", "it", "fr", "hi", "sw", "tr")]
    corpus = builtin("es", "it", "hi", "sw", "tr")

    def task(vector: SteeringVector | None, language: str) -> float:
        return 50.0 if vector is None else 50.0 + len(vector.language) - len(language)

    return examine(vectors, model, corpus, lines=6, task=task, permutations=200)


def test_results_survive_their_file(results: VectorResults, tmp_path: Path) -> None:
    text = json.dumps(results.as_json(), allow_nan=False)
    again = VectorResults.from_json(json.loads(text))
    assert json.dumps(again.as_json()) == text
    assert again.transfer is not None
    assert again.similarity == results.similarity


def test_figures(results: VectorResults) -> None:
    figures = {figure.name: figure for figure in draw(results)}
    assert list(figures) == [
        *("similarity", "similarity-centred", "families"),
        *("transfer-layer", "transfer-last", "transfer-mexa", "transfer-task"),
    ]
    for figure in figures.values():
        ElementTree.fromstring(figure.svg_file)
        assert edge(figure.png).min() > 250, figure.name
        assert figure.pdf.startswith(b"%PDF")
    assert "Spanish · Indo-European, Romance" in figures["similarity"].svg
    assert "random direction" in figures["transfer-last"].svg
    assert "p = " in figures["families"].svg or "p &lt; " in figures["families"].svg


def test_the_dendrogram_stands_beside_its_rows(results: VectorResults) -> None:
    """Leaves from top to bottom are the heat map's rows, and end at the height of them."""
    from scipy.cluster.hierarchy import dendrogram

    leaves = dendrogram(np.array(results.similarity.merges), no_plot=True)["leaves"]
    assert tuple(leaves) == results.similarity.order


def test_the_page_is_made_of_the_file_alone(results: VectorResults, tmp_path: Path) -> None:
    (tmp_path / "vectors.json").write_text(json.dumps(results.as_json()))
    written = write_report(VectorResults.read(tmp_path), tmp_path)
    assert tmp_path / "index.html" in written
    assert len(written) == 1 + 7 * 3
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    page = Loaded.of(text)
    assert page.open == []
    assert page.loaded == []
    assert max(page.ids.values()) == 1
    assert page.tags["svg"] == 7
    for expected in ("Language families", "rough", "Carried over", "Indo-European, Romance"):
        assert expected in text
    assert [p for p in tmp_path.iterdir() if p.name.endswith(".part")] == []


def test_one_vector_without_a_model(llama: Model) -> None:
    found = examine([make_vector(llama, state_norm=3.0)])
    assert draw(found) == []
    text = page_of(found, [])
    assert "Swahili" in text
    assert "Carried over" not in text
    assert "1 vector of tiny-llama" in text


def test_sentences_are_true_of_the_numbers(results: VectorResults) -> None:
    cosine = np.array(results.similarity.cosine)
    pairs = cosine[np.triu_indices(len(cosine), 1)]
    text = " ".join(similarity_text(results))
    assert f"is {pairs.mean():.2f}, from {pairs.min():.2f}" in text
    tests = {test.kind: test for test in results.groups}
    for sentence, test in zip(group_text(results), tests.values(), strict=True):
        assert ("not shown" in sentence) == (test.p >= 0.05)
    found = results.transfer
    assert found is not None
    own = [found.at_layer[found.vectors.index(tag)][j] for j, tag in enumerate(found.texts)]
    share = f"{np.mean(own):.0%}".replace("-", "−")
    assert (
        f"on average, {share} of the distance by a language's own vector"
        in (transfer_text(results)[0])
    )


def test_tokens_in_any_script_keep_their_direction(results: VectorResults) -> None:
    token = looked.TokenScore(5, " سلام\n", 3.0)
    readout = looked.Readout((token,), (token,), 0.5, 0.25)
    grid = readout_grid(replace(results, readouts={"ar": readout}))
    assert grid.lines[0].values[1].text == "\u2068␣سلام⏎\u2069"
    assert grid.lines[0].values[1].hint == "5: +3.0"


# The command


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    into = tmp_path / "vectors"
    asked = ["fit", "-l", "sw,et", "-o", str(into), "-m", str(folder), "--layer", "1"]
    assert run(capsys, *asked)[0] == 0
    code, out, err = run(capsys, "vectors", str(into))
    assert code == 0, err
    assert "mean cosine of two vectors" in out
    code, out, err = run(
        capsys, "vectors", str(into / "sw.safetensors"), str(into / "et.safetensors"),
        "-m", str(folder), "-n", "4", "-o", str(tmp_path / "page"), "--json",
    )  # fmt: skip
    assert code == 0, err
    assert json.loads(out) == json.loads((tmp_path / "page" / "vectors.json").read_text())
    assert json.loads(out)["transfer"]["texts"] == ["sw", "et"]
    assert json.loads(out)["transfer"]["vectors"] == ["sw", "et", "random"]
    assert (tmp_path / "page" / "index.html").exists()
    code, out, _ = run(capsys, "vectors", str(into), "-m", str(folder), "--no-transfer", "--json")
    assert json.loads(out)["transfer"] is None
    assert set(json.loads(out)["readouts"]) == {"et", "sw"}


def test_the_command_refuses(
    llama: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_vector(llama, layer=1).save(tmp_path / "sw.safetensors")
    make_vector(llama, layer=2, language="et").save(tmp_path / "et.safetensors")
    for arguments, message in (
        ([str(tmp_path)], "vectors of different layers are not compared"),
        ([str(tmp_path / "none")], "there is no vector file"),
        ([str(tmp_path / "sw.safetensors")] * 2, "several vectors for sw"),
    ):
        code, out, err = run(capsys, "vectors", *arguments)
        assert (code, out) == (1, "")
        assert message in err
        assert "Traceback" not in err
