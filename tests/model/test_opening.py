import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from langsteer.errors import MissingExtraError, ModelError
from langsteer.model.opening import as_model, check_layers, load_model, wrap_model
from tests.helpers import LAYERS, build_model, build_network, character_tokenizer


def test_a_local_folder_and_its_dtype(tmp_path: Path) -> None:
    network = build_network("qwen3")
    network.save_pretrained(tmp_path)
    character_tokenizer().save_pretrained(tmp_path)
    model = load_model(tmp_path)
    assert model.fingerprint["weights"] == wrap_model(network).fingerprint["weights"]
    assert load_model(tmp_path, dtype="bfloat16").dtype == torch.bfloat16
    assert load_model(tmp_path, device_map="cpu").layers == LAYERS
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="not a complete checkpoint"):
        load_model(tmp_path)


def test_parts_named_by_hand() -> None:
    network = build_network("llama")
    network.model.middle = network.model.layers
    other = build_network("llama")
    other.model.extra = nn.ModuleList(nn.Linear(2, 2) for _ in range(LAYERS))
    with pytest.raises(ModelError, match="Name its parts by hand"):
        wrap_model(other)
    model = wrap_model(network, blocks="model.layers", norm="model.norm", head="lm_head")
    assert model.layers == LAYERS
    with pytest.raises(ModelError, match=r"has no module 'model\.nothing'"):
        wrap_model(network, blocks="model.nothing")


def test_what_is_not_a_causal_language_model(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        vocab_size=128,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    transformers.BertForMaskedLM(config).save_pretrained(tmp_path)
    character_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="causal"):
        load_model(tmp_path)


def test_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"no model .*nobody/nothing"):
        load_model("nobody/nothing")
    with pytest.raises(ModelError, match="there is no file"):
        load_model(tmp_path / "a.gguf")


@pytest.mark.parametrize("open_it", [load_model, lambda name: check_layers(name, [])])
def test_a_mistyped_short_name(open_it: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is not asked."""
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", None)
    with pytest.raises(ModelError, match="did you mean gemma-3-270m, or OWNER/gemma-3-270 on"):
        open_it("gemma-3-270")


def test_layers_are_told_without_weights(tmp_path: Path) -> None:
    build_network("llama").config.save_pretrained(tmp_path)
    check_layers(tmp_path, [0, 3])
    for layer in (-1, 4):
        with pytest.raises(ModelError, match=f"has no layer {layer}: its layers are 0 to 3"):
            check_layers(tmp_path, [0, layer])
    (tmp_path / "config.json").write_text("{")
    check_layers(tmp_path, [4])  # load_model says what is wrong


def test_an_adapter_without_peft(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"a PEFT adapter, needs peft.*langsteer\[train\]"):
        load_model(tmp_path)


def test_a_model_is_left_as_it_is() -> None:
    model = build_model("llama")
    assert as_model(model) is model
    assert as_model(model.network).fingerprint == model.fingerprint
    with pytest.raises(ModelError, match="int is not a transformers model"):
        as_model(3)
