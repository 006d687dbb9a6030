"""Adapters and their bases: tuned further, written, opened."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("peft")
pytest.importorskip("trl")


from langsteer.errors import ModelError, TuneError
from langsteer.model.model import Model
from langsteer.model.opening import load_model, wrap_model
from langsteer.tuning import SftOptions, sft
from langsteer.tuning.adapter import adapted, save_adapter
from tests.made.instructions import FAST, logits, toy


def test_an_adapter_is_tuned_further(model: Model, folder: Path, tmp_path: Path) -> None:
    options = SftOptions(**FAST | {"steps": 3, "rank": 4})
    sft(model, toy(), tmp_path / "one", options=options)
    opened = load_model(tmp_path / "one")
    start = logits(opened)
    further = SftOptions(**FAST | {"steps": 3})
    result = sft(opened, toy(), tmp_path / "two", options=further)
    assert torch.equal(logits(opened), start)
    config = json.loads((tmp_path / "two" / "adapter_config.json").read_text())
    assert (config["r"], config["base_model_name_or_path"]) == (4, str(folder))
    assert not torch.equal(logits(load_model(tmp_path / "two")), start)
    assert result.model == str(tmp_path / "one")
    with pytest.raises(TuneError, match="has rank 4, not 2"):
        sft(opened, toy(), tmp_path / "three", options=replace(further, rank=2))


def test_an_adapter_of_a_named_model(gemma: Model, tmp_path: Path) -> None:
    tuned = adapted(gemma, SftOptions(rank=2))
    for name, parameter in tuned.network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    save_adapter(tuned, tmp_path / "a")
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "gemma-3-270m"
    opened = load_model(tmp_path / "a")
    assert opened.tokenizer.eos_token == "<eos>"
    tuned.network.eval()
    assert torch.equal(logits(opened, "Habari"), logits(tuned, "Habari"))
    assert not torch.equal(logits(opened, "Habari"), logits(gemma, "Habari"))


def test_adapters_that_cannot_be_opened(model: Model, folder: Path, tmp_path: Path) -> None:
    save_adapter(adapted(model, SftOptions()), tmp_path / "a")
    file = tmp_path / "a" / "adapter_config.json"
    config = json.loads(file.read_text())
    for base, message in (
        ("none.gguf", "needs its base model: there is no file none.gguf"),
        (None, "does not say which model"),
        (str(tmp_path / "a"), "is an adapter itself"),
    ):
        file.write_text(json.dumps(config | {"base_model_name_or_path": base}))
        with pytest.raises(ModelError, match=message):
            load_model(tmp_path / "a")


def test_another_makers_adapter_opens_with_its_bases_tokeniser(
    model: Model, folder: Path, tmp_path: Path
) -> None:
    import peft

    config = peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    network = peft.get_peft_model(load_model(folder).network, config)
    network.save_pretrained(tmp_path / "a")
    opened = load_model(tmp_path / "a")
    assert torch.equal(logits(opened), logits(wrap_model(network, model.tokenizer)))
