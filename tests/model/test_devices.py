"""Devices and data types by name; what numbers too large for float16 are put into."""

from pathlib import Path
from typing import Any

import pytest
import torch

from langsteer.errors import ModelError, StateError
from langsteer.model import devices
from langsteer.model.devices import checked_places, named_device, named_dtype, roomier
from langsteer.model.opening import load_model
from tests.helpers import build_network, character_tokenizer


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("bf16", torch.bfloat16),
        ("fp16", torch.float16),
        ("fp32", torch.float32),
        ("torch.float16", torch.float16),
        (torch.bfloat16, torch.bfloat16),
        ("auto", "auto"),
    ],
)
def test_data_types(given: Any, meant: Any) -> None:
    assert named_dtype(given) == meant


@pytest.mark.parametrize("name", ["int8", "half-ish", "nn"])
def test_what_is_no_data_type(name: str) -> None:
    with pytest.raises(ModelError, match=f"'{name}' is not a data type.*bfloat16"):
        named_dtype(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cuda", "there is no cuda device here"),
        ("cuda:9", "there is no cuda device here"),
        ("gpu", "there is no GPU here"),
        ("tpu", "no device is called 'tpu': there are cpu, gpu"),
        ("meta", "a model cannot run on the device meta"),
    ],
)
def test_devices_that_are_not_here(
    name: str, message: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    for place in ({"device": name}, {"device_map": name}, {"device_map": {"": name}}):
        with pytest.raises(ModelError, match=message) as caught:
            load_model(folder, **place)
        assert "\n" not in str(caught.value)


def test_one_device_too_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    with pytest.raises(ModelError, match="no device cuda:9 here, only cuda:0, cuda:1"):
        named_device("cuda:9")
    with pytest.raises(ModelError, match="no device cuda:2 here"):
        checked_places({"": 2})
    assert named_device("gpu") == torch.device("cuda")
    placed = {"a": 1, "b": "cpu", "c": "disk"}
    assert checked_places(placed) == placed
    assert checked_places("auto") == "auto"
    assert checked_places(None) is None


def test_room_for_large_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_memory", lambda: 8e9)
    processor, card = torch.device("cpu"), torch.device("cuda")
    assert roomier(torch.float16, processor, 10**9) == torch.float32
    assert roomier(torch.float16, processor, 10**9 + 1) == torch.bfloat16
    assert roomier(torch.float16, card, 10) == torch.bfloat16
    assert roomier(torch.bfloat16, processor, 10) is None


@pytest.fixture(scope="module")
def too_large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model stored in float16 whose states do not fit into it, as those of Gemma."""
    path = tmp_path_factory.mktemp("large")
    network = build_network("gemma3")
    with torch.no_grad():
        network.model.layers[0].post_feedforward_layernorm.weight.fill_(60_000)
        network.model.layers[1].post_feedforward_layernorm.weight.fill_(60_000)
    network.to(torch.float16).save_pretrained(path)
    character_tokenizer().save_pretrained(path)
    return path


def test_a_model_that_float16_is_too_small_for(
    too_large: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langsteer.progress._enabled", True)
    assert load_model(too_large).dtype == torch.float32
    assert "is opened in torch.float32, since float16 is too small" in capsys.readouterr().err
    assert load_model(too_large, dtype="bf16").dtype == torch.bfloat16
    with pytest.raises(StateError, match=r"not finite in float16: .*--dtype bfloat16"):
        load_model(too_large, dtype="fp16")


def test_a_checkpoint_is_opened_as_it_is_stored(tmp_path: Path) -> None:
    for dtype in (torch.float16, torch.bfloat16):
        build_network("llama").to(dtype).save_pretrained(tmp_path)
        character_tokenizer().save_pretrained(tmp_path)
        assert load_model(tmp_path).dtype == dtype


def test_a_card_that_is_full(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Any, device: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("transformers.PreTrainedModel.to", full)
    with pytest.raises(ModelError, match=r"does not fit into the memory of cpu.*bfloat16"):
        load_model(folder, device="cpu")
