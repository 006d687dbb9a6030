"""DPO: the loss is trl's, the chosen answers become likelier, a run that was stopped goes on."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("peft")
pytest.importorskip("trl")


from langsteer.errors import TuneError
from langsteer.model.model import Model
from langsteer.model.opening import load_model
from langsteer.tuning import DpoOptions, SftOptions, dpo, job, sft
from langsteer.tuning.adapter import adapted
from langsteer.tuning.answers import answer_logprobs, collate
from langsteer.tuning.data import Instructions
from langsteer.tuning.job import examples
from langsteer.tuning.prompts import PLAIN, prompt_of
from tests.made.instructions import FAST, toy


def test_dpos_loss_is_trls(model: Model, tmp_path: Path) -> None:
    import datasets
    import trl

    from langsteer.tuning.dpo import _Dpo, _rows

    options = DpoOptions(beta=0.3, half=False)
    known = examples(model, toy(3), PLAIN)
    tuned = adapted(model, options)
    for name, parameter in tuned.network.named_parameters():
        if "lora_B" in name:  # an adapter that does something, as an SFT's
            torch.nn.init.normal_(parameter, std=0.05)
    ours = job.Job(tuned, known, [], (), options)
    ours.start = _Dpo().begin(ours)
    prompts = [str(prompt_of(model, PLAIN, e.record)) for e in known]
    texts = [
        {"prompt": p, "chosen": e.record.chosen, "rejected": e.record.rejected}
        for p, e in zip(prompts, known, strict=True)
    ]
    trainer = trl.DPOTrainer(
        model=tuned.network,
        args=trl.DPOConfig(
            str(tmp_path), beta=0.3, bf16=False, use_cpu=True, report_to=[], disable_dropout=True
        ),
        train_dataset=datasets.Dataset.from_list(texts),
        processing_class=model.tokenizer,
    )
    for name, parameter in tuned.network.named_parameters():
        if "lora_B.default" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in (0, 4, 5)])
    theirs = trainer.compute_loss(trainer.model, batch)
    found = _Dpo().loss(ours, _Dpo().inputs(ours, [0, 4, 5]))
    assert len(_rows(known)) == 12
    assert float(found) == pytest.approx(float(theirs), rel=1e-4)
    assert abs(float(found) - math.log(2)) > 1e-3


def test_dpo_prefers_the_chosen_answers(model: Model, folder: Path, tmp_path: Path) -> None:
    sft(model, toy(), tmp_path / "sft", options=SftOptions(**FAST | {"steps": 10}))
    reference = load_model(tmp_path / "sft")
    options = DpoOptions(**FAST | {"steps": 20, "rate": 0.01})
    result = dpo(reference, toy(), tmp_path / "dpo", options=options)
    assert result.before["all"]["loss"] == pytest.approx(math.log(2))
    assert result.before["all"]["reward_accuracy"] == 0.5
    assert result.after["all"]["loss"] < 0.5
    assert result.after["all"]["reward_accuracy"] == 1.0
    assert result.after["sw"]["margin"] > 1
    opened = load_model(tmp_path / "dpo")
    config = json.loads((tmp_path / "dpo" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(folder)
    assert not (tmp_path / "dpo" / "ref").exists()
    (one,) = examples(opened, Instructions(toy().records[:1], "toy"), PLAIN)
    assert one.rejected is not None
    gap = []
    for tuned in (reference, opened):
        with torch.no_grad():
            found = answer_logprobs(tuned, collate(tuned, [one.chosen, one.rejected])).sum(1)
        gap.append(float(found[0] - found[1]))
    assert gap[1] > gap[0] + 1
    with pytest.raises(TuneError, match="the record '0' in en has no rejected answer"):
        dpo(model, Instructions((replace(toy().records[0], rejected=None),), "x"), tmp_path / "x")


def test_a_stopped_dpo_goes_on(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reference is that of the beginning."""
    from langsteer.tuning.dpo import _Dpo

    sft(model, toy(), tmp_path / "sft", options=SftOptions(**FAST | {"steps": 3}))
    reference = load_model(tmp_path / "sft")
    options = DpoOptions(**FAST | {"steps": 10})
    whole = dpo(reference, toy(), tmp_path / "whole", options=options)
    loss, steps = _Dpo.loss, 0

    def interrupted(*args: Any) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == 8:
            raise KeyboardInterrupt
        return loss(*args)

    monkeypatch.setattr(_Dpo, "loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        dpo(reference, toy(), tmp_path / "parts", options=options)
    steps = 100
    parts = dpo(load_model(tmp_path / "sft"), toy(), tmp_path / "parts", options=options)
    assert steps == 104
    assert parts.after["all"] == pytest.approx(whole.after["all"], rel=1e-3)
