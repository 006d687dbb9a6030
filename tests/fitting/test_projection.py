from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from langsteer.errors import FitError, ModelError, VectorError
from langsteer.fitting.learning import learn
from langsteer.fitting.mean_difference import fit_layers
from langsteer.fitting.projection import (
    Moments,
    ProjectionOptions,
    fit,
    pair_moments,
)
from langsteer.model.model import Model
from langsteer.states.intervention import intervene
from langsteer.steering.projection import Projection
from langsteer.text.corpus import ParallelCorpus
from tests.helpers import ARCHITECTURES, batch, pairs, tiny


def planted(
    seed: int, size: int, pairs: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """States, their images under a random affine map, the map and its offset."""
    random = torch.Generator().manual_seed(seed)
    here, matrix, offset = (
        torch.randn(*shape, generator=random, dtype=torch.float64)
        for shape in ((pairs, size), (size, size), (size,))
    )
    return here, here @ matrix.T + offset, matrix, offset


def moments_of(here: torch.Tensor, there: torch.Tensor, chunk: int = 7) -> Moments:
    moments = Moments(here.shape[1])
    for start in range(0, len(here), chunk):
        moments.add(here[start : start + chunk], there[start : start + chunk])
    return moments


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 12), st.integers(3, 40), st.integers(1, 50))
def test_a_planted_map_is_found(seed: int, size: int, more: int, chunk: int) -> None:
    here, there, matrix, offset = planted(seed, size, 4 * size + more)
    found, found_offset = moments_of(here, there, chunk).solve(0.0, intercept=True)
    torch.testing.assert_close(found, matrix, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(found_offset, offset, atol=1e-6, rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 8), st.floats(0, 10), st.booleans())
def test_the_identity_when_the_languages_coincide(
    seed: int, size: int, ridge: float, intercept: bool
) -> None:
    here, *_ = planted(seed, size, 3 * size)
    matrix, offset = moments_of(here, here).solve(ridge, intercept)
    assert torch.equal(matrix, torch.eye(size, dtype=torch.float64))
    assert not offset.any()


def test_it_is_numpys_least_squares() -> None:
    here, there, *_ = planted(3, 6, 40)
    there = there + torch.randn(there.shape, generator=torch.Generator().manual_seed(1)).double()
    matrix, offset = moments_of(here, there).solve(0.0, intercept=False)
    expected = np.linalg.lstsq(here.numpy(), there.numpy(), rcond=None)[0].T
    np.testing.assert_allclose(matrix.numpy(), expected, rtol=1e-8, atol=1e-8)
    assert not offset.any()
    ones = np.concatenate([here.numpy(), np.ones((40, 1))], 1)
    expected = np.linalg.lstsq(ones, there.numpy(), rcond=None)[0].T
    matrix, offset = moments_of(here, there).solve(0.0, intercept=True)
    np.testing.assert_allclose(matrix.numpy(), expected[:, :-1], rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(offset.numpy(), expected[:, -1], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("intercept", [True, False])
def test_it_is_ridge_regression_towards_the_identity(intercept: bool) -> None:
    here, there, *_ = planted(5, 6, 30)
    matrix, _ = moments_of(here, there).solve(0.2, intercept)
    h, e = here.numpy(), there.numpy()
    if intercept:
        h, e = h - h.mean(0), e - e.mean(0)
    weight = 0.2 * np.mean(np.sum(h**2, 0))
    # The penalty as six more observations of the identity.
    rows = np.concatenate([h, np.sqrt(weight) * np.eye(6)])
    targets = np.concatenate([e, np.sqrt(weight) * np.eye(6)])
    expected = np.linalg.lstsq(rows, targets, rcond=None)[0].T
    np.testing.assert_allclose(matrix.numpy(), expected, rtol=1e-8, atol=1e-8)


def test_fewer_pairs_than_dimensions_fit_exactly_and_stay_near_the_identity() -> None:
    here, there, *_ = planted(2, 12, 5)
    matrix, offset = moments_of(here, there).solve(0.0, intercept=False)
    torch.testing.assert_close(here @ matrix.T + offset, there, atol=1e-6, rtol=1e-6)
    step = np.linalg.lstsq(here.numpy(), (there - here).numpy(), rcond=None)[0].T
    np.testing.assert_allclose(matrix.numpy(), np.eye(12) + step, rtol=1e-6, atol=1e-6)


def test_a_great_ridge_gives_the_mean_difference(llama: Model) -> None:
    text = pairs(12)
    projection = fit(llama, text, ProjectionOptions(layers=(1,), ridge=1e9, intercept=True))
    torch.testing.assert_close(projection.maps[1], torch.eye(32), atol=1e-6, rtol=0)
    vector = fit_layers(llama, text, [1])[0]
    torch.testing.assert_close(projection.offsets[1], vector.values, atol=1e-5, rtol=1e-4)


def test_the_moments_do_not_depend_on_how_lines_are_batched(
    llama: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    from langsteer.fitting import projection

    whole = pair_moments(llama, pairs(20), [0, 2])
    monkeypatch.setattr(projection, "CHUNK", 3)
    parts = pair_moments(llama, pairs(20), [0, 2])
    for layer in (0, 2):
        assert parts[layer].count == 20
        torch.testing.assert_close(parts[layer].gram, whole[layer].gram, atol=1e-3, rtol=1e-5)
        torch.testing.assert_close(parts[layer].cross, whole[layer].cross, atol=1e-3, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_source_tokens_are_mapped_and_others_left(architecture: str) -> None:
    model = tiny(architecture)
    random = torch.Generator().manual_seed(0)
    matrix = torch.randn(32, 32, generator=random) / 6
    offset = torch.randn(32, generator=random)
    inputs = batch(model, "left")
    mask = torch.zeros_like(inputs["input_ids"], dtype=torch.bool)
    mask[:, -3:-1] = True
    for form in ("blend", "add"):
        projection = make_projection(model, {1: matrix}, {1: offset}, strength=0.25, form=form)
        plain, changed = [], []
        for found, steered in ((plain, False), (changed, True)):
            hook = model.blocks[1].register_forward_hook(
                lambda m, a, o, found=found: found.append(o[0] if isinstance(o, tuple) else o)
            )
            if steered:
                with projection.applied(model, mask=mask), watch(model, 1, found):
                    model.run_decoder(inputs)
            else:
                model.run_decoder(inputs)
            hook.remove()
        before, after = plain[0], changed[-1]
        image = before @ matrix.T + offset
        wanted = 0.75 * before + 0.25 * image if form == "blend" else before + 0.25 * image
        torch.testing.assert_close(after[mask], wanted[mask], atol=1e-5, rtol=1e-4)
        assert torch.equal(after[~mask], before[~mask])


def watch(model: Model, layer: int, found: list[torch.Tensor]):  # type: ignore[no-untyped-def]
    """Read the layer's output after the hooks that are already there."""
    import contextlib

    @contextlib.contextmanager
    def reading():  # type: ignore[no-untyped-def]
        hook = model.blocks[layer].register_forward_hook(
            lambda m, a, o: found.append(o[0] if isinstance(o, tuple) else o)
        )
        yield
        hook.remove()

    return reading()


@torch.inference_mode()
def test_no_alpha_and_a_mask_of_rows(llama: Model) -> None:
    inputs = batch(llama, "left")
    projection = make_projection(llama, {0: torch.zeros(32, 32)}, {0: torch.ones(32)})
    plain = llama.run_decoder(inputs)
    with projection.applied(llama, strength=0.0):
        assert torch.equal(llama.run_decoder(inputs), plain)
    rows = torch.zeros(len(plain), dtype=torch.bool)
    rows[1] = True
    of_rows = [replace(item, rows=rows) for item in projection.interventions()]
    with intervene(llama, of_rows, "prompt"):
        steered = llama.run_decoder(inputs)
    assert torch.equal(steered[~rows], plain[~rows])
    assert not torch.equal(steered[rows], plain[rows])
    assert torch.equal(llama.run_decoder(inputs), plain)


def test_choosing(llama: Model) -> None:
    text = pairs(60)
    one = learned_projection(
        llama, text, method="projection", layers=[1, 2], ridges=(0.1, 1.0), strengths=[0.2, 0.5]
    )
    trials = one.scores["trials"]
    assert len(trials) == 5
    best = min(trials, key=lambda t: t["divergence"])
    assert one.layers == tuple(best["layers"])
    assert (one.options["ridge"], one.strength) == (best["ridge"], best["alpha"])
    assert one.scores["divergence"] == best["divergence"]
    parts = text.split(fit=0.8, choose=0.2, report=0.0)
    assert one.corpus == parts["fit"].describe()
    assert one.scores["chosen_on"] == parts["choose"].describe()
    every = learned_projection(
        llama, text, method="projection_all", ridges=(1.0,), strengths=[0.1, 0.5]
    )
    assert every.layers == (0, 1, 2, 3)


def test_save_and_load(llama: Model, tmp_path: Path) -> None:
    projection = learned_projection(
        llama, pairs(40), method="projection", layers=[1], ridges=(1.0,), strengths=[0.5]
    )
    path = projection.save(tmp_path / "a" / "p.safetensors")
    loaded = Projection.load(path, llama)
    assert torch.equal(loaded.maps[1], projection.maps[1])
    assert torch.equal(loaded.offsets[1], projection.offsets[1])
    for name in (
        "layers",
        "strength",
        "form",
        "positions",
        "language",
        "model",
        "corpus",
        "scores",
    ):
        assert getattr(loaded, name) == getattr(projection, name)
    with pytest.raises(VectorError, match=r"projection .* architecture is llama there"):
        Projection.load(path, tiny("gpt2"))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(VectorError, match="truncated"):
        Projection.load(path)
    save_file({"map.1": torch.zeros(3, 3)}, path)
    with pytest.raises(VectorError, match="not a langsteer projection file"):
        Projection.load(path)
    with pytest.raises(VectorError, match="there is no projection file"):
        Projection.load(tmp_path / "none")


def test_bad_requests(llama: Model) -> None:
    with pytest.raises(FitError, match="too small to fit"):
        fit(llama, pairs(3))
    with pytest.raises(ModelError, match="no layer 40"):
        fit(llama, pairs(8), ProjectionOptions(layers=(40,)))
    with pytest.raises(FitError, match="ridge of 0 or more, not -1"):
        fit(llama, pairs(8), ProjectionOptions(ridge=-1))
    with pytest.raises(VectorError, match="NaN or infinity at layer 0"):
        make_projection(llama, {0: torch.full((32, 32), torch.nan)}, {0: torch.zeros(32)})
    with pytest.raises(VectorError, match=r"shape \[3, 3\]"):
        make_projection(llama, {0: torch.zeros(3, 3)}, {0: torch.zeros(32)})
    with pytest.raises(VectorError, match="no form 'twist'"):
        make_projection(llama, {0: torch.zeros(3, 3)}, {0: torch.zeros(3)}, form="twist")
    with pytest.raises(FitError, match="at least one ridge"):
        learn(llama, pairs(40), method="projection", ridges=())


def learned_projection(*args: Any, **more: Any) -> Projection:
    projection = learn(*args, **more)
    assert isinstance(projection, Projection)
    return projection


def make_projection(
    model: Model, maps: dict[int, torch.Tensor], offsets: dict[int, torch.Tensor], **more: object
) -> Projection:
    about = {"name": model.name, "fingerprint": model.fingerprint}
    return Projection(maps, offsets, "sw", "en", about, **more)  # type: ignore[arg-type]


def test_the_corpus_may_have_several_languages(llama: Model) -> None:
    text = pairs(40)
    both = ParallelCorpus({**text.texts, "de": text.texts["sw"]}, "en", "two")
    projection = learned_projection(
        llama, both, "sw", "projection", layers=[1], ridges=(1.0,), strengths=[0.5]
    )
    assert projection.language == "sw"
