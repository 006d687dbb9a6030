"""A tiny model of invented weights as a GGUF file, which llama.cpp runs and transformers opens: qwen2, float32."""

from pathlib import Path

import gguf
import numpy as np

HIDDEN, LAYERS, HEADS, KEY_HEADS, INNER = 64, 4, 4, 2, 96
BYTES = 256


def write_model(
    path: Path, kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32
) -> Path:
    """The matrices of the blocks are of `kind`."""
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_name("tiny")
    writer.add_context_length(512)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    _add_tokenizer(writer)
    for name, values in _weights().items():
        if kind != gguf.GGMLQuantizationType.F32 and values.ndim == 2:
            writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: gguf.GGUFWriter) -> None:
    """A token a byte, the two that a merge makes, a beginning and an end."""
    tokens = [*_byte_characters(), "ab", "<|start|>", "<|end|>"]
    kinds = [gguf.TokenType.NORMAL] * (BYTES + 1) + [gguf.TokenType.CONTROL] * 2
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(BYTES + 1)
    writer.add_eos_token_id(BYTES + 2)
    writer.add_pad_token_id(BYTES + 2)


def _byte_characters() -> list[str]:
    """The characters by which GPT-2 writes bytes."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(BYTES) if byte not in shown]
    names = {byte: chr(byte) for byte in shown}
    names |= {byte: chr(BYTES + place) for place, byte in enumerate(hidden)}
    return [names[byte] for byte in range(BYTES)]


def _weights() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)

    def drawn(*shape: int) -> np.ndarray:
        return (draw.standard_normal(shape) * 0.1).astype(np.float32)

    weights = {
        "token_embd.weight": drawn(BYTES + 3, HIDDEN) * 4,
        "output.weight": drawn(BYTES + 3, HIDDEN),
        "output_norm.weight": np.ones(HIDDEN, dtype=np.float32),
    }
    keys = HIDDEN // HEADS * KEY_HEADS
    sizes = {"attn_q": (HIDDEN, HIDDEN), "attn_k": (keys, HIDDEN), "attn_v": (keys, HIDDEN)}
    more = {"attn_output": (HIDDEN, HIDDEN), "ffn_gate": (INNER, HIDDEN)}
    last = {"ffn_up": (INNER, HIDDEN), "ffn_down": (HIDDEN, INNER)}
    for layer in range(LAYERS):
        for name, shape in {**sizes, **more, **last}.items():
            weights[f"blk.{layer}.{name}.weight"] = drawn(*shape)
        for name, shape in sizes.items():
            weights[f"blk.{layer}.{name}.bias"] = drawn(shape[0])
        for name in ("attn_norm", "ffn_norm"):
            weights[f"blk.{layer}.{name}.weight"] = np.ones(HIDDEN, dtype=np.float32)
    return weights
