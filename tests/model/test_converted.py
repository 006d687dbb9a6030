import os
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from langsteer.errors import ModelError, SaveError
from langsteer.fitting.learning import fit
from langsteer.model.converted import cache_folder
from langsteer.model.model import Model
from langsteer.model.opening import load_model
from langsteer.steering.generation import generate
from langsteer.text.corpus import builtin
from tests.helpers import VOCABULARY, build_network

_NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; converted models go to `models/` in it."""
    monkeypatch.setenv("LANGSTEER_CACHE", str(tmp_path / "cache"))
    return cache_folder()


@pytest.fixture
def llama_gguf(tmp_path: Path) -> Path:
    return write_gguf(build_network("llama"), tmp_path / "tiny.gguf")


@pytest.fixture(scope="session")
def smollm() -> Model:
    """SmolLM2, converted into the user's cache the first time."""
    try:
        return load_model("smollm2-135m")
    except ModelError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"SmolLM2 is not here: {error}")


def write_gguf(network: Any, path: Path) -> Path:
    """A Llama as llama.cpp's converter writes it, with a tokeniser of single characters."""
    config = network.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    add_tokenizer(writer)
    for name, weight in network.state_dict().items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            weight = interleaved(weight, heads)
        writer.add_tensor(gguf_name(name), weight.numpy().astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_tokenizer(writer: gguf.GGUFWriter) -> None:
    characters = [chr(i) for i in range(33, 127)] + ["Ġ", "Ċ"]  # space and newline in byte BPE
    tokens = ["<pad>", "<s>", "</s>", *characters, "th"]
    tokens += [f"<unused{i}>" for i in range(VOCABULARY - len(tokens))]
    normal, control = int(gguf.TokenType.NORMAL), int(gguf.TokenType.CONTROL)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [control if token.startswith("<") and token != "<" else normal for token in tokens]
    )
    writer.add_token_merges(["t h"])
    writer.add_pad_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def gguf_name(name: str) -> str:
    whole = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in whole:
        return whole[name]
    _, _, block, part = name.split(".", 3)
    return f"blk.{block}.{_NAMES[part.removesuffix('.weight')]}.weight"


def interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """The rows in the order in which llama.cpp rotates them."""
    parts = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return parts.swapaxes(1, 2).reshape(weight.shape)


@torch.inference_mode()
def test_a_gguf_file_is_converted_once(
    llama_gguf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = torch.arange(3, 60)[None]
    wanted = build_network("llama")(ids).logits
    first = load_model(llama_gguf)
    torch.testing.assert_close(first.network(ids).logits, wanted, atol=1e-6, rtol=1e-5)
    assert first.tokenizer("this")["input_ids"][-3:] == first.tokenizer.convert_tokens_to_ids(
        ["th", "i", "s"]
    )
    monkeypatch.setattr("langsteer.model.converted._convert", None)  # calling it again would raise
    second = load_model(llama_gguf)
    assert torch.equal(second.network(ids).logits, first.network(ids).logits)
    assert second.fingerprint == first.fingerprint
    assert [p.name for p in (cache / "models").iterdir() if p.is_dir()] != []


@pytest.mark.parametrize("kept", [0, 3, 100, 5000, -1])
def test_a_truncated_gguf_leaves_nothing_behind(llama_gguf: Path, cache: Path, kept: int) -> None:
    data = llama_gguf.read_bytes()
    llama_gguf.write_bytes(data[:kept])
    check_refused(llama_gguf, cache)


@pytest.mark.parametrize("content", [b"hello\n" * 50, b"GGUF" + b"\xff" * 200, bytes(300)])
def test_what_is_not_gguf_leaves_nothing_behind(
    tmp_path: Path, cache: Path, content: bytes
) -> None:
    path = tmp_path / "notes.gguf"
    path.write_bytes(content)
    check_refused(path, cache)


def check_refused(path: Path, cache: Path) -> None:
    with pytest.raises(ModelError, match=path.name) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert not [p for p in cache.rglob("*") if p.is_dir() and p.name != "models"]


def test_a_control_vector_is_not_a_model(tmp_path: Path, cache: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "v.gguf", "controlvector")
    writer.add_tensor("direction.1", np.zeros(4, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    check_refused(tmp_path / "v.gguf", cache)


def test_a_cache_that_cannot_be_written(
    llama_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LANGSTEER_CACHE", str(tmp_path / "file"))
    with pytest.raises(SaveError, match="LANGSTEER_CACHE"):
        load_model(llama_gguf)


def test_a_full_disk_leaves_nothing_behind(
    llama_gguf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Any, folder: Path) -> None:
        folder.mkdir()
        raise SafetensorError("No space left on device (os error 28)")

    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", full)
    with pytest.raises(SaveError, match=r"No space left on device.*LANGSTEER_CACHE"):
        load_model(llama_gguf)
    assert not [p for p in (cache / "models").iterdir() if p.is_dir()]


def test_smollm_is_fitted_and_steered(smollm: Model) -> None:
    assert (smollm.layers, smollm.hidden_size, smollm.vocab_size) == (30, 576, 49152)
    vector = fit(smollm, builtin("es").lines(range(8)))
    assert vector.corpus["lines"] == 8
    plain, steered = (
        generate(smollm, ["La capital de Francia es"], used, max_new_tokens=6)[0]
        for used in (None, vector)
    )
    assert plain.strip()
    assert steered != plain


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is named first, then where version 0.1 had it, then where the system wants it."""
    monkeypatch.delenv("LANGSTEER_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "earlier"))
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name, **_: tmp_path / "new" / name)
    assert cache_folder() == tmp_path / "new" / "langsteer"
    (tmp_path / "earlier" / "langsteer").mkdir(parents=True)
    assert cache_folder() == tmp_path / "earlier" / "langsteer"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert cache_folder() == tmp_path / "new" / "langsteer"
    (tmp_path / "home" / ".cache" / "langsteer").mkdir(parents=True)
    assert cache_folder() == tmp_path / "home" / ".cache" / "langsteer"
    monkeypatch.setenv("LANGSTEER_CACHE", str(tmp_path / "named"))
    assert cache_folder() == tmp_path / "named"
