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
from tests.helpers import build_network
from tests.made.gguf_files import write_gguf


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
