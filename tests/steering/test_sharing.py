"""Changes and routers put on the hub and had from there by their own methods, through a stand-in of it."""

from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

import langsteer
from langsteer.errors import HubError, VectorError
from langsteer.hub.card import CardOptions
from langsteer.model.model import Model
from langsteer.steering.change import Change
from langsteer.steering.low_rank import LowRank
from langsteer.steering.projection import Projection
from langsteer.steering.router import Router
from langsteer.steering.sequence import ChangeSequence
from langsteer.steering.steered import Steered
from langsteer.steering.vector import SteeringVector
from tests.helpers import make_vector
from tests.made.hub import Hub


def make_router(model: Model) -> Router:
    owner = {"name": model.name, "fingerprint": model.fingerprint}
    weight = torch.ones(3, model.hidden_size)
    return Router(weight, torch.zeros(3), torch.ones(4), ("en", "sw", "tr"), "en", 1, owner)


def of_each_kind(model: Model) -> list[Change]:
    vector = make_vector(model, strength=0.5)
    maps, offsets = {1: torch.eye(model.hidden_size)}, {1: torch.zeros(model.hidden_size)}
    narrow = torch.ones(model.hidden_size, 2)
    return [
        vector,
        Projection(maps, offsets, "sw", "en", vector.model),
        LowRank(vector.values, narrow, narrow.T, 1, "sw", "en", vector.model, "test"),
        ChangeSequence((vector, vector)),
    ]


@pytest.mark.parametrize("place", range(4))
def test_each_kind_goes_there_and_comes_back(hub: Hub, llama: Model, place: int) -> None:
    change = of_each_kind(llama)[place]
    assert change.push_to_hub("user/repo") == f"{hub.url}/user/repo"
    own = type(change).from_pretrained("user/repo")
    any_kind = langsteer.from_pretrained("user/repo")
    assert type(own) is type(any_kind) is type(change)
    for had in (own, any_kind):
        assert had.record() == change.record()
        for name, tensor in change.tensors().items():
            assert torch.equal(had.tensors()[name], tensor)
    other = (SteeringVector, Projection)[place == 0]
    with pytest.raises(VectorError, match=f"is not a langsteer {other.kind.name} file"):
        other.from_pretrained("user/repo")


def test_a_router(hub: Hub, llama: Model) -> None:
    make_router(llama).push_to_hub("user/repo")
    assert Router.from_pretrained("user/repo").languages == ("en", "sw", "tr")


def test_a_model_with_several(hub: Hub, llama: Model) -> None:
    changes = {tag: make_vector(llama, 1, language=tag) for tag in ("sw", "tr")}
    Steered(llama, changes, make_router(llama)).push_to_hub("user/repo")
    had = Steered.from_pretrained("user/repo", llama)
    assert set(had.changes) == {"sw", "tr"}
    assert had.router is not None
    with pytest.raises(VectorError, match=r"several vector files .*sw\.safetensors"):
        langsteer.from_pretrained("user/repo")
    assert langsteer.from_pretrained("user/repo", "tr.safetensors").language == "tr"
    assert SteeringVector.from_pretrained("user/repo", filename="sw.safetensors").language == "sw"
    with pytest.raises(HubError, match=r"has no et.safetensors on the hub: it has router.saf"):
        langsteer.from_pretrained("user/repo", "et.safetensors")


def test_a_branch_a_message_and_a_token(hub: Hub, llama: Model) -> None:
    weak, strong = make_vector(llama, strength=0.5), make_vector(llama, strength=2.0)
    weak.push_to_hub("user/repo", token="hf_mine", card=CardOptions("mit"))
    assert set(hub.tokens) == {"hf_mine"}
    assert b"license: mit" in hub.files["user/repo@main"]["README.md"]
    address = strong.push_to_hub("user/repo", branch="strong", commit_message="Twice as strong")
    assert address == f"{hub.url}/user/repo/tree/strong"
    assert hub.messages == ["Steering vectors", "Twice as strong"]
    assert langsteer.from_pretrained("user/repo").strength == 0.5
    assert langsteer.from_pretrained("user/repo", revision="strong").strength == 2.0
    assert langsteer.from_pretrained("user/repo@strong", revision="main").strength == 0.5
    hub.tokens.clear()
    SteeringVector.from_pretrained("user/repo", token="hf_other", force_download=True)
    assert set(hub.tokens) == {"hf_other"}


def test_private_is_private(hub: Hub, llama: Model) -> None:
    make_vector(llama).push_to_hub("user/repo", private=True)
    assert hub.private["user/repo"]


def test_the_cache(hub: Hub, llama: Model, tmp_path: Path) -> None:
    make_vector(llama).push_to_hub("user/repo")
    asked = len(hub.asked)
    with pytest.raises(HubError, match="local_files_only is set, and it is not in the cache"):
        langsteer.from_pretrained("user/repo", local_files_only=True)
    assert len(hub.asked) == asked
    own = tmp_path / "own-cache"
    langsteer.from_pretrained("user/repo", cache_dir=own)
    assert list(own.glob("models--user--repo/snapshots/*/sw.safetensors"))
    with pytest.raises(HubError, match="not in the cache"):
        langsteer.from_pretrained("user/repo", local_files_only=True)
    asked = len(hub.asked)
    langsteer.from_pretrained("user/repo", cache_dir=own, local_files_only=True)
    assert len(hub.asked) == asked
    hub.asked.clear()
    langsteer.from_pretrained("user/repo", cache_dir=own)
    assert hub.fetched() == []
    langsteer.from_pretrained("user/repo", cache_dir=own, force_download=True)
    assert "sw.safetensors" in hub.fetched()


def test_a_folder_here_and_what_is_neither(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_vector(llama).save("user/repo/sw.safetensors")
    assert SteeringVector.from_pretrained("user/repo").language == "sw"
    assert SteeringVector.from_pretrained(Path("user/repo"), "sw.safetensors").language == "sw"
    for name in ("nowhere", "a/b/c/d"):
        with pytest.raises(HubError, match="is no id of the hub"):
            langsteer.from_pretrained(name)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set, and it is not in the cache"):
        langsteer.from_pretrained("user/other")
