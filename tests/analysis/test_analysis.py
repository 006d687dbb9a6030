"""The numbers of an analysis, against known answers."""

import json
import math
import sys
import types
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from langsteer.analysis.alignment import linear_cka, mexa, pair_cosines, retrieval
from langsteer.analysis.layers import identity, lens
from langsteer.analysis.layers.analyze import (
    AnalysisOptions,
    analyze,
    check_languages,
    chosen_lines,
    vectors_for,
)
from langsteer.analysis.layers.identity import (
    between_share,
    identities,
    nearest_share,
    probe_languages,
)
from langsteer.analysis.layers.latent import (
    first_tokens,
    text_items,
    word_items,
    word_list,
    word_starts,
)
from langsteer.analysis.layers.lens import TunedLens, read_out, token_shares
from langsteer.analysis.layers.maps import draw_map
from langsteer.analysis.layers.norms import NormSums
from langsteer.analysis.layers.results import Results
from langsteer.analysis.reading import Reading, read_texts
from langsteer.errors import (
    AnalysisError,
    CorpusError,
    LangsteerError,
    MissingExtraError,
    StateError,
    VectorError,
)
from langsteer.fitting.mean_difference import fit_layers
from langsteer.model.model import Model
from langsteer.model.opening import wrap_model
from langsteer.model.tokens import encode
from langsteer.states.intervention import Addition, Intervention, intervene, output_states
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import ParallelCorpus, builtin, spread
from tests.helpers import ARCHITECTURES, build_model, build_network, run, tiny

TEXTS = ["Habari ya asubuhi", "Ndiyo", "Asante sana, rafiki yangu", "Karibu tena kesho"]

QUICK = AnalysisOptions(items=3, shown=5, folds=3)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(size: int, seed: int = 1) -> Tensor:
    return torch.linalg.qr(noise(size, size, seed=seed)).Q


def corpus(*tags: str, lines: int = 12) -> ParallelCorpus:
    text = builtin(*tags).lines(range(lines))
    texts = {tag: tuple(line[:40] for line in lines) for tag, lines in text.texts.items()}
    return ParallelCorpus(texts, "en", "test")


def vector(model: Model, values: Tensor, layer: int, **more: Any) -> SteeringVector:
    about = {"name": model.name, "fingerprint": model.fingerprint}
    settings: dict[str, Any] = {"language": "sw", "pivot": "en", **more}
    return SteeringVector(values, layer, model=about, method="test", **settings)


# Alignment


def cosines_of(here: Tensor, there: Tensor) -> list[list[float]]:
    def cosine(a: Tensor, b: Tensor) -> float:
        return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))

    return [[cosine(a, b) for b in there] for a in here]


def test_mexa_of_a_matrix_worked_by_hand() -> None:
    """Against an orthonormal `there`, the rows of a matrix of unit rows are the cosines."""
    here = torch.tensor([[0.8, 0.6, 0.0], [0.0, 0.8, 0.6], [0.96, 0.0, 0.28]])
    # Line 0 wins its row, and loses its column to line 2; line 1 wins both; line 2 loses its row.
    assert mexa(here, torch.eye(3)) == pytest.approx(1 / 3)
    assert retrieval(here, torch.eye(3)).to_pivot == pytest.approx(2 / 3)
    assert retrieval(here, torch.eye(3)).from_pivot == pytest.approx(1 / 3)
    assert pair_cosines(here, torch.eye(3)).pairs == pytest.approx((0.8 + 0.8 + 0.28) / 3)
    assert pair_cosines(here, torch.eye(3)).others == pytest.approx((0.6 + 0.6 + 0.96) / 6)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9), st.integers(2, 6), st.integers(0, 10_000), st.floats(0, 3))
def test_alignment_is_its_definition(lines: int, size: int, seed: int, likeness: float) -> None:
    here = noise(lines, size, seed=seed)
    there = likeness * here + noise(lines, size, seed=seed + 1)
    table, places = cosines_of(here, there), range(lines)
    rows = [all(table[i][i] > table[i][j] for j in places if j != i) for i in places]
    columns = [all(table[i][i] > table[j][i] for j in places if j != i) for i in places]
    both = [a and b for a, b in zip(rows, columns, strict=True)]
    assert mexa(here, there) == pytest.approx(np.mean(both))
    found = retrieval(here, there)
    assert found.to_pivot == pytest.approx(np.mean(rows))
    assert found.from_pivot == pytest.approx(np.mean(columns))
    others = [table[i][j] for i in places for j in places if i != j]
    cosines = pair_cosines(here, there)
    assert cosines.pairs == pytest.approx(np.mean([table[i][i] for i in places]), abs=1e-9)
    assert cosines.others == pytest.approx(np.mean(others), abs=1e-9)


def test_a_tie_is_not_a_hit() -> None:
    same = torch.ones(4, 3)
    assert mexa(same, same) == 0
    assert retrieval(same, same).to_pivot == 0
    assert mexa(torch.eye(3), torch.eye(3)) == 1


def test_cka() -> None:
    states = noise(40, 6)
    moved = 3.0 * states @ rotation(6) + noise(6, seed=3)
    assert linear_cka(states, moved) == pytest.approx(1)
    assert linear_cka(states, states @ noise(6, 6, seed=5)) < 0.999
    many = noise(3000, 6), noise(3000, 6, seed=9)
    assert linear_cka(*many) < 0.01
    assert math.isnan(linear_cka(states, torch.ones(40, 6)))


def test_cka_is_its_formula() -> None:
    x, y = noise(12, 5), noise(12, 7, seed=2) + 4
    x_c, y_c = (np.asarray(side - side.mean(0)) for side in (x, y))
    norm = np.linalg.norm
    expected = norm(x_c.T @ y_c) ** 2 / (norm(x_c.T @ x_c) * norm(y_c.T @ y_c))
    assert linear_cka(x, y) == pytest.approx(expected)


@pytest.mark.parametrize("measure", [mexa, retrieval, pair_cosines, linear_cka])
def test_alignment_needs_pairs(measure: Any) -> None:
    with pytest.raises(AnalysisError, match="at least 2 lines"):
        measure(noise(1, 3), noise(1, 3))
    with pytest.raises(AnalysisError, match="not 3 and 4"):
        measure(noise(3, 3), noise(4, 3))


# Language identity


def test_the_probe_is_at_chance_where_there_is_nothing_to_tell() -> None:
    shares, _ = probe_languages([noise(240, 6, seed=s) for s in range(3)])
    assert float(shares.diagonal().mean()) == pytest.approx(1 / 3, abs=0.07)
    torch.testing.assert_close(shares.sum(1), torch.ones(3, dtype=torch.float64))


def test_the_probe_sees_no_line_on_both_sides() -> None:
    """Translations whose states are the same: a probe that has seen a line in one language takes
    it for that one in the other, and does worse than chance.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    lines = noise(60, 400)
    shares, _ = probe_languages([lines, lines])
    assert float(shares.diagonal().mean()) == pytest.approx(0.5)
    labels = np.repeat([0, 1], 60)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    leaky = LogisticRegression(C=0.1)
    guessed = cross_val_predict(leaky, torch.cat([lines, lines]).numpy(), labels, cv=folds)
    assert float((guessed == labels).mean()) < 0.35


def test_the_probe_tells_what_can_be_told() -> None:
    groups = [noise(50, 5, seed=s) + 8 * torch.eye(5)[s] for s in range(3)]
    shares, moved = probe_languages(groups, [groups[0], groups[1], groups[0]])
    assert float(shares.diagonal().mean()) > 0.98
    assert float(moved[2, 0]) > 0.98


def test_variance_explained() -> None:
    one = noise(30, 4)
    assert between_share([one, one.flip(0)]) == pytest.approx(0, abs=1e-12)
    fixed = [torch.full((9, 4), float(g)) for g in range(3)]
    assert between_share(fixed) == pytest.approx(1)
    assert math.isnan(between_share([torch.ones(3, 2), torch.ones(3, 2)]))
    x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 9.0]])
    groups = [torch.tensor(row)[:, None] for row in x]
    expected = 3 * np.square(x.mean(1) - x.mean()).sum() / np.square(x - x.mean()).sum()
    assert between_share(groups) == pytest.approx(expected)


def test_nearest_share() -> None:
    means = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    states = torch.tensor([[1.0, 1.0], [9.0, 0.0], [8.0, 3.0], [11.0, 0.0]])
    assert nearest_share(states, means, 1) == 0.75
    assert nearest_share(states, means, 0) == 0.25


def planted(layers: int, at: int, shift: float = 6.0) -> dict[str, list[Tensor]]:
    """Two languages that differ at one layer only."""
    step = shift * torch.eye(8, dtype=torch.float64)[2]
    return {
        tag: [
            noise(60, 8, seed=10 * layer + s) + (step if s and layer == at else 0)
            for layer in range(layers)
        ]
        for s, tag in enumerate(("en", "sw"))
    }


@pytest.mark.parametrize("at", [0, 2])
def test_a_shift_is_found_at_its_layer(at: int) -> None:
    before = planted(3, at)
    found = identities(before, {}, "en")
    sw = found.before["sw"]
    for curve in (sw.distance, sw.variance, sw.recognised, found.together_before.probe):
        assert max(range(3), key=curve.__getitem__) == at
    assert sw.recognised[at] > 0.95
    assert sw.nearest_pivot[at] < 0.05
    assert sw.distance_share == (1, 1, 1)
    assert found.together_after is None
    assert set(found.before) == {"sw"}
    scale = float(torch.stack([s[at].mean(0) for s in before.values()]).norm(dim=1).mean())
    gap = float((before["sw"][at].mean(0) - before["en"][at].mean(0)).norm())
    assert sw.distance[at] == pytest.approx(gap / scale)


def test_steered_states_are_measured_against_the_unsteered() -> None:
    before = planted(3, 1)
    back = before["en"][1].mean(0) - before["sw"][1].mean(0)
    after = {"sw": [before["sw"][0], before["sw"][1] + 0.5 * back, before["sw"][2] + back]}
    found = identities(before, after, "en").after["sw"]
    assert found.distance_share[:2] == (1, pytest.approx(0.5))
    whole = identities(
        before, {"sw": [*before["sw"][:1], before["sw"][1] + back, before["sw"][2]]}, "en"
    )
    sw = whole.after["sw"]
    assert sw.distance_share[1] == pytest.approx(0, abs=1e-6)
    assert sw.nearest_pivot[1] > 0.9
    assert sw.taken_for_pivot[1] > 0.9
    assert sw.recognised[1] < 0.6  # below chance, since the means were made equal on these lines
    assert sw.variance[1] == pytest.approx(0, abs=1e-9)
    assert whole.before["sw"].taken_for_pivot[1] < 0.1
    assert whole.together_after is not None
    assert whole.together_after.probe[0] == whole.together_before.probe[0]
    assert whole.together_after.probe[1] < whole.together_before.probe[1] - 0.3


# The map


def test_axes_are_comparable_from_layer_to_layer() -> None:
    """A layer that is the one below, turned in many dimensions and grown, looks the same."""
    here = noise(40, 6) * torch.tensor([9.0, 3.0, 0.1, 0.1, 0.1, 0.1])
    there = here + torch.tensor([5.0, 0, 0, 0, 0, 0])
    turned = [(side @ rotation(6)) * 70 for side in (here, there)]
    found = draw_map({"en": [there, turned[1]], "sw": [here, turned[0]]}, {}, "en", shown=10)
    for places in found.before.values():
        np.testing.assert_allclose(places.mean[0], places.mean[1], atol=2e-3)
        np.testing.assert_allclose(places.sentences[0], places.sentences[1], atol=2e-2)
    assert found.lines == tuple(range(0, 40, 4))
    assert all(share > 0.99 for share in found.explained)
    assert found.before["en"].mean[0][0] < 0
    every = [p for places in found.before.values() for row in places.sentences for p in row]
    assert found.limit == pytest.approx(1.05 * np.abs(every).max(), abs=1e-3)


def test_steered_sentences_lie_in_the_same_axes() -> None:
    before = planted(2, 1)
    found = draw_map(before, {"sw": before["en"]}, "en")
    assert found.after["sw"] == found.before["en"]
    assert found.before["sw"] != found.before["en"]
    assert set(found.after) == {"sw"}


def test_umap(monkeypatch: pytest.MonkeyPatch) -> None:
    class Halves:
        def __init__(self, n_components: int, random_state: int, n_jobs: int) -> None:
            assert n_components == 2

        def fit_transform(self, states: Any) -> Any:
            return self.transform(states)

        def transform(self, states: Any) -> Any:
            return states[:, :2] / 2

    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingExtraError, match=r"langsteer\[umap\]"):
        draw_map(planted(1, 0), {}, "en", method="umap")
    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Halves))
    found = draw_map(planted(1, 0), {}, "en", method="umap")
    assert found.method == "umap"
    assert math.isnan(found.explained[0])
    with pytest.raises(AnalysisError, match="no map 'tsne'"):
        draw_map(planted(1, 0), {}, "en", method="tsne")


def test_the_real_umap() -> None:
    pytest.importorskip("umap")
    before = planted(1, 0)
    found = draw_map(before, {"sw": before["en"]}, "en", method="umap")
    assert found.after["sw"] == found.before["en"]
    apart = np.subtract(found.before["sw"].mean[0], found.before["en"].mean[0])
    assert np.linalg.norm(apart) > 0.5
    again = draw_map(before, {"sw": before["en"]}, "en", method="umap")
    assert found.before == again.before


# Norms


def test_norms_and_dimensions() -> None:
    states = noise(3, 50, 12).float() * 7
    states[:, :, 5] += 100
    source = torch.ones(3, 50, dtype=torch.bool)
    source[0, :20] = False
    sums = NormSums(12)
    for row in range(3):
        sums.add(states[row : row + 1], source[row : row + 1])
    kept = states[source].double()
    lengths = kept.norm(dim=1)
    assert sums.tokens == 130
    assert sums.mean == pytest.approx(float(lengths.mean()), rel=1e-5)
    assert sums.median == pytest.approx(float(lengths.median()), rel=3e-3)
    top = sums.largest
    assert top[0].index == 5
    assert len(top) == 5
    assert top[0].size == pytest.approx(float(kept[:, 5].abs().mean()), rel=1e-5)
    share = kept[:, 5].square().sum() / kept.square().sum()
    assert top[0].share == pytest.approx(float(share), rel=1e-5)
    torch.testing.assert_close(sums.sizes, kept.abs().mean(0), rtol=1e-5, atol=1e-5)


# Reading


def plain_states(model: Model, text: str) -> list[Tensor]:
    """Each layer's states at the source tokens, by transformers' own `output_hidden_states`."""
    (tokens,) = encode(model, [text])
    with torch.inference_mode():
        output = model.decoder(
            input_ids=torch.tensor([tokens.ids]), output_hidden_states=True, use_cache=False
        )
    states = list(output.hidden_states[1:])  # the last is after the final norm
    last: list[Tensor] = []
    hook = model.blocks[-1].register_forward_hook(lambda m, a, o: last.append(output_states(o)))
    with torch.inference_mode():
        model.decoder(input_ids=torch.tensor([tokens.ids]), use_cache=False)
    hook.remove()
    states[-1] = last[0]
    return [layer[0, tokens.source] for layer in states]


@pytest.mark.parametrize("budget", [30, 1000])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_reading_is_plain_output_hidden_states(architecture: str, budget: int) -> None:
    model = tiny(architecture)
    tokens = encode(model, TEXTS)
    picks = [(2, 3), (0, 1), (2, 20)]
    reading, after = read_texts(model, tokens, picks=picks, budget=budget)
    assert after is None
    whole = [plain_states(model, text) for text in TEXTS]
    first = tokens[0].source.index(True)
    close = {"atol": 2e-5, "rtol": 2e-4}
    for layer in range(model.layers):
        for i in range(len(TEXTS)):
            own = whole[i][layer]
            weights = torch.arange(1.0, len(own) + 1)
            torch.testing.assert_close(reading.mean[layer][i], own.mean(0), **close)
            torch.testing.assert_close(
                reading.weighted[layer][i], weights @ own / weights.sum(), **close
            )
            torch.testing.assert_close(reading.last[layer][i], own[-1], **close)
        for slot, (text, place) in enumerate(picks):
            torch.testing.assert_close(
                reading.picked[layer][slot], whole[text][layer][place - first], **close
            )
        lengths = torch.cat([text[layer] for text in whole]).norm(dim=1)
        assert reading.norms[layer].tokens == len(lengths)
        assert reading.norms[layer].mean == pytest.approx(float(lengths.mean()), rel=1e-4)


@pytest.mark.parametrize("layer", [0, 2, 3])
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "gpt2", "opt", "qwen3_moe"])
def test_steered_reading_is_a_plain_steered_pass(architecture: str, layer: int) -> None:
    model = tiny(architecture)
    added = vector(model, noise(32, seed=4).float(), layer, strength=0.7)
    before, after = read_texts(model, encode(model, TEXTS), vector=added, budget=40)
    assert after is not None
    with intervene(model, [Intervention(layer, Addition(0.7 * added.values))], "source"):
        steered, _ = read_texts(model, encode(model, TEXTS))
    for place in range(model.layers):
        for kind in ("mean", "weighted", "last"):
            ours = getattr(after, kind)[place]
            torch.testing.assert_close(ours, getattr(steered, kind)[place], atol=2e-5, rtol=2e-4)
            assert (ours is getattr(before, kind)[place]) == (place < layer)
    moved = after.mean[layer] - before.mean[layer]
    torch.testing.assert_close(moved, (0.7 * added.values).expand_as(moved), atol=1e-5, rtol=1e-4)
    again, _ = read_texts(model, encode(model, TEXTS))
    torch.testing.assert_close(again.mean[3], before.mean[3])


def test_the_strength_can_be_replaced(llama: Model) -> None:
    added = vector(llama, noise(32).float(), 1)
    tokens = encode(llama, TEXTS)
    before, after = read_texts(llama, tokens, vector=added, strength=0.0)
    assert after is not None
    torch.testing.assert_close(after.mean[3], before.mean[3])


def test_states_that_are_not_finite() -> None:
    model = build_model("llama")
    with torch.no_grad():
        place = model.tokenizer.convert_tokens_to_ids("Q")
        model.network.get_input_embeddings().weight[place] = float("nan")
    with pytest.raises(StateError, match="layer 0 are not finite for text 2"):
        read_texts(model, encode(model, ["abc", "aQc"]))
    text = ParallelCorpus({"sw": ("abc", "Qa"), "en": ("abd", "xyz")}, "en", "test")
    with pytest.raises(StateError, match="not finite for text 2"):
        analyze(model, text, options=QUICK)


def test_spread() -> None:
    assert spread(10, 5) == (0, 2, 4, 6, 8)
    assert spread(3, 9) == (0, 1, 2)
    assert spread(3, 0) == ()


# The lenses


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_logit_lens_at_the_last_layer_is_the_model(architecture: str) -> None:
    model = tiny(architecture)
    tokens = encode(model, TEXTS)
    picks = [(i, len(text) - 1) for i, text in enumerate(tokens)]
    reading, _ = read_texts(model, tokens, picks=picks)
    pivot = [torch.tensor([i, 40 + i]) for i in range(4)]
    language = [torch.arange(60, 90)] * 4
    found, _ = read_out(model, reading.picked, None, pivot, language)
    shares = []
    for i, text in enumerate(tokens):
        with torch.inference_mode():
            logits = model.network(input_ids=torch.tensor([text.ids])).logits[0, -1]
        p = logits.softmax(-1)
        shares.append([float(p[pivot[i]].sum()), float(p[language[i]].sum())])
    mean = np.mean(shares, axis=0)
    assert found.pivot[-1] == pytest.approx(mean[0], rel=1e-4)
    assert found.language[-1] == pytest.approx(mean[1], rel=1e-4)
    assert found.neither[-1] == pytest.approx(1 - mean.sum(), rel=1e-4)
    error = np.std(shares, axis=0, ddof=1) / 2
    assert found.language_error[-1] == pytest.approx(error[1], rel=1e-3)
    assert found.items == 4
    assert len(found.pivot) == model.layers


def test_few_logits_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch, llama: Model) -> None:
    states, sets = noise(7, 32).float(), [torch.arange(9)] * 7
    whole = token_shares(llama, states, sets, sets)
    held: list[int] = []
    own = Model.logits_of
    monkeypatch.setattr(lens, "_LOGITS_HELD", 300)

    def watched(self: Model, hidden: Tensor) -> Tensor:
        held.append(len(hidden))
        return own(self, hidden)

    monkeypatch.setattr(Model, "logits_of", watched)
    torch.testing.assert_close(token_shares(llama, states, sets, sets), whole)
    assert max(held) == 2


def translators(layers: int = 4, size: int = 32, scale: float = 0.0) -> dict[str, Tensor]:
    found = {}
    for layer in range(layers):
        found[f"layers.{layer}.weight"] = scale * noise(size, size, seed=layer).float()
        found[f"layers.{layer}.bias"] = scale * noise(size, seed=100 + layer).float()
    return found


def test_a_tuned_lens(tmp_path: Path, llama: Model) -> None:
    file = tmp_path / "lens.safetensors"
    states = [noise(2, 32, seed=s).float() for s in range(4)]
    sets = [torch.arange(30)] * 2, [torch.arange(50, 70)] * 2
    plain, _ = read_out(llama, states, None, *sets)
    save_file(translators(), file)
    assert read_out(llama, states, None, *sets, TunedLens.read(file, llama))[0] == plain
    tensors = translators(3, scale=0.1)  # the last layer may be left out
    save_file(tensors, file)
    tuned = TunedLens.read(file, llama)
    found, _ = read_out(llama, states, None, *sets, tuned)
    h = states[1]
    moved = h + h @ tensors["layers.1.weight"].T + tensors["layers.1.bias"]
    assert llama.norm is not None
    with torch.inference_mode():
        p = llama.head(llama.norm(moved)).softmax(-1)
    assert found.pivot[1] == pytest.approx(float(p[:, :30].sum(1).mean()), rel=1e-4)
    assert found.pivot[1] != plain.pivot[1]
    assert found.pivot[3] == plain.pivot[3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers.1.weight": torch.zeros(32, 31)}, r"layers.1.weight has the shape \[32, 31\]"),
        ({"layers.2.bias": torch.zeros(31)}, r"layers.2.bias has the shape \[31\], not \[32\]"),
        ({"layers.7.bias": torch.zeros(32)}, "layers 0 to 3: it belongs to another model"),
        ({"layers.0.bias": torch.full((32,), torch.nan)}, "NaN or infinity in layers.0.bias"),
        ({"values": torch.zeros(32)}, "not a tuned lens: it has 'values'"),
        ({"layers.1.bias": None}, "has no layers.1.bias"),
    ],
)
def test_a_tuned_lens_that_does_not_fit(
    change: dict[str, Tensor | None], message: str, tmp_path: Path, llama: Model
) -> None:
    file = tmp_path / "lens.safetensors"
    tensors = {k: v for k, v in (translators() | change).items() if v is not None}
    save_file(tensors, file)
    with pytest.raises(AnalysisError, match=message):
        TunedLens.read(file, llama)


def test_a_tuned_lens_is_never_unpickled(tmp_path: Path, llama: Model) -> None:
    file = tmp_path / "params.pt"
    torch.save(translators(), file)
    with pytest.raises(AnalysisError, match="not a safetensors file"):
        TunedLens.read(file, llama)
    with pytest.raises(AnalysisError, match="there is no tuned lens file"):
        TunedLens.read(tmp_path / "none", llama)


# Which tokens count


def word_model(texts: Sequence[str]) -> Model:
    """A tiny model whose tokens are words and marks, and pieces for words that it lacks."""
    words = sorted({word for text in texts for word in text.replace(",", " ,").split()})
    pieces = ["<pad>", "<bos>", "<eos>", "<unk>", *words]
    backend = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(pieces)}, unk_token="<unk>")
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 1)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>",
        unk_token="<unk>",
    )  # fmt: skip
    return wrap_model(build_network("llama", vocab_size=max(128, len(pieces))), tokenizer)


def test_tokens_that_only_one_language_has() -> None:
    english = ["The cat sees a big house, Ali", "Ali and the dog"]
    swahili = ["Paka anaona nyumba kubwa, Ali", "Ali na mbwa a b"]
    model = word_model([*english, *swahili])
    encoded = [encode(model, lines) for lines in (english, swahili)]
    starts = [
        word_starts(model, lines, tokens, tag)
        for lines, tokens, tag in zip((english, swahili), encoded, ("en", "sw"), strict=True)
    ]
    firsts = first_tokens(model, encoded[0], starts[0])

    def words(ids: Any) -> set[str]:
        return set(model.tokenizer.convert_ids_to_tokens(list(map(int, ids))))

    assert words(firsts) == {"The", "cat", "sees", "big", "house", "Ali", "and", "the", "dog"}
    items = text_items(model, swahili, encoded[1], starts[1], firsts, 10)
    assert words(items.language) == {"Paka", "anaona", "nyumba", "kubwa", "na", "mbwa"}
    assert words(items.pivot) == {"The", "cat", "sees", "big", "house", "and", "the", "dog"}
    assert len(items.picks) == 5  # Paka begins its line, with nothing to read before
    for text, place in items.picks:
        assert encoded[1][text].ids[place + 1] in items.language
    one = text_items(model, swahili, encoded[1], starts[1], firsts, 1)
    assert len(one.picks) == 1
    assert text_items(model, swahili, encoded[1], starts[1], firsts, 10).picks == items.picks


def test_words_start_at_letters() -> None:
    flags = [
        [text[a:b] for a, b in spans if _starts(text, a, b, spaced)]
        for text, spans, spaced in (
            ("it's 3rd no", [(0, 2), (2, 3), (3, 4), (4, 6), (6, 8), (8, 11)], True),
            ("un bel uomo", [(0, 2), (2, 6), (6, 8), (8, 11)], True),
            ("猫が好き。", [(0, 1), (1, 2), (2, 4), (4, 5)], False),
            ("नमस्ते", [(0, 2), (2, 4), (4, 6)], True),
        )
    ]
    assert flags == [["it", " no"], ["un", " bel"], ["猫", "が", "好き"], ["नम"]]


def _starts(text: str, start: int, end: int, spaced: bool) -> bool:
    from langsteer.analysis.layers.latent import _starts_word

    return _starts_word(text, start, end, spaced)


def test_word_prompts(gemma: Model) -> None:
    items = word_items(gemma, "sw", "en", 5)
    assert items is not None
    assert len(items.prompts) == 5
    prompt = items.prompts[0]
    text = gemma.tokenizer.decode(prompt.ids, skip_special_tokens=True)
    assert text.endswith('Deutsch: "Buch" - Kiswahili: "')
    assert text.count("Kiswahili") == 5
    marked = gemma.tokenizer.decode(
        [i for i, s in zip(prompt.ids, prompt.source, strict=True) if s]
    )
    answers = [line.split('"')[3] for line in text.splitlines()[:4]]
    assert marked == "".join(answers)
    for kind, word in ((items.pivot, "book"), (items.language, "kitabu")):
        starts = {gemma.tokenizer.decode([int(i)]) for i in kind[0]}
        assert len(starts) == 2
        assert all(f" {word}".startswith(s) or word.startswith(s) for s in starts)
    assert items.picks[0] == (0, len(prompt) - 1)
    german = word_items(gemma, "de", "en", 1)
    assert german is not None
    assert "Français" in gemma.tokenizer.decode(german.prompts[0].ids)
    assert word_items(gemma, "th", "en", 5) is None


def test_words_that_cannot_be_told_apart_are_left_out(llama: Model) -> None:
    """The tokens are letters: Buch and book differ, Haus and house, but not raamat and river."""
    items = word_items(llama, "fr", "en", 99)
    assert items is not None
    words = word_list()
    kept = [
        (de, fr, en)
        for de, fr, en in zip(words["de"], words["fr"], words["en"], strict=True)
        if len({de[0], fr[0], en[0]}) == 3 and all(w[0].isascii() for w in (de, fr, en))
    ]
    assert len(items.prompts) == len(kept)
    assert items.left_out == len(words["fr"]) - len(kept)


def test_the_word_list() -> None:
    words = word_list()
    assert set(words) == set(builtin().texts)
    assert {len(column) for column in words.values()} == {len(words["en"])}
    assert len(words["en"]) >= 30
    assert all(word and word == word.strip() for column in words.values() for word in column)


# The whole


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


def test_numbers_survive_their_file(tmp_path: Path, llama: Model) -> None:
    found = analyze(llama, corpus("sw", lines=6), options=QUICK)
    path = found.write(tmp_path)
    assert Results.read(path) == Results.read(tmp_path)
    again = Results.read(path)
    assert again.as_json() == json.loads(json.dumps(found.as_json()))
    assert again.languages["sw"].before.alignment == found.languages["sw"].before.alignment
    assert again.map == found.map
    values = json.loads(path.read_text())
    for change, message in (
        ({"format": "x"}, "not the results of langsteer analyze"),
        ({"format_version": 99}, "format version 99"),
        ({"layers": "four"}, r"results.layers is damaged: 'four'"),
        ({"chance": None, "pivot_norms": {}}, "pivot_norms is damaged: it has no mean"),
    ):
        path.write_text(json.dumps(values | change))
        with pytest.raises(AnalysisError, match=message):
            Results.read(path)
    path.write_text("{")
    with pytest.raises(AnalysisError, match="is not JSON"):
        Results.read(path)
    with pytest.raises(AnalysisError, match="cannot read"):
        Results.read(tmp_path / "none.json")


def test_no_number_that_does_not_exist_breaks_the_file(tmp_path: Path, llama: Model) -> None:
    """All sentences the same: no variance, no CKA."""
    text = ParallelCorpus({"sw": ("a b", "a b"), "en": ("a b", "a b")}, "en", "same")
    found = analyze(llama, text, options=replace(QUICK, items=0))
    sw = found.languages["sw"].before
    assert all(map(math.isnan, sw.identity.variance))
    assert all(map(math.isnan, sw.alignment.cka))
    assert sw.alignment.mexa == (0, 0, 0, 0)
    assert sw.identity.distance == (0, 0, 0, 0)
    assert (sw.next_token, sw.words, found.languages["sw"].tokens) == ({}, {}, None)
    found.write(tmp_path)
    assert math.isnan(Results.read(tmp_path).languages["sw"].before.alignment.cka[0])


def test_the_held_out_part_is_read() -> None:
    text = builtin("sw")
    chosen = chosen_lines(text, None)
    assert len(chosen) == 203
    assert set(chosen.parts) == {"report"}
    few = chosen_lines(text, 14)
    assert len(few) == 14
    assert len(set(few.topics)) == 7
    assert len(chosen_lines(corpus("sw"), 50)) == 12


def test_bad_input_is_one_line(tmp_path: Path, llama: Model) -> None:
    text = corpus("sw", lines=6)

    def refused(message: str, kind: type[LangsteerError] = AnalysisError) -> Any:
        return pytest.raises(kind, match=message)

    with refused("at least 2 lines|2 are the least"):
        analyze(llama, text.lines([0]))
    with refused("needs 2 lines or more, not 1"):
        analyze(llama, text, lines=1)
    hole = ParallelCorpus({"sw": ("habari", " "), "en": ("news", "tree")}, "en", "holes")
    with refused(r"holes has no Swahili \(sw\) in line 2"):
        analyze(llama, hole)
    good = vector(llama, noise(32).float(), 1)
    with refused("vector for German"):
        analyze(llama, text, {"de": replace(good, language="de")})
    with refused("given for sw is one for de"):
        analyze(llama, text, {"sw": replace(good, language="de")})
    with refused("leads to fr, and the analysis compares with en"):
        analyze(llama, text, {"sw": replace(good, pivot="fr")})
    with refused("steers generated tokens only"):
        analyze(llama, text, {"sw": replace(good, positions="generated")})
    with refused("does not fit tiny-gpt2: architecture is llama", VectorError):
        analyze(tiny("gpt2"), text, {"sw": good})
    with refused("no map 'tsne'"):
        analyze(llama, text, options=replace(QUICK, map="tsne"))
    with refused("there is no tuned lens file"):
        analyze(llama, text, tuned_lens=tmp_path / "none")
    with refused(r"English \(en\) is the pivot"):
        check_languages(["sw", "eng_Latn"], "en")
    with refused("name a language to analyse"):
        check_languages([], "en")
    with refused("has one language", CorpusError):
        ParallelCorpus({"en": ("a", "b")}, "en", "alone")


def test_vectors_of_a_folder(tmp_path: Path, llama: Model) -> None:
    for tag in ("sw", "de"):
        vector(llama, noise(32).float(), 1, language=tag).save(tmp_path / f"{tag}.safetensors")
    assert set(vectors_for([], (), tmp_path)) == {"sw", "de"}
    assert set(vectors_for(["swh_Latn"], (), tmp_path)) == {"sw"}
    assert set(vectors_for(["sw"], [tmp_path / "de.safetensors"], None)) == {"de"}
    with pytest.raises(VectorError, match="several vectors for de"):
        vectors_for(["sw"], [tmp_path / "de.safetensors"], tmp_path)
    twice = [tmp_path / "de.safetensors"] * 2
    with pytest.raises(VectorError, match="one of several vectors for de"):
        vectors_for([], twice, None)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, llama: Model) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(
        MissingExtraError, match=r"scikit-learn: pip install 'langsteer\[analysis\]'"
    ):
        probe_languages([noise(4, 3), noise(4, 3, seed=1)])
    assert identity.FOLDS == 5


# The command


def test_the_command(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, file = tmp_path / "out", str(tmp_path / "sw.safetensors")
    model = ["-m", str(folder)]
    assert run(capsys, "fit", "-l", "sw", "-o", file, *model, "--layer", "1")[0] == 0
    arguments = ["analyze", str(folder), "-n", "8", "--items", "2", "-o", str(out)]
    code, printed, _ = run(capsys, *arguments, "-l", "sw,de", "-v", file)
    assert code == 0
    assert "Swahili (sw)" in printed
    assert "Steered" in printed
    found = Results.read(out)
    assert found.steered == ("sw",)
    assert found.corpus["lines"] == 8
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "Swahili" in page
    assert "http" not in "".join(part for part in page.split('src="')[1:] if part[:4] == "http")
    assert list(out.rglob("*.png"))
    assert list(out.rglob("*.svg"))
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
        (["-l", "sw", "--map", "tsne"], "there is no map 'tsne'"),
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


def test_reading_holds_pooled_states_only(llama: Model) -> None:
    """Twice the tokens, the same memory."""

    def held(reading: Reading) -> int:
        kinds = (reading.mean, reading.weighted, reading.last, reading.picked)
        return sum(tensor.nelement() for kind in kinds for tensor in kind)

    short, long = (read_texts(llama, encode(llama, [text] * 3))[0] for text in ("abc", "abc" * 30))
    assert held(short) == held(long) == 4 * 3 * 3 * 32
