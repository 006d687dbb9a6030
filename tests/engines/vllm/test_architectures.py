"""Blocks of many architectures return their states in many ways; what is added comes out the same."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from langsteer.extras import installed
from langsteer.steering.change import steer
from langsteer.steering.folder import load
from tests.helpers import build_model, make_vector

pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(not installed("vllm"), reason="vLLM is not installed"),
]
SIZES = {"hidden_size": 128, "num_attention_heads": 4}  # heads of 32, which is the least
HEADED = ("qwen3", "gemma2", "gemma3", "qwen3_moe")
NAMES = (
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3",
    "cohere",
    "gpt2",
    "gpt_neox",
    "phi3",
    "olmo2",
    "mixtral",
    "qwen3_moe",
)
PROMPTS = [[1, *range(70, 80)], [1, 40, 44, 90, 23, 57]]
WORDS: list[Any] = [None, "sw", {"language": "sw", "positions": "generated"}]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any]]:
    """What vLLM wrote, and what transformers writes, by architecture."""
    path = tmp_path_factory.mktemp("architectures")
    wanted = {name: expected(path / name, name) for name in NAMES}
    told = {"folder": str(path), "names": NAMES, "prompts": PROMPTS, "words": WORDS}
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, str(root / "tests" / "made" / "vllm_architectures.py")],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root / "src")},
        timeout=550,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    got = json.loads(done.stdout.splitlines()[-1])
    return {name: (got[name], wanted[name]) for name in NAMES}


def expected(folder: Path, name: str) -> list[list[int]]:
    """Save the model and a vector; transformers' tokens, for each word and prompt."""
    sizes = {**SIZES, "head_dim": 32} if name in HEADED else SIZES
    model = build_model(name, seed=3, **sizes)
    model.network.save_pretrained(folder / "model")
    model.tokenizer.save_pretrained(folder / "model")
    vector = make_vector(model, 1, language="sw", layer=2, strength=4.0)
    vector.save(folder / "vectors" / "sw.safetensors")
    vector = load(folder / "vectors")  # type: ignore[assignment]
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    tokens = []
    for word in WORDS:
        positions = word["positions"] if isinstance(word, dict) else None
        for ids in PROMPTS:
            rows = torch.tensor([ids])
            with (
                torch.inference_mode(),
                steer(model, [vector if word else None], positions=positions),
            ):
                out = model.network.generate(rows, attention_mask=torch.ones_like(rows), **options)
            tokens.append(out[0, len(ids) :].tolist())
    return tokens


@pytest.mark.parametrize("name", NAMES)
def test_a_vector_does_what_it_does_in_transformers(
    written: dict[str, tuple[Any, Any]], name: str
) -> None:
    got, wanted = written[name]
    assert got == wanted
    assert wanted[:2] != wanted[2:4], "the vector must change what is written"
