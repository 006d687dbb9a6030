from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from langsteer.analysis.layers import lens
from langsteer.analysis.layers.lens import TunedLens, read_out, token_shares
from langsteer.analysis.layers.reading import read_texts
from langsteer.errors import (
    AnalysisError,
)
from langsteer.model.model import Model
from langsteer.model.tokens import encode
from tests.helpers import ARCHITECTURES, tiny
from tests.made.analysis import TEXTS, noise, translators


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
