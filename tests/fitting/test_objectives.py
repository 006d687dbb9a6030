import torch

from langsteer.fitting.learning import fit
from tests.helpers import build_model, pairs


def test_contrast_tells_pairs_apart() -> None:
    model = build_model("llama")
    with torch.no_grad():  # else its next-token distributions are all alike
        model.head.weight.mul_(300)
    vector = fit(
        model,
        pairs(15),
        method="learned",
        objective="contrastive",
        suffixes=(" so",),
        batch=15,
        steps=50,
        rate=0.03,
        layer=1,
    )
    assert vector.loss[-1] < 0.9 * vector.loss[0]
