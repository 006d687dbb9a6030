"""Vectors put on the hub and had from there, through a stand-in of it."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants

import langsteer
from langsteer.errors import HubError, VectorError
from langsteer.hub.push import push_to_hub, write_for_hub
from langsteer.model.model import Model
from langsteer.steering.router import Router
from langsteer.steering.sequence import ChangeSequence
from tests.helpers import build_model, make_vector, run, tiny
from tests.made.hub import Hub


def make_router(model: Model) -> Router:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3, model.hidden_size, generator=generator)
    owner = {"name": model.name, "fingerprint": model.fingerprint}
    return Router(weight, torch.zeros(3), torch.ones(4), ("en", "sw", "tr"), "en", 1, owner)


@pytest.fixture
def vectors(llama: Model, tmp_path: Path) -> Path:
    """A folder of vectors with a router."""
    for seed, tag in enumerate(("sw", "tr")):
        make_vector(llama, seed, language=tag).save(tmp_path / "in" / f"{tag}.safetensors")
    make_router(llama).save(tmp_path / "in" / "router.safetensors")
    (tmp_path / "in" / "notes.txt").write_text("mine alone")
    return tmp_path / "in"


def test_a_folder_goes_there_and_comes_back(hub: Hub, llama: Model, vectors: Path) -> None:
    assert push_to_hub(vectors, "user/repo") == f"{hub.url}/user/repo"
    files = hub.files["user/repo@main"]
    assert set(files) == {"sw.safetensors", "tr.safetensors", "router.safetensors", "README.md"}
    assert files["README.md"].startswith(b"---\n")
    assert not hub.private["user/repo"]
    theirs = langsteer.steered(llama, "user/repo")
    ours = langsteer.steered(llama, vectors)
    assert set(theirs.changes) == {"sw", "tr"}
    texts = ["habari", "merhaba"]
    assert theirs.identify(texts) == ours.identify(texts)
    for tag, change in theirs.changes.items():
        assert torch.equal(change.tensors()["values"], ours.changes[tag].tensors()["values"])
    assert Router.load("user/repo").languages == ("en", "sw", "tr")


def test_a_vector_a_router_and_a_steered_model(hub: Hub, llama: Model, vectors: Path) -> None:
    push_to_hub(make_vector(llama, strength=0.5), "user/vector")
    assert langsteer.load("user/vector", llama).strength == 0.5
    push_to_hub(make_router(llama), "user/router")
    assert Router.load("user/router").languages == ("en", "sw", "tr")
    with pytest.raises(VectorError, match="there is no vector file"):
        langsteer.load("user/router")
    push_to_hub(langsteer.steered(llama, vectors), "user/steered")
    assert set(hub.files["user/steered@main"]) == set(hub.files["user/vector@main"]) | {
        "router.safetensors",
        "tr.safetensors",
    }


def test_private_is_private(hub: Hub, llama: Model) -> None:
    vector = make_vector(llama)
    push_to_hub(vector, "user/mine", private=True)
    assert hub.private["user/mine"]
    push_to_hub(vector, "user/mine", private=True)  # again
    hub.put("user/open", {})
    with pytest.raises(HubError, match="is there already and is public: nothing was uploaded"):
        push_to_hub(vector, "user/open", private=True)
    assert hub.files["user/open@main"] == {}


def test_paths_stay_at_home(llama: Model, tmp_path: Path) -> None:
    model = {"name": "/home/me/models/tiny", "fingerprint": llama.fingerprint}
    carried = model | {"carried_from": model}
    corpus = {"name": "./secret/lines.tsv", "lines": 3}
    parts = (replace(make_vector(llama, corpus=corpus), model=carried),)
    for source in (*parts, ChangeSequence(parts)):
        for file in write_for_hub(source, tmp_path / "out", "user/repo"):
            content = file.read_bytes()
            assert b"secret" not in content
            assert b"home" not in content
            assert b"tiny" in content
        assert langsteer.load(tmp_path / "out").model["name"] == "tiny"


def test_what_is_refused(hub: Hub, llama: Model, tmp_path: Path) -> None:
    vector = make_vector(llama)
    for name in ("repo", "a/b/c", "user/repo@v1", "hf:user/repo", "user/", "../repo"):
        with pytest.raises(HubError, match="is no repository of the hub: name it user/repo"):
            push_to_hub(vector, name)
    with pytest.raises(VectorError, match="several vectors for sw: share one a language"):
        push_to_hub([vector, vector], "user/repo")
    with pytest.raises(VectorError, match="several routers"):
        push_to_hub([make_router(llama), make_router(llama)], "user/repo")
    with pytest.raises(VectorError, match="nothing to share"):
        push_to_hub([], "user/repo")
    with pytest.raises(VectorError, match="no vector file"):
        push_to_hub(tmp_path, "user/repo")
    other = make_vector(build_model("llama", seed=1), language="tr")
    with pytest.raises(VectorError, match="these are of several models"):
        push_to_hub([vector, other], "user/repo")
    assert hub.asked == []


@pytest.mark.parametrize(
    ("status", "told"),
    [(401, "log in with a token"), (403, "log in with a token"), (400, "Bad request")],
)
def test_what_the_hub_refuses(hub: Hub, llama: Model, status: int, told: str) -> None:
    hub.refuses = status
    with pytest.raises(HubError, match=f"cannot upload to user/repo: .*{told}"):
        push_to_hub(make_vector(llama), "user/repo")
    assert hub.files == {}


def test_without_a_hub(hub: Hub, llama: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="cannot upload to user/repo: HF_HUB_OFFLINE is set"):
        push_to_hub(make_vector(llama), "user/repo")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"127\.0\.0\.1:9 cannot be reached"):
        push_to_hub(make_vector(llama), "user/repo")


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "opt", "bloom"])
def test_the_cards_code_for_transformers_steers(hub: Hub, architecture: str) -> None:
    model = build_model(architecture)
    vector = make_vector(model, strength=0.5)
    push_to_hub(vector, "user/repo")
    card = hub.files["user/repo@main"]["README.md"].decode()
    (code,) = (
        text for text in re.findall(r"```python\n(.*?)```", card, re.DOTALL) if "add" in text
    )
    ids = torch.tensor([[10, 11, 12]])
    with torch.no_grad():
        with vector.applied(model):
            ours = model.network(ids).logits
        names: dict[str, Any] = {"network": model.network}
        exec(code, names)
        torch.testing.assert_close(model.network(ids).logits, ours, rtol=1e-5, atol=1e-6)


def test_from_the_command_line(
    hub: Hub, vectors: Path, folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, err = run(capsys, "push", str(vectors), "user/repo", "--private", "--json")
    assert code == 0, err
    assert json.loads(out) == {"repository": "user/repo", "url": f"{hub.url}/user/repo"}
    assert hub.private["user/repo"]
    code, out, err = run(
        capsys, "generate", "Habari", "-v", "user/repo", "-m", str(folder), "-l", "tr",
        "--max-new-tokens", "2", "--json",
    )  # fmt: skip
    assert code == 0, err
    assert json.loads(out)["vector"] == "tr"
    target = tmp_path / "control"
    code, _, err = run(capsys, "export", "user/repo", "--to", "gguf", "-o", str(target))
    assert code == 0, err
    assert {path.name for path in target.iterdir()} == {"sw.gguf", "tr.gguf"}
    code, _, err = run(capsys, "inspect", "user/nothing")
    assert code == 1
    assert "user/nothing could not be had from the hub" in err


def test_a_dry_run_asks_nobody(
    hub: Hub, vectors: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "results.json"
    change = {"value": 0.1, "low": 0.0, "high": 0.2}
    row = {"task": "sib200", "language": "sw", "metric": "acc", "items": 9, "change": change}
    results.write_text(json.dumps([row | {"unsteered": 0.5, "steered": 0.6}]))
    code, out, err = run(
        capsys, "push", str(vectors), "user/repo", "--dry-run", "--license", "mit",
        "--base-model", "user/tiny", "--results", str(results),
    )  # fmt: skip
    assert code == 0, err
    names = ["sw.safetensors", "tr.safetensors", "router.safetensors", "README.md"]
    assert out.split() == [f"repo/{name}" for name in names]
    assert sorted(path.name for path in (tmp_path / "repo").iterdir()) == sorted(names)
    card = huggingface_hub.ModelCard.load(tmp_path / "repo" / "README.md")
    assert (card.data.license, card.data.base_model) == ("mit", "user/tiny")
    assert "+0.100 [+0.000, +0.200]" in card.text
    assert set(langsteer.steered(tiny("llama"), tmp_path / "repo").changes) == {"sw", "tr"}
    results.write_text("[{}]")
    code, _, err = run(
        capsys, "push", str(vectors), "user/repo", "--dry-run", "--results", str(results)
    )
    assert code == 1
    assert "is not what langsteer evaluate --json prints" in err
    assert hub.asked == []
