"""Names of files, folders and repositories of the hub: which is which, and what is fetched."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

import langsteer
from langsteer.errors import HubError, VectorError
from langsteer.model.model import Model
from langsteer.steering.files import HubId, change_files, hub_id, local_path
from tests.helpers import make_vector
from tests.made.hub import Hub


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("user/repo", HubId("user/repo")),
        ("user/repo@v1.0", HubId("user/repo", "v1.0")),
        ("hf:user/repo", HubId("user/repo")),
        ("hf:user/repo@v1/zh-Hans.safetensors", HubId("user/repo", "v1", "zh-Hans.safetensors")),
        ("hf:vectors/sw", HubId("vectors/sw")),
    ],
)
def test_what_is_of_the_hub(
    name: str, wanted: HubId, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vectors").mkdir()
    assert hub_id(name) == hub_id(Path(name)) == wanted


@pytest.mark.parametrize(
    "name",
    [
        "sw.safetensors", "vectors", "out/sw.safetensors", "out/sw.gguf", "/a/b", "./a/b", "../a", "~/a", "a/b/c",
        "vectors/sw", "vectors/there", "user/repo/sw.safetensors", "C:/a",
    ],
)  # fmt: skip
def test_what_is_a_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vectors" / "there").mkdir(parents=True)
    assert hub_id(name) is None
    assert local_path(name) == Path(name)


@pytest.mark.parametrize("name", ["hf:", "hf:repo", "hf:/a/b", "hf:a/b/c.gguf", "hf:a/../b"])
def test_no_id_of_the_hub(name: str) -> None:
    with pytest.raises(HubError, match="is no id of the hub: hf:user/repo"):
        hub_id(name)


def test_a_folder_with_one_file(llama: Model, tmp_path: Path) -> None:
    with pytest.raises(VectorError, match="no vector file"):
        langsteer.load(tmp_path)
    make_vector(llama).save(tmp_path / "sw.safetensors")
    assert langsteer.load(tmp_path).language == "sw"
    make_vector(llama, language="tr").save(tmp_path / "tr.safetensors")
    with pytest.raises(VectorError, match=r"several .* name one of sw.safetensors, tr.safetensors"):
        langsteer.load(tmp_path)


def test_only_vectors_and_the_card_are_fetched(hub: Hub, llama: Model, tmp_path: Path) -> None:
    vector = make_vector(llama).save(tmp_path / "sw.safetensors").read_bytes()
    others = {
        "model.safetensors": b"x",
        "model-00001-of-00002.safetensors": b"x",
        "adapter_model.safetensors": b"x",
        "below/tr.safetensors": b"x",
        "tr.pt": b"x",
        "tr.gguf": b"x",
        "run.py": b"x",
    }
    hub.put("user/repo", {"sw.safetensors": vector, "README.md": b"card", **others})
    change = langsteer.load("user/repo", llama)
    assert change.tensors()["values"].equal(make_vector(llama).values)
    assert hub.fetched() == ["README.md", "sw.safetensors"]
    assert [path.name for path in change_files("user/repo")] == ["sw.safetensors"]
    langsteer.SteeringVector.load("hf:user/repo")
    assert hub.fetched() == ["README.md", "sw.safetensors"]  # from the cache


def test_a_revision_and_a_file(hub: Hub, llama: Model, tmp_path: Path) -> None:
    files = {}
    for tag in ("sw", "tr"):
        path = make_vector(llama, language=tag).save(tmp_path / f"{tag}.safetensors")
        files[path.name] = path.read_bytes()
    hub.put("user/repo", files)
    old = make_vector(llama, strength=9.0).save(tmp_path / "old.safetensors").read_bytes()
    hub.put("user/repo", {"sw.safetensors": old}, "v1")
    assert langsteer.load("user/repo@v1").strength == 9.0
    assert langsteer.load("hf:user/repo/tr.safetensors").language == "tr"
    with pytest.raises(VectorError, match="several vector files in user/repo: name one"):
        langsteer.load("user/repo")
    with pytest.raises(HubError, match=r"has no el.safetensors .* has sw.safetensors, tr.safetens"):
        langsteer.load("hf:user/repo/el.safetensors")
    with pytest.raises(HubError, match="it has no revision v2"):
        langsteer.load("user/repo@v2")


def test_a_repository_that_there_is_not(hub: Hub) -> None:
    with pytest.raises(HubError) as caught:
        langsteer.load("user/nothing")
    assert str(caught.value) == (
        "there is no path user/nothing here, and user/nothing could not be had from the hub: it is "
        "not there, or is private: log in (hf auth login) where it is yours"
    )
    hub.put("user/empty", {"README.md": b""})
    with pytest.raises(VectorError, match="no vector file user/empty: it is a folder without any"):
        langsteer.load("user/empty")


def test_a_file_that_is_no_vector(hub: Hub) -> None:
    hub.put("user/repo", {"sw.safetensors": b"\x80\x04 a pickle"})
    with pytest.raises(VectorError, match="truncated or not a safetensors file"):
        langsteer.load("user/repo")


def test_offline(hub: Hub, llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vector = make_vector(llama).save(tmp_path / "sw.safetensors").read_bytes()
    hub.put("user/repo", {"sw.safetensors": vector})
    langsteer.load("user/repo")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = list(hub.asked)
    assert langsteer.load("user/repo").language == "sw"  # from the cache
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set, and it is not in the cache"):
        langsteer.load("user/other")
    assert hub.asked == asked


def test_a_hub_that_cannot_be_reached(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"127\.0\.0\.1:9 cannot be reached, and it is not in"):
        langsteer.load("user/repo")


def test_the_hub_is_that_of_the_environment(hub: Hub, llama: Model, tmp_path: Path) -> None:
    vector = make_vector(llama).save(tmp_path / "sw.safetensors").read_bytes()
    hub.put("user/repo", {"sw.safetensors": vector})
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_CACHE": str(tmp_path / "home" / "hub"),
    }
    ran = subprocess.run(
        [sys.executable, "-m", "langsteer", "inspect", "user/repo", "--json"],
        env=environment, capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert '"language": "sw"' in ran.stdout
