import math
import sys

import numpy as np
import pytest
import torch

from langsteer.analysis.layers import identity
from langsteer.analysis.layers.identity import (
    between_share,
    identities,
    nearest_share,
    probe_languages,
)
from langsteer.errors import (
    MissingExtraError,
)
from langsteer.model.model import Model
from tests.made.analysis import noise, planted


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


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, llama: Model) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(
        MissingExtraError, match=r"scikit-learn: pip install 'langsteer\[analysis\]'"
    ):
        probe_languages([noise(4, 3), noise(4, 3, seed=1)])
    assert identity.FOLDS == 5
