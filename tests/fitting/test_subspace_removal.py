"""Subspace removal: which subspace it is, and that its component goes and comes back."""

from pathlib import Path
from typing import Any

import pytest
import torch

from langsteer import load
from langsteer.errors import FitError, SaveError
from langsteer.fitting.learning import fit, learn, learn_all
from langsteer.fitting.subspace_removal import SubspaceOptions, language_subspace
from langsteer.model.model import Model
from langsteer.steering.low_rank import LowRank
from langsteer.steering.sequence import ChangeSequence
from langsteer.text.corpus import ParallelCorpus
from tests.helpers import pairs
from tests.made.multilingual import mean_at, three_languages, token_states


def test_the_subspace_of_means_by_hand() -> None:
    means = torch.tensor([[3.0, -1.0, 1.0], [5.0, 5.0, 5.0], [0.0, 0.0, 4.0]]).double()
    basis = language_subspace(means)
    assert basis.shape == (3, 2)
    torch.testing.assert_close(basis.T @ basis, torch.eye(2).double())
    torch.testing.assert_close(basis[1], torch.zeros(2).double())  # in which all are alike
    first = language_subspace(means, 1)
    torch.testing.assert_close(first.abs(), basis[:, :1].abs())
    centred = means - means.mean(1, keepdim=True)
    left_over = centred - first @ first.T @ centred
    assert left_over.norm() == pytest.approx(float(torch.linalg.svdvals(centred)[1]))
    with pytest.raises(FitError, match="3 languages differ in 2 directions, and 3 are asked for"):
        language_subspace(means, 3)
    with pytest.raises(FitError, match="2 languages differ in 0 directions, and 0 are asked for"):
        language_subspace(means[:, [0, 0]])


@pytest.mark.parametrize("centre", ["pivot", "origin"])
def test_the_component_is_gone_in_the_middle_and_comes_back_at_the_top(
    centre: str, llama: Model
) -> None:
    text = three_languages()
    options: dict[str, Any] = {
        "centre": centre,
        "removed": 1.0,
        "restored": 0.5,
        "middle": (0.25, 0.5),
        "top": (0.75, 1.0),
    }
    change = fit(llama, text, "sw", "subspace_removal", **options)
    assert isinstance(change, ChangeSequence)
    removing, restoring = change.parts
    assert isinstance(removing, LowRank)
    assert isinstance(restoring, LowRank)
    assert (removing.layer, restoring.layer, removing.rank) == (1, 3, 3)
    lines = text.texts["sw"]
    states, before = (token_states(llama, lines, 1, steered) for steered in (change, None))
    assert (before @ removing.up).norm() > 0.1
    share = 1.0 if centre == "pivot" else 0.0
    middle, late = (share * mean_at(llama, text.texts["en"], at).float() for at in (1, 3))
    torch.testing.assert_close(
        states @ removing.up, (middle @ removing.up).expand(len(states), 3), atol=1e-5, rtol=1e-4
    )
    rest = torch.eye(32) + removing.up @ removing.down
    torch.testing.assert_close(states @ rest, before @ rest)  # what is beside it is left
    without = ChangeSequence((removing,))
    top, unrestored = (token_states(llama, lines, 3, steered) for steered in (change, without))
    component = (unrestored - late) @ restoring.down.T @ restoring.down
    torch.testing.assert_close(top, unrestored + 0.5 * component)


def test_it_is_of_all_languages_that_there_are(llama: Model) -> None:
    text = three_languages()
    change = fit(llama, text, "sw", "subspace_removal", layer=1, restored=0)
    (part,) = change.parts
    assert isinstance(part, LowRank)
    assert part.options["languages"] == ["sw", "et", "tr", "en"]
    for tag in text.languages:
        apart = (mean_at(llama, text.texts[tag], 1) - mean_at(llama, text.texts["en"], 1)).float()
        torch.testing.assert_close(part.up @ (part.down @ apart), -apart, atol=1e-5, rtol=1e-4)
    alone = fit(llama, text.only("sw"), method="subspace_removal", layer=1, restored=0)
    (pair,) = alone.parts
    assert isinstance(pair, LowRank)
    apart = mean_at(llama, text.texts["sw"], 1) - mean_at(llama, text.texts["en"], 1)
    torch.testing.assert_close(
        (pair.down @ apart.float()).abs(), apart.norm().float().reshape(1), atol=1e-5, rtol=1e-4
    )


def test_learned_and_kept(llama: Model, tmp_path: Path) -> None:
    text = three_languages(60)
    files = {tag: tmp_path / f"{tag}.safetensors" for tag in text.languages}
    learned = learn_all(llama, text, "subspace_removal", files=files)
    change = learned["sw"]
    assert (change.method, change.positions, change.layers) == (
        "subspace_removal",
        "all",
        (1, 2, 3),
    )
    assert [trial["strength"] for trial in change.scores["trials"]] == [0.25, 0.5, 1.0]
    best = min(change.scores["trials"], key=lambda trial: trial["divergence"])
    assert change.strength == best["strength"]
    assert load(files["sw"], llama).describe() == change.describe()
    assert change.parts[0].options["languages"] == ["sw", "et", "tr", "en"]
    before = files["sw"].stat().st_mtime_ns
    learn_all(llama, text, "subspace_removal", files=files)
    assert files["sw"].stat().st_mtime_ns == before
    files = {"sw": files["sw"]}
    with pytest.raises(SaveError, match="made otherwise"):  # of fewer languages
        learn_all(llama, text.only("sw"), "subspace_removal", files=files)
    alone = learn(llama, text, "sw", "subspace_removal", layers=[0, 2], strengths=[1.0])
    assert alone.layers == (0, 2, 3)


def test_what_cannot_be_removed(llama: Model) -> None:
    text = pairs(12)
    with pytest.raises(FitError, match="differ in 1 directions, and 2 are asked for"):
        fit(llama, text, method="subspace_removal", rank=2)
    with pytest.raises(FitError, match=r"rise from 0 to 1, and not from 0.9 to 0.2"):
        fit(llama, text, method="subspace_removal", middle=(0.9, 0.2))
    with pytest.raises(FitError, match="centre should be 'pivot' or 'origin', not 'english'"):
        fit(llama, text, method="subspace_removal", centre="english")
    same = ParallelCorpus(dict.fromkeys(("sw", "en"), text.texts["en"]), "en", "same")
    with pytest.raises(FitError, match="differ in 0 directions"):
        fit(llama, same, method="subspace_removal")
    assert SubspaceOptions(positions="source").acts_at == "source"
