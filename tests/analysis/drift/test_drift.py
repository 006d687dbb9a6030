import gc
import json
import math
import re
import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor

from langsteer.analysis.drift import compare as module
from langsteer.analysis.drift.compare import (
    Drifted,
    DriftOptions,
    drift,
    named_versions,
    split_lines,
)
from langsteer.analysis.drift.gains import gain_fits, read_gains, spearman
from langsteer.analysis.drift.measures import Ground, Measured, States, measure, version_pairs
from langsteer.analysis.drift.page import drift_into, page_of, summary, version_grid, write_drift
from langsteer.analysis.drift.results import GAP, Drift
from langsteer.errors import AnalysisError, CorpusError, MissingExtraError, ModelError, VectorError
from langsteer.fitting.learning import fit
from langsteer.model.model import Model
from langsteer.model.opening import load_model, wrap_model
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import ParallelCorpus, builtin
from tests.helpers import build_model, build_network, character_tokenizer, make_vector, run
from tests.made.cells import cell
from tests.made.drift import HIDDEN, synthetic_drift

pytest.importorskip("scipy")
LAYERS, LINES = 3, 30
TAGS = ("sw", "et", "tr", "de")
QUICK = DriftOptions(draws=60, lines=40)


# Measures of states with a known displacement


def made_ground(vectors: Mapping[str, Mapping[str, SteeringVector]] | None = None) -> Ground:
    generator = torch.Generator().manual_seed(0)
    meaning = torch.randn(2, LINES, 1, HIDDEN, generator=generator)
    scale = torch.linspace(3, 0.3, HIDDEN)
    shifts = {
        tag: torch.randn(LAYERS, HIDDEN, generator=generator) * (tag != "en")
        for tag in (*TAGS, "en")
    }
    fitted, states = (
        {
            tag: scale
            * (meaning[i] + shift + 0.3 * torch.randn(LINES, LAYERS, HIDDEN, generator=generator))
            for tag, shift in shifts.items()
        }
        for i in range(2)
    )
    return Ground("en", fitted, states, vectors or {}, 1, 200, 0)


@pytest.fixture(scope="module")
def ground() -> Ground:
    return made_ground()


def moved(ground: Ground, **by_tag: Tensor) -> States:
    """The base's states, with displacements, each broadcast to [lines, layers, hidden], added."""
    return {tag: found + by_tag.get(tag, torch.zeros(1)) for tag, found in ground.states.items()}


def at(layer: int, vector: Tensor) -> Tensor:
    found = torch.zeros(LAYERS, HIDDEN)
    found[layer] = vector
    return found


def test_a_planted_shift_is_found_at_its_layer_and_language() -> None:
    planted = torch.randn(HIDDEN, generator=torch.Generator().manual_seed(1))
    vector = SteeringVector(planted, 1, "sw", "en", {}, "planted")
    ground = made_ground({"planted": {"sw": vector}})
    found = measure(ground, moved(ground, sw=at(1, 0.5 * planted)), "version").drift
    movement = found.languages["sw"].movement
    length = float((0.5 * planted).norm()) / ground.length("sw", 1)
    assert movement.raw == pytest.approx((0, length, 0), abs=1e-6)
    assert movement.own == pytest.approx((0, length, 0), abs=1e-6)
    assert movement.coherence[1] == pytest.approx(1)
    assert [math.isnan(x) for x in movement.coherence] == [True, False, True]
    cosines = found.languages["sw"].directions["planted"].own
    assert cosines.layers == (1,)
    assert (cosines.value[0], cosines.low[0], cosines.high[0]) == pytest.approx((1, 1, 1))
    assert cosines.p_covariance[0] == pytest.approx(1 / 201)
    assert cosines.p_isotropic[0] < 1e-6
    everywhere = found.languages["sw"].directions[GAP].own
    assert [math.isnan(x) for x in everywhere.value] == [True, False, True]
    for tag in TAGS[1:]:
        assert found.languages[tag].movement.own == (0, 0, 0)
    assert found.pivot.raw == (0, 0, 0)


def test_what_moves_all_languages_alike_is_not_their_own(ground: Ground) -> None:
    generator = torch.Generator().manual_seed(2)
    common = torch.randn(LAYERS, HIDDEN, generator=generator)
    own = torch.randn(LAYERS, HIDDEN, generator=generator)
    states = moved(ground, **{**dict.fromkeys(ground.states, common), "sw": common + own})
    found = measure(ground, states, "version").drift
    for layer in range(LAYERS):
        scale = ground.length("et", layer)
        assert found.languages["et"].movement.own[layer] == pytest.approx(0, abs=1e-6)
        assert found.languages["et"].movement.raw[layer] * scale == pytest.approx(
            float(common[layer].norm()), rel=1e-4
        )
        assert found.languages["et"].movement.pivot_cosine[layer] == pytest.approx(1)
        assert found.languages["sw"].movement.own[layer] * ground.length(
            "sw", layer
        ) == pytest.approx(float(own[layer].norm()), rel=1e-4)
        assert found.languages["sw"].movement.pivot_cosine[layer] < 0.99


def test_half_of_the_gap_is_crossed(ground: Ground) -> None:
    states = dict(ground.states)
    gap = (ground.fit["en"] - ground.fit["sw"]).mean(0)
    states["sw"] = states["sw"] + 0.5 * gap
    found = measure(ground, states, "version").drift.languages["sw"]
    for layer in range(LAYERS):
        low, high = found.movement.crossed_low[layer], found.movement.crossed_high[layer]
        assert found.movement.crossed[layer] == pytest.approx(0.5, abs=0.02)
        assert low <= 0.52
        assert high >= 0.48
    assert found.directions[GAP].own.value == pytest.approx((1, 1, 1), abs=0.01)
    assert found.directions[GAP].span is not None
    assert found.directions[GAP].span.share == pytest.approx((1, 1, 1))
    assert found.directions[GAP].span.rank == (4, 4, 4)


def test_random_displacements_lie_within_the_null(ground: Ground) -> None:
    generator = torch.Generator().manual_seed(3)
    centred = torch.cat([found - found.mean(0) for found in ground.fit.values()])
    outside = total = 0
    for _ in range(15):
        shifts = {}
        for tag in TAGS:
            weights = torch.randn(len(centred), generator=generator)
            shifts[tag] = torch.einsum("n,nlh->lh", weights, centred) / len(centred) ** 0.5
        found = measure(ground, moved(ground, **shifts), "version").drift
        for one in found.languages.values():
            own = one.directions[GAP].own
            for value, bound, p in zip(own.value, own.covariance, own.p_covariance, strict=True):
                # 200 random vectors give the bound to about two per cent of them
                assert (abs(value) > bound) == (p < 0.05) or abs(abs(value) - bound) < 0.01
                outside += p < 0.05
                total += 1
    assert 0.01 < outside / total < 0.12


def test_a_rotation_leaves_cka_at_1(ground: Ground) -> None:
    generator = torch.Generator().manual_seed(4)
    rotation = torch.linalg.qr(torch.randn(HIDDEN, HIDDEN, generator=generator)).Q
    states = {tag: found @ rotation for tag, found in ground.states.items()}
    found = measure(ground, states, "version").drift.languages["sw"].similarity
    assert found.cka == pytest.approx((1,) * LAYERS, abs=1e-5)
    assert max(found.cosine) < 0.9


def test_a_version_that_did_not_move(ground: Ground) -> None:
    found = measure(ground, dict(ground.states), "version").drift
    sw = found.languages["sw"]
    assert sw.movement.raw == sw.movement.own == sw.movement.noise == (0, 0, 0)
    assert sw.movement.crossed == (0, 0, 0)
    assert found.pivot.raw == (0, 0, 0)
    assert sw.similarity.cka == pytest.approx((1, 1, 1))
    for number in (*sw.directions[GAP].own.value, *found.matching[GAP].p, *found.matrix.cosines[0]):
        assert math.isnan(number)


def test_own_directions_are_told_from_those_of_other_languages(ground: Ground) -> None:
    gaps = {tag: (ground.fit["en"] - ground.fit[tag]).mean(0) for tag in TAGS}
    mean = sum(gaps.values(), torch.zeros(LAYERS, HIDDEN)) / len(TAGS)
    alike = measure(ground, moved(ground, **dict.fromkeys(TAGS, mean)), "alike").drift
    apart = measure(ground, moved(ground, **{t: 0.2 * g for t, g in gaps.items()}), "apart").drift
    assert apart.matching[GAP].p == pytest.approx((1 / 24,) * LAYERS)
    for layer in range(LAYERS):
        assert apart.matching[GAP].same[layer] > apart.matching[GAP].others[layer] + 0.2
        assert apart.languages["sw"].directions[GAP].own.p_languages[layer] == 0.25
        # All move along the mean of the directions: towards the pivot, but not by their own way.
        assert alike.languages["sw"].directions[GAP].own.p_covariance[layer] < 0.05
        assert alike.matching[GAP].p[layer] > 0.9
    assert [row[i] for i, row in enumerate(apart.matrix.cosines)] == pytest.approx(
        [1] * 4, abs=0.02
    )


def test_a_displacement_of_noise_has_no_direction(ground: Ground) -> None:
    generator = torch.Generator().manual_seed(5)
    noise = {tag: torch.randn(LINES, LAYERS, HIDDEN, generator=generator) for tag in TAGS}
    found = measure(ground, moved(ground, **noise), "version").drift
    movement = found.languages["sw"].movement
    assert max(movement.own) < movement.noise[0]
    assert all(map(math.isnan, found.languages["sw"].directions[GAP].own.value))


def test_versions_against_each_other(ground: Ground) -> None:
    generator = torch.Generator().manual_seed(6)
    shift = torch.randn(LAYERS, HIDDEN, generator=generator)
    noise = 2 * torch.randn(LINES, LAYERS, HIDDEN, generator=generator)

    def version(sw: Tensor) -> Measured:
        return measure(ground, moved(ground, sw=sw), "version")

    along, against = version(shift + 0.1 * noise), version(-2 * shift + 0.1 * noise)
    away = torch.randn(LAYERS, HIDDEN, generator=generator)
    away -= (away * shift).sum(1, keepdim=True) * shift / shift.square().sum(1, keepdim=True)
    across = version(away + noise)
    pairs = version_pairs(["sw"], [along, against, across])
    assert pairs[0].cosines["sw"] == pytest.approx((-1, -1, -1), abs=0.02)
    # Both have the same noise; products of different lines do not see it.
    assert pairs[1].cosines["sw"] == pytest.approx((0, 0, 0), abs=0.2)


# Models


def corpus_of(*tags: str) -> ParallelCorpus:
    return builtin(*(tags or ("sw", "et", "tr")))


@pytest.fixture(scope="module")
def base() -> Model:
    return build_model("llama")


def shifted_gpt2(layer: int, shift: Tensor | None) -> Model:
    """A tiny GPT-2 whose block `layer` adds a vector to every token."""
    network = build_network("gpt2", max_position_embeddings=512)
    if shift is not None:
        with torch.no_grad():
            network.transformer.h[layer].mlp.c_proj.bias += shift
    return wrap_model(network, character_tokenizer(), name="shifted")


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


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """On disk: a base, a copy of it, a tuned version, and a PEFT adapter without a tokeniser."""
    peft = pytest.importorskip("peft")
    path = tmp_path_factory.mktemp("models")
    network = build_network("llama")
    for name in ("base", "copy"):
        network.save_pretrained(path / name)
    with torch.no_grad():
        network.model.layers[2].mlp.down_proj.weight.add_(
            0.05 * torch.randn(32, 48, generator=torch.Generator().manual_seed(8))
        )
    network.save_pretrained(path / "tuned")
    for name in ("base", "copy", "tuned"):
        character_tokenizer().save_pretrained(path / name)
    config = peft.LoraConfig(
        target_modules=["down_proj"], layers_to_transform=[1], init_lora_weights=False
    )
    fresh = transformers.AutoModelForCausalLM.from_pretrained(path / "base")
    torch.manual_seed(9)
    peft.get_peft_model(fresh, config).save_pretrained(path / "adapter")
    return path


@pytest.fixture(scope="module")
def from_disk(folders: Path) -> Drifted:
    tuned = [folders / "copy", folders / "tuned", ("lora", folders / "adapter")]
    return drift(folders / "base", tuned, corpus_of(), options=QUICK)


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


# What cannot be compared


@pytest.mark.parametrize(
    ("tuned", "reason"),
    [
        (lambda: build_model("qwen2"), "its architecture is qwen2 and the base's is llama"),
        (lambda: build_model("llama", num_hidden_layers=3), "its number of layers is 3"),
        (lambda: build_model("llama", hidden_size=64), "its hidden size is 64"),
        (lambda: with_tokenizer(other_vocabulary()), "reads other tokens in Swahili"),
        (lambda: with_tokenizer(character_tokenizer(), vocab_size=60), "reads other tokens"),
    ],
)
def test_versions_that_cannot_be_compared(base: Model, tuned: Any, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        drift(base, [("tuned", tuned())], corpus_of("sw"), options=QUICK)


def with_tokenizer(tokenizer: Any, **changes: Any) -> Model:
    return wrap_model(build_network("llama", **changes), tokenizer, name="other")


def other_vocabulary() -> Any:
    """A tokeniser of characters that gives two of them each other's ids."""
    tokenizer = character_tokenizer()
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    return replaced(tokenizer, state)


def replaced(tokenizer: Any, state: dict[str, Any]) -> Any:
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer.from_str(json.dumps(state)),
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
    )


def test_special_tokens_and_chat_template_may_differ(base: Model) -> None:
    tokenizer = character_tokenizer()
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["post_processor"] = None
    tokenizer = replaced(tokenizer, state)
    tokenizer.chat_template = "{{ messages }}"
    assert tokenizer("ab")["input_ids"] == base.tokenizer("ab")["input_ids"][1:]
    tuned = wrap_model(base.network, tokenizer, name="chat")
    found = drift(base, [("chat", tuned)], corpus_of("sw"), options=QUICK).results
    assert found.versions[0].languages["sw"].movement.raw == (0, 0, 0, 0)


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
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'langsteer\[analysis\]'"):
        drift_into(tmp_path, base, [("x", base)], corpus_of("sw"))
    assert not list(tmp_path.iterdir())


# Lines


def test_lines_of_a_split_corpus() -> None:
    corpus = corpus_of("sw")
    lines = split_lines(corpus)
    assert set(lines.fit) == {i for i, part in enumerate(corpus.parts) if part == "fit"}
    assert len(lines.fit) + len(lines.measured) == len(corpus)
    fewer = split_lines(corpus, 50)
    assert (len(fewer.fit), len(fewer.measured)) == (20, 30)
    assert set(fewer.fit) < set(lines.fit)
    assert set(fewer.measured) < set(lines.measured)
    assert max(fewer.measured) > len(corpus) * 0.9


def test_lines_of_a_corpus_in_one_piece() -> None:
    texts = {
        "sw": tuple(f"neno {i}" for i in range(40)),
        "en": tuple(f"word {i % 39}" for i in range(40)),
    }
    lines = split_lines(ParallelCorpus(texts, "en", "made up"))
    assert not set(lines.fit) & set(lines.measured)
    assert sorted((*lines.fit, *lines.measured)) == list(range(40))
    # The first and the last line have their English in common, and stay together.
    assert (0 in lines.fit) == (39 in lines.fit)
    assert abs(len(lines.fit) - 20) <= 1
    small = {tag: rows[:7] for tag, rows in texts.items()}
    with pytest.raises(CorpusError, match="too small to split: 7 lines"):
        split_lines(ParallelCorpus(small, "en", "made up"))
    with pytest.raises(CorpusError, match="too small: 4 lines to fit directions on and 3 to"):
        split_lines(ParallelCorpus(texts, "en", "made up"), 7)


# Gains


def test_spearman_of_what_is_known() -> None:
    stats = pytest.importorskip("scipy.stats")
    up = spearman([1, 2, 3, 4, 5], [2, 3, 5, 7, 11])
    assert up["rho"] == 1
    assert up["p"] == pytest.approx(2 / 120)
    x, y = [3.0, 1.0, 4.0, 1.5, 5.0, 9.0, 2.6, 5.3], [2.0, 7.0, 1.0, 8.0, 2.0, 8.0, 1.0, 8.0]
    found = spearman(x, y)
    assert found["rho"] == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found["low"] < found["rho"] < found["high"]
    assert 0.05 < found["p"] <= 1
    assert math.isnan(spearman([1, 1, 1, 1, 1], [1, 2, 3, 4, 5])["rho"])


def test_gains_that_follow_movement_and_gains_that_do_not(small: Drift) -> None:
    version = small.versions[1]
    by_movement = sorted(
        small.languages, key=lambda t: version.languages[t].movement.own[small.layer]
    )
    gains = {version.name: {tag: float(i) for i, tag in enumerate(by_movement)}}
    fits = {one.measure: one for one in gain_fits(small, {"made up": gains})}
    own = fits["own movement"]
    assert own.rho == pytest.approx(1)
    assert own.p == pytest.approx(2 / math.factorial(6))
    assert "gain more" in own.verdict
    assert "with 6 languages only a very strong relation would show" in own.verdict
    few = {version.name: dict.fromkeys(by_movement[:3], 1.0)}
    for one in gain_fits(small, {"made up": few}):
        assert math.isnan(one.p)
        assert one.verdict.startswith("3 languages are too few to say anything")
    flat = {version.name: dict.fromkeys(by_movement, 2.0)}
    assert "no correlation" in gain_fits(small, {"made up": flat})[0].verdict
    assert gain_fits(small, {"made up": {"another": {"sw": 1.0}}}) == ()


def test_gains_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "gains.json"
    path.write_text('{"sft": {"swh_Latn": 1, "et": -0.5}, "other": {"sw": 3}}')
    found = read_gains(path).of(["base"], {"my sft": ["my sft", "out/sft", "sft"], "dpo": ["dpo"]})
    assert found == {"gains": {"my sft": {"sw": 1.0, "et": -0.5}}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "holds no gains"),
        ('{"sft": 3}', "holds no gains"),
        ('{"sft": {"sw": "much"}}', "holds no gains"),
        ('{"sft": {"sw": true}}', "holds no gains"),
        ('{"sft": {"qx": 1}}', "no language has the tag 'qx'"),
        ("{", "is not JSON"),
        ('{"benchmarks": [{}]}', "holds no gains"),
    ],
)
def test_files_without_gains(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "gains.json"
    path.write_text(text)
    with pytest.raises(AnalysisError, match=re.escape(message)):
        read_gains(path)
    with pytest.raises(AnalysisError, match="cannot read"):
        read_gains(tmp_path / "missing.json")
    with pytest.raises(AnalysisError, match="run langsteer report"):
        read_gains(tmp_path)


def test_gains_of_a_comparison(tmp_path: Path) -> None:

    from langsteer.evaluation.comparison.cells import write_cell
    from langsteer.evaluation.report.page import make_report, write_report

    for model, method, right in (
        ("org/base", "direct", 4),
        ("org/base", "learned", 6),
        ("out/sft", "direct", 9),
    ):
        for language in ("sw", "et"):
            made = cell(method, language, [i < right for i in range(10)])
            write_cell(tmp_path, replace(made, model=model))
    write_report(make_report(tmp_path, draws=50), tmp_path)
    versions = {"sft": ["sft", "out/sft"], "steered: learned": ["steered: learned", "learned"]}
    (found,) = read_gains(tmp_path).of(["org/base", "base"], versions).values()
    # Two choices, calibrated: what is right and wrong is counted over again, so only signs are known.
    assert set(found) == {"sft", "steered: learned"}
    assert set(found["sft"]) == {"sw", "et"}
    scores = read_gains(tmp_path).scores
    assert scores is not None
    models = scores["sib200"]
    assert (
        found["sft"]["sw"] == models["out/sft"]["direct"]["sw"] - models["org/base"]["direct"]["sw"]
    )
    assert read_gains(tmp_path).of(["another"], versions) == {}


# The page


@pytest.fixture(scope="module")
def small() -> Drift:
    return synthetic_drift(languages=6, layers=4, lines=24, draws=60)


@pytest.fixture(scope="module")
def written(small: Drift, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drift")
    write_drift(Drifted(small, {"gemma-sft": {"sw": torch.ones(4, HIDDEN)}}), folder)
    return folder


FIGURES = (
    *("alignment", "alignment-languages", "movement", "movement-languages", "direction"),
    *("direction-languages", "crossed", "cosines", "matrix", "span", "similarity"),
    *("similarity-languages", "versions", "gains-SIB-200"),
)


def test_everything_is_written(written: Path) -> None:
    assert {p.name for p in written.iterdir()} == {
        *("drift.json", "displacements.safetensors", "figures", "index.html")
    }
    for name in FIGURES:
        assert (written / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (written / "figures" / f"{name}.svg").read_text()
    assert len(list((written / "figures").iterdir())) == 3 * len(FIGURES)


def test_the_page_needs_nothing_else_and_says_how_to_read_it(written: Path, small: Drift) -> None:
    page = (written / "index.html").read_text()
    assert page.count("<svg") == len(FIGURES)
    assert not re.findall(r'(?:src|href)="(?!#|data:)', page)
    assert page.count("How to read it") == 8
    for version in small.versions:
        assert version.name in page
    assert "does not show" in page
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL).lower().split()


def test_the_page_can_be_drawn_again(written: Path, small: Drift) -> None:
    read = Drift.read(written)
    assert read.as_json() == small.as_json()
    assert page_of(read, {}) == page_of(small, {})


def test_results_that_are_not(tmp_path: Path, written: Path) -> None:
    with pytest.raises(AnalysisError, match="cannot read"):
        Drift.read(tmp_path)
    path = tmp_path / "drift.json"
    path.write_text('{"format": "other"}')
    with pytest.raises(AnalysisError, match="not the results of langsteer drift"):
        Drift.read(path)
    values = json.loads((written / "drift.json").read_text())
    path.write_text(json.dumps(values | {"format_version": 9}))
    with pytest.raises(AnalysisError, match="format version 9"):
        Drift.read(path)
    del values["versions"][0]["languages"]["sw"]["movement"]["own"]
    path.write_text(json.dumps(values))
    with pytest.raises(AnalysisError, match=r"sw\.movement is damaged: it has no own"):
        Drift.read(path)


def test_the_summary_is_true_of_the_numbers(small: Drift) -> None:
    sft, dpo = small.versions[1:]
    text = " ".join(summary(small, sft))
    assert "6 of 6 beyond what 95% of random vectors reach (0.3 expected by chance)" in text
    raw = sum(f.movement.raw[2] for f in sft.languages.values()) / 6
    assert f"moved mean states at layer 2 by {raw:.1%}" in text
    assert "greatest at layer 3" in text
    assert "It crosses" in " ".join(summary(small, dpo))


# The command


def test_the_command(
    folders: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gains = tmp_path / "gains.json"
    gains.write_text('{"lora": {"sw": 1.5, "et": 2, "tr": -1}}')
    asked = [
        *("drift", str(folders / "base"), f"lora={folders / 'adapter'}", "-l", "swh,et,tr"),
        *("-n", "30", "--draws", "30", "-o", str(tmp_path / "out"), "--gains", str(gains)),
    ]
    code, out, err = run(capsys, *asked)
    assert code == 0, err
    plain = " ".join(out.split())
    assert "lora, layer 2" in plain
    assert "Swahili" in plain
    assert "3 languages are too few to say anything" in plain
    assert "index.html" in plain
    monkeypatch.setattr("langsteer.analysis.drift.page.write_report", lambda *_: [])
    code, out, _ = run(capsys, *asked, "--json")
    assert code == 0
    assert json.loads(out) == json.loads((tmp_path / "out" / "drift.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{base}"], "name a tuned version"),
        (["{base}", "{none}"], "there is no model"),
        (["{base}", "{base}", "-l", "qx"], "no language has the tag 'qx'"),
        (["{base}", "{base}", "-l", "en"], "is the pivot"),
        (["{base}", "{base}", "-l", "sw", "--gains", "{none}"], "cannot read"),
        (["{base}", "{base}", "-l", "sw", "--layer", "7"], "has no layer 7"),
        (["{base}", "{base}", "-l", "sw", "-v", "{none}"], "there is no vector file"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    message: str,
    folders: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = {"base": str(folders / "base"), "none": str(tmp_path / "none")}
    asked = [part.format(**words) for part in arguments]
    code, _, err = run(capsys, "drift", *asked, "-n", "30", "-o", str(tmp_path / "out"))
    assert code == 1
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "out" / "drift.json").exists()
