import math
import sys
import types
from typing import Any

import numpy as np
import pytest
import torch

from langsteer.analysis.layers.maps import draw_map
from langsteer.errors import (
    AnalysisError,
    MissingExtraError,
)
from tests.made.analysis import noise, planted, rotation


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
