"""Whether all of a model's weights were in its files: what the loader says was not there is refused.

transformers fills what is missing with random numbers, and leaves out what the configuration has no place for.
"""

import contextlib
import math
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError, safe_open
from torch import nn

from langsteer.errors import ModelError
from langsteer.progress import announce
from langsteer.storage.files import listed

_WHOLE = {"I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64", "BOOL"}  # safetensors' names
_FAR_LARGER = 2  # times; where it is less, the tensors that lack or do not fit can be named
_OWN_SETTINGS = "Take the one that belongs to these weights"
_LEARNED = ("weight", "bias")  # of quantised layers, what is not a scale that may be left out


def check_sizes(name: str, config: Any, folder: Path | None) -> None:
    """Refuse a configuration whose model is far larger than the weights in `folder`, before memory is taken
    for it.

    Where weights are quantised, or not in safetensors files, nothing is known of their number. Raises ModelError.
    """
    if folder is None or getattr(config, "quantization_config", None) is not None:
        return
    sizes = _sizes_in(folder)
    if not sizes:
        return
    layers = getattr(config.get_text_config(), "num_hidden_layers", None)
    if isinstance(layers, int) and layers > len(sizes):
        raise ModelError(
            f"{name} does not fit its config.json, which says {layers:,} layers: there are "
            f"{len(sizes):,} tensors in its files. {_OWN_SETTINGS}"
        )
    numbers = _numbers_of(config)
    if numbers > _FAR_LARGER * sum(sizes):
        raise ModelError(
            f"{name} does not fit its config.json, by which it has {numbers:,} parameters: there are "
            f"{sum(sizes):,} in its files. {_OWN_SETTINGS}"
        )


def _sizes_in(folder: Path) -> list[int]:
    """How many numbers each tensor of safetensors files has; none where a file cannot be read."""
    sizes = []
    with contextlib.suppress(SafetensorError, OSError):
        for path in listed(folder, "*.safetensors"):
            with safe_open(path, framework="pt") as file:
                shapes = [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118
            sizes += [math.prod(shape) for shape in shapes]
        return sizes
    return []


def _numbers_of(config: Any) -> int:
    """How many parameters a model of this configuration has; 0 where it cannot be made."""
    loader: Any = transformers.AutoModelForCausalLM
    if getattr(config, "auto_map", None):  # its code is not run for this
        return 0
    with contextlib.suppress(Exception), torch.device("meta"):
        return sum(weight.numel() for weight in loader.from_config(config).parameters())
    return 0


def load_weights(**options: Any) -> tuple[Any, dict[str, Any]]:
    """A causal language model, by `from_pretrained`'s options, and what its loader tells.

    Tensors of other sizes are told of as well, in place of an error that does not name them.
    """
    loader: Any = transformers.AutoModelForCausalLM
    network, told = loader.from_pretrained(
        **{"ignore_mismatched_sizes": True, **options}, output_loading_info=True
    )
    if options.get("ignore_mismatched_sizes"):
        told["mismatched_keys"] = []
    return network, told


def check_loaded(
    name: str, network: Any, told: Mapping[str, Any], folder: Path | None = None
) -> None:
    """Refuse a network that was not filled from its files alone, by what `load_weights` told.

    Weights that are tied to others, and those that an architecture may leave out, it does not
    tell of. Others that are left out are announced, or refused where they are of decoder blocks; so
    are whole numbers in the files of `folder` for a model that is not quantised. Raises ModelError,
    naming the tensors.
    """
    missing, unexpected = told["missing_keys"], told["unexpected_keys"]
    if getattr(network, "hf_quantizer", None) is not None:
        missing = [key for key in missing if key.endswith(_LEARNED)]
        unexpected = []
    if missing:
        raise ModelError(
            f"{name} lacks {_listed(missing)}, which would be made up at random: its files are not "
            "all there, or its config.json is another model's"
        )
    if told["mismatched_keys"]:
        key, there, wanted = sorted(told["mismatched_keys"])[0]
        raise ModelError(
            f"{name} does not fit its config.json: {key} is {_shape(there)} in the file and would "
            f"be {_shape(wanted)}, as {len(told['mismatched_keys'])} in all"
        )
    left_out = list(_of_blocks(network, unexpected))
    if left_out:
        raise ModelError(
            f"{name} does not fit its config.json, by which {_listed(left_out)} would be left out: "
            "take the one that belongs to these weights"
        )
    if unexpected:
        announce(
            f"langsteer: {name} has {_listed(unexpected)}, for which its architecture has no place: "
            "left out"
        )
    if folder is not None and getattr(network, "hf_quantizer", None) is None:
        _refuse_whole_numbers(name, folder)


def _refuse_whole_numbers(name: str, folder: Path) -> None:
    """Raise ModelError for weights of a quantised model whose configuration does not say so."""
    for path in listed(folder, "*.safetensors"):
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 - it has no iterator
                kind = file.get_slice(key).get_dtype()
                if key.endswith(".weight") and kind in _WHOLE:
                    raise ModelError(
                        f"{name}: {path.name} holds {key} as whole numbers ({kind}), and its "
                        "config.json names no quantisation that says what they stand for: take the "
                        "one that belongs to these weights"
                    )


def _of_blocks(network: nn.Module, keys: Iterable[str]) -> Iterable[str]:
    """Keys of decoder blocks, or of blocks past the last, other than those that guess further tokens."""
    config = getattr(network, "config").get_text_config()  # noqa: B009 - mypy takes it for a tensor
    count = config.num_hidden_layers
    past = count + int(getattr(config, "num_nextn_predict_layers", None) or 0)
    for path in _block_lists(network, count):
        inner = path.partition(".")[2]  # a checkpoint may leave out the first part
        pattern = re.compile(rf"(?:{re.escape(path)}|{re.escape(inner)})\.(\d+)\.")
        for key in keys:
            at = pattern.match(key)
            if at and not count <= int(at[1]) < past:
                yield key


def _block_lists(network: Any, count: int) -> list[str]:
    decoder = network.get_decoder() if hasattr(network, "get_decoder") else network
    inside = {id(module) for module in decoder.children()}
    return [
        path
        for path, module in network.named_modules()
        if id(module) in inside and isinstance(module, nn.ModuleList) and len(module) == count
    ]


def _listed(keys: Collection[str]) -> str:
    first = sorted(
        keys, key=lambda key: [(int(p) if p.isdigit() else -1, p) for p in key.split(".")]
    )
    more = f" and {len(keys) - 2} more" if len(keys) > 3 else ""
    shown = first if len(keys) <= 3 else first[:2]
    return f"{len(keys)} tensor{'s' * (len(keys) > 1)} ({', '.join(shown)}{more})"


def _shape(sizes: Iterable[int]) -> str:
    return " × ".join(map(str, sizes))
