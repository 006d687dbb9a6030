"""ITLC: what of the mean difference lies in the space that tells languages apart."""

from pathlib import Path

import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from langsteer import load
from langsteer.errors import FitError
from langsteer.fitting.itlc import language_space
from langsteer.fitting.learning import fit, learn, learn_all
from langsteer.model.model import Model
from langsteer.states.capture import sentence_states
from langsteer.steering.vector import SteeringVector
from tests.helpers import pairs
from tests.made.multilingual import mean_at, three_languages


def clouds() -> dict[str, torch.Tensor]:
    """Three languages in four dimensions, which the first two tell apart; the third is wide."""
    random = torch.Generator().manual_seed(0)
    centres = {"en": (0.0, 0.0), "sw": (6.0, 0.0), "et": (0.0, 6.0)}
    noise = {tag: torch.randn(400, 4, generator=random).double() for tag in centres}
    wide = torch.tensor([1.0, 1.0, 50.0, 1.0]).double()
    return {
        tag: noise[tag] * wide + torch.tensor([*centre, 0.0, 0.0]).double()
        for tag, centre in centres.items()
    }


def test_the_space_is_that_which_tells_them_apart() -> None:
    space = language_space(clouds(), 100)
    assert space.basis.shape == (4, 2)
    step = space.within(torch.tensor([3.0, 2.0, 40.0, 5.0]).double())
    torch.testing.assert_close(step[:2], torch.tensor([3.0, 2.0]).double(), atol=0.7, rtol=0)
    assert step[2].abs() < 8
    assert step[3].abs() < 1
    torch.testing.assert_close(space.within(step), step)  # it is a projection
    assert language_space(clouds(), 1).basis.shape == (4, 1)


def test_the_step_is_that_of_the_published_pseudoinverse(llama: Model) -> None:
    text = three_languages(40)
    vector = fit(llama, text, "sw", "itlc")
    assert isinstance(vector, SteeringVector)
    assert (vector.layer, vector.strength, vector.positions) == (1, 0.5, "all")
    states = {
        tag: sentence_states(llama, text.texts[tag], [1])[:, 0].double() for tag in text.texts
    }
    rows = torch.cat(list(states.values()))
    deviation = rows.std(0, unbiased=False)
    scaled = ((rows - rows.mean(0)) / deviation).numpy()
    labels = [tag for tag, own in states.items() for _ in own]
    lda = LinearDiscriminantAnalysis(solver="svd", n_components=3).fit(scaled, labels)
    reduced = torch.from_numpy(lda.transform(scaled))
    masks = {tag: torch.tensor([label == tag for label in labels]) for tag in ("sw", "en")}
    apart = reduced[masks["sw"]].mean(0) - reduced[masks["en"]].mean(0)
    back = apart @ torch.linalg.pinv(torch.from_numpy(lda.scalings_[:, :3]))
    torch.testing.assert_close(vector.values, (back * deviation).float(), atol=1e-4, rtol=1e-3)


def test_a_pair_has_one_direction(llama: Model) -> None:
    text = pairs(40)
    vector = fit(llama, text, method="itlc", layer=2)
    assert isinstance(vector, SteeringVector)
    apart = mean_at(llama, text.texts["sw"], 2) - mean_at(llama, text.texts["en"], 2)
    states = torch.cat([sentence_states(llama, lines, [2])[:, 0] for lines in text.texts.values()])
    deviation = states.double().std(0, unbiased=False)
    scaled = vector.values.double() / deviation
    along = (apart / deviation) @ scaled / scaled.norm()
    torch.testing.assert_close(
        along, scaled.norm(), atol=1e-4, rtol=1e-3
    )  # as long as Δ is along it
    assert vector.values.norm() < apart.norm()


def test_learned_of_all_languages_and_read_back(llama: Model, tmp_path: Path) -> None:
    text = three_languages(60)
    files = {tag: tmp_path / f"{tag}.safetensors" for tag in text.languages}
    vector = learn_all(llama, text, "itlc", layers=[2], strengths=[0.75], files=files)["tr"]
    assert (vector.language, vector.strength, vector.layers) == ("tr", 0.75, (2,))
    assert load(files["tr"], llama).describe() == vector.describe()
    alone = learn(llama, text.only("tr"), method="itlc", layers=[2], strengths=[0.75])
    assert isinstance(vector, SteeringVector)
    assert isinstance(alone, SteeringVector)
    assert not torch.allclose(alone.values, vector.values)


def test_what_cannot_be(llama: Model) -> None:
    with pytest.raises(FitError, match="itlc takes one layer"):
        learn(llama, pairs(24), method="itlc", layers=[1, 2])
    with pytest.raises(FitError, match="its option components should be greater than 0, not 0"):
        fit(llama, pairs(12), method="itlc", components=0)
