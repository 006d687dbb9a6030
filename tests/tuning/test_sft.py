"""SFT: it learns, and what it writes opens as what it measured."""

import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("peft")
pytest.importorskip("trl")


from langsteer.model.model import Model
from langsteer.model.opening import load_model
from langsteer.tuning import SftOptions, sft
from langsteer.tuning import folder as folder_module
from langsteer.tuning.adapter import save_adapter
from langsteer.tuning.answers import IGNORED, answer_logprobs, collate
from langsteer.tuning.job import examples
from langsteer.tuning.prompts import PLAIN, template_of
from tests.made.instructions import FAST, logits, toy


def test_sft_learns_and_its_adapter_opens(
    model: Model, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {k: v.clone() for k, v in model.network.state_dict().items()}
    last: list[torch.Tensor] = []

    def watched(tuned: Model, into: Path) -> None:
        last.append(logits(tuned))
        save_adapter(tuned, into)

    monkeypatch.setattr(folder_module, "save_adapter", watched)
    result = sft(model, toy(), tmp_path / "sft", options=SftOptions(**FAST))
    assert all(torch.equal(v, before[k]) for k, v in model.network.state_dict().items())
    for tag in ("all", "en", "sw"):
        assert result.after[tag]["loss"] < result.before[tag]["loss"] / 2
    assert result.records == {"all": 16, "en": 8, "sw": 8}
    assert result.held_out == {"all": 4, "en": 2, "sw": 2}
    assert (result.steps, result.too_long, result.kept) == (40, 0, False)
    opened = load_model(tmp_path / "sft")
    torch.testing.assert_close(logits(opened), last[0], rtol=0, atol=0)
    assert not torch.equal(last[0], logits(model))
    names = {path.name for path in (tmp_path / "sft").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "langsteer.json"} <= names
    assert "README.md" not in names
    assert [path.name for path in tmp_path.iterdir()] == ["sft"]
    config = json.loads((tmp_path / "sft" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(folder)
    assert opened.tokenizer.chat_template == PLAIN
    assert getattr(model.tokenizer, "chat_template", None) is None


def test_what_was_measured_is_what_the_opened_adapter_gives(model: Model, tmp_path: Path) -> None:
    options = SftOptions(**FAST | {"steps": 5})
    result = sft(model, toy(), tmp_path / "sft", options=options)
    opened = load_model(tmp_path / "sft")
    held = examples(opened, toy().split(0.2)[1], template_of(opened))
    total = tokens = 0.0
    for row in (e.chosen for e in held):
        with torch.no_grad():
            total -= float(answer_logprobs(opened, collate(opened, [row])).sum())
        tokens += sum(label != IGNORED for label in row["labels"])
    assert result.after["all"]["loss"] == pytest.approx(total / tokens, rel=1e-4)
