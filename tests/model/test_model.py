from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from langsteer.errors import ModelError
from langsteer.model.model import Model, load_model, wrap_model
from tests.helpers import (
    ARCHITECTURES,
    LAYERS,
    build_model,
    build_network,
    character_tokenizer,
    tiny,
)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_parts_of_every_architecture(architecture: str) -> None:
    model = tiny(architecture)
    assert model.layers == LAYERS
    assert model.hidden_size == 32
    assert model.norm is not None
    assert model.head is model.network.get_output_embeddings()
    ids = torch.tensor([[1, 20, 21, 22]])
    found: list[torch.Tensor] = []
    hook = model.norm.register_forward_hook(lambda m, a, o: found.append(o))
    with torch.inference_mode():
        output = model.run_decoder({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    hook.remove()
    assert torch.equal(found[-1], output)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_a_block_at_a_time(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langsteer.model.model.LOGIT_BLOCK", 50)
    model = tiny(architecture)
    states = torch.randn(3, model.hidden_size)
    with torch.inference_mode():
        whole = model.logits_of(states)
        blocks = dict(model.logit_blocks(states))
    assert list(blocks) == list(range(0, whole.shape[-1], 50))
    assert torch.allclose(torch.cat(list(blocks.values()), -1), whole, atol=1e-6)


def test_a_head_that_looks_at_all_logits_is_left_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langsteer.model.model.LOGIT_BLOCK", 50)
    model = build_model("llama")
    own = model.network.forward

    def normalised(*args: Any, **kwargs: Any) -> Any:
        output = own(*args, **kwargs)
        output.logits = output.logits.log_softmax(-1)
        return output

    model.network.forward = normalised
    states = torch.randn(3, model.hidden_size)
    with torch.inference_mode():
        [(start, logits)] = model.logit_blocks(states)
        assert start == 0
        assert torch.equal(logits, model.logits_of(states))


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


def test_the_real_model(gemma: Model) -> None:
    assert (gemma.layers, gemma.hidden_size, gemma.vocab_size) == (18, 640, 262144)
    assert gemma.bos_id == 2
