import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from langsteer.analysis.vectors.examine import examine
from langsteer.analysis.vectors.figures import draw
from langsteer.analysis.vectors.page import (
    group_text,
    page_of,
    readout_grid,
    similarity_text,
    transfer_text,
)
from langsteer.analysis.vectors.results import Readout, TokenScore, VectorResults
from langsteer.analysis.write import write_report
from langsteer.model.model import Model
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import builtin
from tests.helpers import make_vector, run, tiny
from tests.made.pages import Loaded, edge
from tests.made.vectors import planted


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
    token = TokenScore(5, " سلام\n", 3.0)
    readout = Readout((token,), (token,), 0.5, 0.25)
    grid = readout_grid(replace(results, readouts={"ar": readout}))
    assert grid.lines[0].values[1].text == "\u2068␣سلام⏎\u2069"
    assert grid.lines[0].values[1].hint == "5: +3.0"


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
