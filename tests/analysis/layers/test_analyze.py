import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file

from langsteer.analysis import write
from langsteer.analysis.alignment import mexa
from langsteer.analysis.layers.analyze import AnalysisOptions, analyze
from langsteer.analysis.layers.reading import read_texts
from langsteer.analysis.layers.results import LayerResults
from langsteer.fitting.mean_difference import fit_layers
from langsteer.model.model import Model
from langsteer.model.tokens import encode
from langsteer.text.corpus import builtin
from tests.helpers import build_model, run
from tests.made.analysis import QUICK, corpus, noise, translators, vector, word_model


def test_an_analysis_before_and_after() -> None:
    model = build_model("gemma3")
    text = corpus("sw", "de", lines=10)
    (steering,) = fit_layers(model, text.only("sw"), [2])
    found = analyze(model, text, {"sw": replace(steering, strength=1.0)}, options=QUICK)
    assert (found.pivot, found.layers, found.steered) == ("en", 4, ("sw",))
    assert list(found.languages) == ["sw", "de"]
    assert found.chance == pytest.approx(1 / 3)
    sw, de = found.languages["sw"], found.languages["de"]
    assert de.after is None
    assert de.steering is None
    assert sw.after is not None
    assert sw.steering is not None
    assert (sw.steering.layer, sw.steering.strength) == (2, 1.0)
    assert sw.steering.relative_strength == pytest.approx(steering.relative_strength)
    share = sw.after.identity.distance_share
    assert share[:2] == (1, 1)
    assert share[2] == pytest.approx(0, abs=1e-4)  # the mean difference moves the mean onto it
    assert share[3] != 1
    for before, after in zip(_curves(sw.before), _curves(sw.after), strict=True):
        assert before[:2] == after[:2]
        assert len(before) == len(after) == 4
    states = {tag: read_texts(model, encode(model, text.texts[tag]))[0] for tag in text.texts}
    assert sw.before.alignment.mexa == tuple(
        mexa(a, b) for a, b in zip(states["sw"].weighted, states["en"].weighted, strict=True)
    )
    assert sw.before.alignment.mexa_last == tuple(
        mexa(a, b) for a, b in zip(states["sw"].last, states["en"].last, strict=True)
    )
    assert found.map.after["sw"].mean[:2] == found.map.before["sw"].mean[:2]
    np.testing.assert_allclose(
        found.map.after["sw"].mean[2], found.map.before["en"].mean[2], atol=1e-3
    )
    assert sw.tokens is not None
    assert sw.before.words["logit"].items == sw.tokens.words == 3
    assert sw.after.words["logit"].pivot[:2] == sw.before.words["logit"].pivot[:2]
    assert "fitted on lines of this corpus" in found.notes[0]
    assert set(found.seconds) == {"reading", "lenses", "measures"}
    assert min(found.seconds.values()) > 0


def _curves(measures: Any) -> list[tuple[float, ...]]:
    return [
        curve for part in (measures.alignment, measures.identity) for curve in vars(part).values()
    ] + [measures.norms.mean, measures.norms.median, measures.norms.largest]


def test_a_shift_made_in_the_model_is_found_where_it_was_made() -> None:
    """A vector that is added at layer 1 to both languages alike, then to one of them only."""
    model = build_model("llama")
    text = corpus("sw", lines=10)
    shift = vector(model, 30 * noise(32).float(), 1)
    found = analyze(model, text, {"sw": shift}, options=QUICK).languages["sw"]
    assert found.after is not None
    before, after = found.before.identity, found.after.identity
    assert before.distance[0] == after.distance[0]
    assert after.distance[1] > 3 * before.distance[1]
    assert after.recognised[1] == 1
    assert after.variance[1] > 0.9 > before.variance[1]
    assert found.after.norms.mean[1] > 5 * found.before.norms.mean[1]


def test_an_analysis_with_a_tuned_lens_and_words(tmp_path: Path) -> None:
    text = corpus("sw", lines=8)
    model = word_model([line for lines in text.texts.values() for line in lines])
    file = tmp_path / "lens.safetensors"
    save_file(translators(scale=0.1), file)
    shift = vector(model, noise(32).float(), 2)
    found = analyze(model, text, {"sw": shift}, tuned_lens=file, options=QUICK).languages["sw"]
    assert found.after is not None
    assert set(found.before.next_token) == set(found.after.next_token) == {"logit", "tuned"}
    logit, tuned = (found.before.next_token[kind] for kind in ("logit", "tuned"))
    assert logit.pivot != tuned.pivot
    assert logit.items == 3
    assert found.tokens is not None
    assert found.tokens.language > 3
    steered = found.after.next_token["logit"]
    assert steered.language[:2] == logit.language[:2]
    assert steered.language[2:] != logit.language[2:]
    for i in range(4):
        assert logit.pivot[i] + logit.language[i] + logit.neither[i] == pytest.approx(1)


def test_the_command(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, file = tmp_path / "out", str(tmp_path / "sw.safetensors")
    model = ["-m", str(folder)]
    assert run(capsys, "fit", "-l", "sw", "-o", file, *model, "--layer", "1")[0] == 0
    arguments = ["analyze", str(folder), "-n", "8", "--items", "2", "-o", str(out)]
    code, printed, _ = run(capsys, *arguments, "-l", "sw,de", "-v", file)
    assert code == 0
    assert "Swahili (sw)" in printed
    assert "Steered" in printed
    found = LayerResults.read(out)
    assert found.steered == ("sw",)
    assert found.corpus["lines"] == 8
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "Swahili" in page
    assert "http" not in "".join(part for part in page.split('src="')[1:] if part[:4] == "http")
    assert list(out.rglob("*.png"))
    assert list(out.rglob("*.svg"))
    monkeypatch.setattr(write, "write_report", lambda *_: [])  # drawn once is enough
    code, printed, _ = run(capsys, *arguments, "--vectors", str(tmp_path), "--json")
    assert code == 0
    assert json.loads(printed)["languages"].keys() == {"sw"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-l", "en"], "English (en) is the pivot"),
        ([], "name a language to analyse"),
        (["-l", "sw", "-n", "1"], "needs 2 lines or more"),
        (["-l", "th"], "the built-in corpus has no 'th'"),
        (["-l", "sw", "-v", "none"], "there is no vector file none"),
        (["-l", "sw", "--vectors", "."], "there is no vector file (*.safetensors)"),
        (["-l", "sw", "--tuned-lens", "none"], "there is no tuned lens file none"),
        (["-l", "sw", "-c", "none.tsv"], "there is no file or folder none.tsv"),
    ],
)
def test_the_command_refuses(
    arguments: list[str],
    message: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "analyze", str(folder), *arguments)
    assert code == 1
    assert message in err
    assert err.strip().splitlines()[-1].startswith("langsteer: ")
    assert "Traceback" not in err
    assert not list(tmp_path.rglob("results.json"))


def test_the_real_model(gemma: Model) -> None:
    found = analyze(gemma, builtin("de"), lines=6, options=AnalysisOptions(items=4))
    german = found.languages["de"].before
    assert found.layers == 18
    assert german.norms.mean[-1] > 5 * german.norms.mean[0]
    assert max(german.alignment.mexa) > 0.6
    assert found.together_before.probe[5] > 0.8
    words = german.words["logit"]
    assert words.items == 4
    assert all(0 <= share <= 1 for share in words.pivot + words.language + words.neither)
