"""A clamp: what it raises, what it leaves alone, and its file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import langsteer
from langsteer.errors import ExportError, VectorError
from langsteer.export.format import vectors_of
from langsteer.model.model import Model
from langsteer.states.capture import capture
from langsteer.steering.clamp import Clamp
from langsteer.steering.generation import generate
from langsteer.steering.sequence import ChangeSequence
from tests.helpers import make_vector

LAYER = 2


def made(model: Model, level: float = 1.0, **changes: Any) -> Clamp:
    values = torch.randn(model.hidden_size, generator=torch.Generator().manual_seed(1))
    return Clamp(
        values,
        level,
        LAYER,
        "sw",
        "en",
        {"name": model.name, "fingerprint": model.fingerprint},
        "test",
        **{"positions": "all", **changes},
    )


def states(model: Model) -> Tensor:
    return next(iter(capture(model, ["Habari za asubuhi"], [LAYER]))).layers[LAYER][0, 1:]


def along(clamp: Clamp, hidden: Tensor) -> Tensor:
    return hidden @ (clamp.values / clamp.values.norm())


def test_states_below_the_level_are_raised_to_it_and_others_left(llama: Model) -> None:
    before = states(llama)
    level = float(along(made(llama), before).median())
    clamp = made(llama, level)
    with clamp.applied(llama):
        after = states(llama)
    low = along(clamp, before) < level
    assert low.any()
    assert not low.all()
    assert torch.equal(after[~low], before[~low])
    torch.testing.assert_close(
        along(clamp, after[low]), torch.full((int(low.sum()),), level), atol=1e-5, rtol=0
    )
    unit = clamp.values / clamp.values.norm()
    aside = (after - before) - along(clamp, after - before)[:, None] * unit
    torch.testing.assert_close(aside, torch.zeros_like(aside), atol=1e-5, rtol=0)


def test_half_strength_goes_half_of_the_way(llama: Model) -> None:
    before = states(llama)
    clamp = made(llama, float(along(made(llama), before).max()) + 1)
    with clamp.applied(llama, strength=0.5):
        after = states(llama)
    halfway = (along(clamp, before) + clamp.level) / 2
    torch.testing.assert_close(along(clamp, after), halfway, atol=1e-5, rtol=0)


def test_lengths_are_kept_where_asked(llama: Model) -> None:
    before = states(llama)
    with made(llama, 50.0, keeps_length=True).applied(llama):
        after = states(llama)
    torch.testing.assert_close(after.norm(dim=-1), before.norm(dim=-1))
    assert not torch.allclose(after, before)


def test_it_does_not_depend_on_the_length_of_its_direction(llama: Model) -> None:
    clamp = made(llama, 3.0)
    with clamp.applied(llama):
        once = states(llama)
    with replace(clamp, values=clamp.values * 7).applied(llama):
        torch.testing.assert_close(states(llama), once)


def test_saved_and_loaded_alone_and_in_a_sequence(llama: Model, tmp_path: Path) -> None:
    clamp = made(llama, 5.0, keeps_length=True, state_norm=2.0, positions="generated")
    again = langsteer.load(clamp.save(tmp_path / "c.safetensors"), llama)
    assert isinstance(again, Clamp)
    assert torch.equal(again.values, clamp.values)
    assert again.record() == clamp.record()
    both = ChangeSequence((make_vector(llama, positions="prompt"), clamp))
    read = langsteer.load(both.save(tmp_path / "s.safetensors"), llama)
    assert [part.kind.name for part in read.parts] == ["vector", "clamp"]
    texts = [generate(llama, ["abc"], change, max_new_tokens=8) for change in (both, read)]
    assert texts[0] == texts[1]


def test_a_damaged_file_is_refused(llama: Model, tmp_path: Path) -> None:
    clamp = made(llama)
    with pytest.raises(VectorError, match="its level is 'high'"):
        Clamp.from_file(clamp.tensors(), clamp.record() | {"level": "high"})
    with pytest.raises(VectorError, match="one direction and nothing else"):
        Clamp.from_file({}, clamp.record())
    with pytest.raises(VectorError, match="has no length"):
        replace(clamp, values=torch.zeros(4))


def test_no_file_of_another_engine_can_say_it(llama: Model) -> None:
    with pytest.raises(ExportError, match="is a clamp, which depends on the token"):
        vectors_of([made(llama)], "GGUF control vector")
