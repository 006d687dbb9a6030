"""Weights that are not in the files are not made up; those that a configuration leaves out are told of."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from langsteer.errors import ModelError
from langsteer.model.converted import _check_same
from langsteer.model.opening import load_model
from tests.helpers import build_network, character_tokenizer


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A tiny model on disk, to be damaged."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def keep(folder: Path, wanted: Callable[[str], bool]) -> None:
    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if wanted(name)}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def configure(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_layer_that_is_not_there(copy: Path) -> None:
    keep(copy, lambda name: "layers.3." not in name)
    with pytest.raises(ModelError, match=r"copy lacks 9 tensors \(model\.layers\.3\..* and 7 more"):
        load_model(copy)


@pytest.mark.parametrize("tied", [True, False])
def test_a_head_may_be_the_embedding(copy: Path, tied: bool) -> None:
    keep(copy, lambda name: "lm_head" not in name)
    configure(copy, tie_word_embeddings=tied)
    if tied:
        model = load_model(copy)
        assert model.head.weight is model.network.get_input_embeddings().weight
    else:
        with pytest.raises(ModelError, match=r"lacks 1 tensor \(lm_head\.weight\)"):
            load_model(copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 5}, r"lacks 9 tensors \(model\.layers\.4\."),
        ({"num_hidden_layers": 3}, r"9 tensors \(model\.layers\.3\..*would be left out"),
        (
            {"intermediate_size": 64},
            r"down_proj\.weight is 32 × 48 in the file and would be 32 × 64",
        ),
    ],
)
def test_a_configuration_of_another_model(copy: Path, changes: Any, message: str) -> None:
    configure(copy, **changes)
    with pytest.raises(ModelError, match=message):
        load_model(copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 10**9}, r"says 1,000,000,000 layers: there are \d+ tensors"),
        ({"intermediate_size": 10**9}, r"has [\d,]{13,} parameters: there are [\d,]+ in its files"),
        ({"vocab_size": 10**12}, r"has [\d,]{13,} parameters"),
    ],
)
def test_a_model_far_larger_than_its_files_takes_no_memory(
    copy: Path, changes: Any, message: str
) -> None:
    configure(copy, **changes)
    with pytest.raises(ModelError, match=message):
        load_model(copy)


def test_layers_that_guess_further_tokens_may_be_left_out(copy: Path) -> None:
    configure(copy, num_hidden_layers=3, num_nextn_predict_layers=1)
    assert load_model(copy).layers == 3


def add(folder: Path, **tensors: torch.Tensor) -> None:
    weights = {**load_file(folder / "model.safetensors"), **tensors}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is announced."""
    lines: list[str] = []
    monkeypatch.setattr("langsteer.model.weights.announce", lines.append)
    return lines


def test_what_has_no_place_is_told_and_what_is_known_to_have_none_is_not(
    copy: Path, told: list[str]
) -> None:
    add(copy, **{"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)})
    load_model(copy)
    assert told == []
    add(copy, **{"v_head.weight": torch.zeros(1, 32)})
    load_model(copy)
    (line,) = told
    assert "copy has 1 tensor (v_head.weight), for which its architecture has no place" in line


@pytest.mark.parametrize(
    "name", ["model.layers.0.extra.weight", "model.layers.9.mlp.up_proj.weight"]
)
def test_what_has_no_place_in_a_block_is_refused(copy: Path, name: str) -> None:
    add(copy, **{name: torch.zeros(32, 32)})
    with pytest.raises(ModelError, match=rf"1 tensor \({name}\) would be left out"):
        load_model(copy)


def test_what_a_system_leaves_beside_weights_is_left_aside(copy: Path) -> None:
    (copy / "._model.safetensors").write_bytes(b"\x00\x05\x16\x07")
    load_model(copy)


def test_whole_numbers_in_a_model_that_is_not_quantised(copy: Path) -> None:
    name = "model.layers.1.mlp.down_proj.weight"
    add(copy, **{name: torch.ones(32, 48, dtype=torch.int8)})
    with pytest.raises(ModelError, match=rf"holds {name} as whole numbers \(I8\), and its config"):
        load_model(copy)


def test_who_asks_for_other_sizes_gets_them(copy: Path) -> None:
    configure(copy, intermediate_size=64)
    load_model(copy, ignore_mismatched_sizes=True)


def test_an_adapter_that_lacks_a_layer(folder: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    network = build_network("llama")
    network.name_or_path = network.config._name_or_path = str(folder)
    config = peft.LoraConfig(target_modules=["q_proj"])
    peft.get_peft_model(network, config).save_pretrained(tmp_path)
    load_model(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if "layers.3." not in k}, file)
    with pytest.raises(
        ModelError, match=r"cannot open the adapter .*missing adapter keys.*layers\.3"
    ):
        load_model(tmp_path)


@pytest.mark.parametrize("lost", ["nothing", "a weight", "a setting"])
def test_a_converted_checkpoint_is_compared(tmp_path: Path, lost: str) -> None:
    """Another last weight, which sixteen tokens may not reach, or another setting of equal weights."""
    network = build_network("llama")
    network.save_pretrained(tmp_path)
    character_tokenizer().save_pretrained(tmp_path)
    if lost == "a weight":
        weights = load_file(tmp_path / "model.safetensors")
        weights["model.embed_tokens.weight"][100, 0] += 1
        save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    if lost == "a setting":
        configure(tmp_path, rms_norm_eps=0.1)
    if lost == "nothing":
        _check_same(network, tmp_path, Path("a.gguf"))
        return
    other = "weights" if lost == "a weight" else "logits"
    with pytest.raises(ModelError, match=f"made from a.gguf does not give the same {other}"):
        _check_same(network, tmp_path, Path("a.gguf"))
