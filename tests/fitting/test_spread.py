"""Fitting on a model that is spread over devices, or that is partly on the disk, gives what it gives on one."""

from pathlib import Path
from typing import Any

import pytest
import torch

from langsteer.fitting.learning import fit
from langsteer.model.model import Model
from langsteer.model.opening import wrap_model
from langsteer.steering.vector import SteeringVector
from tests.helpers import build_model, build_network, pairs

accelerate = pytest.importorskip("accelerate")

GPUS = torch.cuda.device_count()
WAYS: dict[str, dict[str, Any]] = {
    "mean_difference": {},
    "learned": {"steps": 8},
    "last_state": {"method": "learned", "objective": "contrastive", "steps": 4},
    "low_rank": {"steps": 6},
    "projection": {},
    "probe": {},
}


def places(first: str | int, last: str | int, layers: int = 4) -> dict[str, str | int]:
    """The first half of a llama on one device and the second on another, with the head."""
    blocks = {f"model.layers.{i}": first if i < layers // 2 else last for i in range(layers)}
    head: str | int = first if last == "disk" else last
    return {
        "model.embed_tokens": first,
        "model.rotary_emb": first,
        "model.norm": head,
        "lm_head": head,
    } | blocks


@pytest.fixture(
    params=[
        pytest.param(("cpu", "disk"), id="disk"),
        pytest.param(("disk", "cpu"), id="disk first"),
        pytest.param(
            (0, "cpu"),
            id="gpu and memory",
            marks=pytest.mark.skipif(GPUS < 1, reason="no GPU here"),
        ),
        pytest.param(
            (0, 1),
            id="two gpus",
            marks=pytest.mark.skipif(GPUS < 2, reason="fewer than two GPUs here"),
        ),
    ]
)
def spread(request: pytest.FixtureRequest, tmp_path: Path) -> Model:
    first, last = request.param
    plain = build_model("llama", seed=6)
    main = 0 if 0 in (first, last) else "cpu"
    parts = places(first, last)
    if first == "disk":
        parts |= {"model.embed_tokens": "cpu", "model.rotary_emb": "cpu"}
    network = accelerate.dispatch_model(
        build_network("llama", seed=6), parts, offload_dir=tmp_path, main_device=main
    )
    return wrap_model(network, plain.tokenizer, name=plain.name)


@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize("way", WAYS)
def test_it_is_that_of_one_device(spread: Model, way: str, layer: int) -> None:
    options = {"method": way, "layer": layer, **WAYS[way]}
    alone = fit(build_model("llama", seed=6), pairs(12), **options)
    apart = fit(spread, pairs(12), **options)
    if isinstance(alone, SteeringVector):
        assert torch.allclose(alone.values, apart.values, rtol=1e-3, atol=1e-6)
    else:
        for name, values in alone.tensors().items():
            assert torch.allclose(values, apart.tensors()[name], rtol=1e-3, atol=1e-6), name
