"""The order of learning, and a run that was stopped."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("peft")
pytest.importorskip("trl")


from langsteer.model.model import Model
from langsteer.model.opening import load_model
from langsteer.tuning import SftOptions, sft, training
from tests.made.instructions import FAST, logits, toy


def test_the_order_of_learning() -> None:
    lengths = list(range(1, 24))
    options = SftOptions(batch=4, epochs=2)
    order = training.schedule(lengths, options)
    assert order == training.schedule(lengths, options)
    assert len(order) == 12 * 4
    assert len(set(order[:20])) == 20
    spread = [max(order[i : i + 4]) - min(order[i : i + 4]) for i in range(0, 40, 4)]
    assert max(spread) < 8
    assert len(training.schedule(lengths[:2], SftOptions(batch=8, steps=3))) == 6


def test_a_stopped_run_goes_on(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from langsteer.tuning.sft import _Sft

    options = SftOptions(**FAST | {"steps": 10, "dropout": 0.1})
    whole = sft(model, toy(), tmp_path / "whole", options=options)
    loss, steps = _Sft.loss, 0

    def interrupted(*args: Any) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == 8:
            raise KeyboardInterrupt
        return loss(*args)

    torch.rand(3)  # what was drawn before does not matter
    monkeypatch.setattr(_Sft, "loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sft(model, toy(), tmp_path / "parts", options=options)
    assert not (tmp_path / "parts").exists()
    work = tmp_path / "parts.part"
    assert (work / "checkpoints" / "checkpoint-6").is_dir()
    shutil.copytree(work, tmp_path / "again.part")
    steps = 100
    parts = sft(model, toy(), tmp_path / "parts", options=options)
    assert steps == 104
    assert not work.exists()
    assert parts.after["all"] == pytest.approx(whole.after["all"], rel=1e-4)
    assert parts.before == whole.before
    one, other = (load_model(tmp_path / name) for name in ("whole", "parts"))
    torch.testing.assert_close(logits(one), logits(other), atol=1e-4, rtol=1e-4)
    # with other options it begins anew
    steps = 100
    sft(model, toy(), tmp_path / "again", options=replace(options, rate=0.01))
    assert steps == 110
