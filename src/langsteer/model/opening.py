"""Open a causal language model from anywhere, and find its decoder blocks, final norm and head."""

import difflib
import functools
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from langsteer.errors import LangsteerError, ModelError, StateError
from langsteer.extras import need
from langsteer.model.converted import PACKAGED, gguf_checkpoint, packaged_checkpoint
from langsteer.model.damage import (
    damage_in,
    folder_of,
    settings_damage_in,
    tokenizer_damage_in,
)
from langsteer.model.devices import checked_places, named_device, named_dtype, roomier
from langsteer.model.finite import check_finite
from langsteer.model.model import Model, base_network, check_layer
from langsteer.model.weights import check_loaded, check_sizes, load_weights
from langsteer.progress import NOISY, announce, quiet

DEFAULT_MODEL = "gemma-3-270m"

# Options that say where files are had from, and go to the configuration and the tokeniser too.
_WHERE = ("revision", "trust_remote_code", "token", "cache_dir", "local_files_only")
_HUB = "huggingface_hub"  # its logger tells of each attempt
_NEAR = 0.85  # likeness of a mistyped short name
_HOW_TO_NAME = (
    "Name its parts by hand: load_model(name, blocks='model.layers', norm='model.norm', "
    "head='lm_head'), each the dotted path of a module in print(network)."
)


def load_model(
    name: str | Path = DEFAULT_MODEL,
    *,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device | None = None,
    device_map: str | dict[str, Any] | None = None,
    blocks: str | None = None,
    norm: str | None = None,
    head: str | None = None,
    **options: Any,
) -> Model:
    """Open a causal language model.

    `name` is a hub id, a local folder (a checkpoint, or a PEFT adapter), a `.gguf` file (of one
    that is split, any part), or a short name of an installed package (`gemma-3-270m`,
    `smollm2-135m`). `device_map` and `options` go to transformers' `from_pretrained`; `device` is
    a name of torch's, or `gpu`. `blocks`, `norm` and `head` are dotted paths, for an architecture
    that is not recognised.

    `dtype` is `float32`, `bfloat16` or `float16`, or for short `fp32`, `bf16`, `fp16`. With `auto`
    it is the one that the checkpoint is stored in, on every device; a GGUF file is opened in
    float32. Where that is float16 and the hidden states do not fit into it, as is so of Gemma, it
    is float32 on a processor with memory for twice the model, else bfloat16.

    Raises ModelError, and StateError where the hidden states are not finite in a `dtype` that was
    named.
    """
    text = str(name)
    wanted = named_dtype(dtype)
    place = named_device(device) if device is not None else None
    options["device_map"] = checked_places(device_map)
    parts = {"blocks": blocks, "norm": norm, "head": head}

    def opened(dtype: str | torch.dtype) -> Model:
        with quiet(_HUB):
            network, tokenizer = _open(text, _source(text), dtype=dtype, **options)
        if place is not None and device_map is None:
            network = _moved(text, network, place)
        return wrap_model(network.eval(), tokenizer, name=text, **parts)

    model = opened(wanted)
    try:
        _check_causal(model)
    except StateError:
        other = roomier(model.dtype, model.device, model.network.num_parameters())
        if wanted != "auto" or other is None:
            raise
        announce(f"langsteer: {text} is opened in {other}, since float16 is too small for it")
        model = opened(other)
        _check_causal(model)
    return model


def checkpoint_of(name: str | Path) -> str:
    """What another program that reads checkpoints is to open for a model of this name: a folder or a
    hub id. Raises ModelError as `load_model` does where a model cannot be converted.
    """
    return _source(str(name))


def check_layers(name: str | Path, layers: Sequence[int]) -> None:
    """Raise ModelError where a model's configuration says that it lacks one of the layers.

    No weights are read. What cannot be told so is left to `load_model`; a model that the hub does not
    give, and a mistyped short name, are refused here too.
    """
    source = _source(str(name))
    if not layers:
        return
    try:
        with quiet(_HUB):
            config = transformers.AutoConfig.from_pretrained(source)
        count = int(config.get_text_config().num_hidden_layers)
    except Exception as error:  # a damaged file can fail the reader in any way
        if isinstance(error, OSError) and not os.path.isdir(source):
            raise ModelError(_not_opened(str(name), source, error)) from error
        return
    for layer in layers:
        check_layer(str(name), count, layer)


def wrap_model(
    network: Any,
    tokenizer: Any = None,
    *,
    name: str | None = None,
    blocks: str | None = None,
    norm: str | None = None,
    head: str | None = None,
) -> Model:
    """A `Model` of a transformers causal LM (or a PEFT model around one) already in memory.

    Raises ModelError where its parts cannot be found.
    """
    base: Any = base_network(network)
    if not isinstance(base, nn.Module) or not hasattr(base, "config"):
        raise ModelError(f"{type(network).__name__} is not a transformers model")
    decoder = _decoder_of(base, blocks)
    layers = _blocks_of(base, decoder, blocks)
    return Model(
        name=name or str(getattr(base.config, "name_or_path", "")) or type(base).__name__,
        network=network,
        tokenizer=tokenizer,
        decoder=decoder,
        blocks=tuple(layers),
        norm=_module(base, norm) if norm else _norm_of(decoder),
        head=_module(base, head) if head else _head_of(base),
    )


def as_model(model: Any) -> Model:
    """`model` itself where it is a `Model`; otherwise the transformers network, wrapped."""
    return model if isinstance(model, Model) else wrap_model(model)


def _source(name: str) -> str:
    """What transformers opens: a hub id or a folder."""
    if not name.strip():
        raise ModelError("no model is named: it is a hub id, a folder, or a .gguf file")
    if name in PACKAGED:
        return str(packaged_checkpoint(name))
    _refuse_mistyped(name)
    path = Path(name).expanduser()
    if path.suffix.lower() == ".gguf":
        return str(gguf_checkpoint(path))
    if os.path.isfile(path):  # which, unlike Path.is_file, stands names that no file can have
        raise ModelError(
            f"{name} is a file: name the folder of the checkpoint that it is in, or a .gguf file"
        )
    return str(path) if os.path.exists(path) else name


def _refuse_mistyped(name: str) -> None:
    """Raise ModelError for what is almost a short name: the hub, asked for it, takes long to say no."""
    near = difflib.get_close_matches(name.lower(), PACKAGED, 1, _NEAR)
    if near and "/" not in name and not os.path.exists(name):
        raise ModelError(
            f"there is no model {name!r}: did you mean {near[0]}, or OWNER/{name} on the hub?"
        )


def _open(name: str, source: str, **options: Any) -> tuple[Any, Any]:
    if options["device_map"] is None:
        del options["device_map"]
    if os.path.exists(Path(source, "adapter_config.json")):
        return _open_adapter(name, source, **options)
    forwarded = {key: options[key] for key in _WHERE if key in options}
    try:
        config = transformers.AutoConfig.from_pretrained(source, **forwarded)
        _check_kind(name, config)
        tokenizer = _tokenizer(name, source, forwarded)  # before the weights: it is open sooner
        check_sizes(name, config, folder_of(source, options.get("revision")))
        network, told = load_weights(pretrained_model_name_or_path=source, **options)
    except (LangsteerError, MemoryError):
        raise
    except Exception as error:  # a damaged file can fail the reader in any way
        damage = damage_in(folder_of(source, options.get("revision")))
        raise ModelError(damage or _not_opened(name, source, error)) from error
    folder = folder_of(source, options.get("revision"))
    check_loaded(name, network, told, folder)
    if (damage := settings_damage_in(folder)) is not None:
        raise ModelError(damage)
    return network, tokenizer


def _check_kind(name: str, config: Any) -> None:
    kind = config.model_type
    if kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False):
        raise ModelError(f"{name} is a masked language model ({kind}), not a causal one")


def _moved(name: str, network: Any, device: torch.device) -> Any:
    try:
        return network.to(device)
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"{name} does not fit into the memory of {device}: open it with dtype='bfloat16' "
            "(--dtype), or spread it with device_map='auto' (--device-map)"
        ) from error


def _open_adapter(name: str, folder: str, **options: Any) -> tuple[Any, Any]:
    """A PEFT adapter on its base model, which its folder names in any way that `load_model` takes."""
    with quiet(NOISY):
        peft = need("peft", "train", f"opening {name}, a PEFT adapter,")
    try:
        base = peft.PeftConfig.from_pretrained(folder).base_model_name_or_path
    except Exception as error:  # a damaged file can fail the reader in any way
        damage = damage_in(Path(folder))
        raise ModelError(
            damage or f"cannot open the adapter {name}: {_first_line(error)}"
        ) from error
    if not isinstance(base, str) or not base.strip():
        raise ModelError(f"the adapter {name} does not say which model it was trained on")
    try:
        source = _source(base)
        if os.path.exists(Path(source, "adapter_config.json")):
            raise ModelError(f"{base} is an adapter itself: merge it into its own base first")
        network, tokenizer = _open(base, source, **{"device_map": None, **options})
    except ModelError as error:
        raise ModelError(f"the adapter {name} needs its base model: {error}") from error
    if any(Path(folder).glob("tokenizer*")):
        tokenizer = _tokenizer(
            name, folder, {key: options[key] for key in _WHERE if key in options}
        )
    if len(tokenizer) > network.get_input_embeddings().weight.shape[0]:
        network.resize_token_embeddings(len(tokenizer))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.filterwarnings("error", message=".*missing adapter keys")
            return peft.PeftModel.from_pretrained(network, folder), tokenizer
    except Exception as error:
        damage = damage_in(Path(folder))
        raise ModelError(
            damage or f"cannot open the adapter {name}: {_first_line(error)}"
        ) from error


def _tokenizer(name: str, source: str, forwarded: Mapping[str, Any]) -> Any:
    try:
        return transformers.AutoTokenizer.from_pretrained(source, **forwarded)
    except Exception as error:
        folder = folder_of(source, forwarded.get("revision"))
        raise ModelError(
            tokenizer_damage_in(folder)
            or f"cannot open the tokeniser of {name}: {_first_line(error)}"
        ) from error


def _not_opened(name: str, source: str, error: Exception) -> str:
    if os.path.isdir(source) and not Path(source, "config.json").exists():
        files = sorted(Path(source).glob("*.[gG][gG][uU][fF]"))
        hint = f": name the file, {files[0]}" if files else ""
        return f"cannot open {name}: there is no config.json in that folder{hint}"
    if not isinstance(error, OSError):
        return f"cannot open {name} as a causal language model: {_first_line(error)}"
    if os.path.isdir(source):
        return f"the folder {source} is not a complete checkpoint: {_first_line(error)}"
    return (
        f"there is no model {name!r}: it is not a local folder, not a .gguf file, not one of the "
        f"short names ({', '.join(PACKAGED)}), and the hub did not give it "
        f"({_first_line(error)})"
    )


def _first_line(error: BaseException) -> str:
    """The first line of what went wrong; with the next where it only leads there."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[0] if lines else type(error).__name__
    if line.endswith(":"):
        line = " ".join(lines)
    return line if len(line) <= 200 else line[:197] + "..."


def _check_causal(model: Model) -> None:
    """Refuse a model in which a later token changes the hidden state of an earlier one, and one
    whose states are not finite.
    """
    first = model.bos_id if model.bos_id is not None else 4  # where states are largest
    ids = torch.tensor([[first, 5, 6], [first, 5, 7]], device=model.device) % model.vocab_size
    with torch.inference_mode():
        states = model.run_decoder({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    check_finite(states, f"the hidden states of {model.name}", model.dtype)
    one, other = states[0, 1].float(), states[1, 1].float()
    if not torch.allclose(one, other, rtol=1e-3, atol=1e-3 * float(one.abs().max())):
        raise ModelError(
            f"{model.name} is not a causal language model: its tokens see the tokens after them"
        )


def _decoder_of(base: Any, blocks: str | None) -> nn.Module:
    if blocks is not None:
        parent = blocks.rpartition(".")[0]
        return _module(base, parent) if parent else base
    decoder = base.get_decoder() if hasattr(base, "get_decoder") else None
    if not isinstance(decoder, nn.Module):
        raise ModelError(f"cannot find the decoder of {type(base).__name__}. {_HOW_TO_NAME}")
    return decoder


def _blocks_of(base: Any, decoder: nn.Module, path: str | None) -> list[nn.Module]:
    if path is not None:
        named = _module(base, path)
        if not isinstance(named, nn.ModuleList) or not len(named):
            raise ModelError(f"{path!r} in {type(base).__name__} is not a list of blocks")
        return list(named)
    count = getattr(base.config.get_text_config(), "num_hidden_layers", None)
    lists = [
        child
        for child in decoder.children()
        if isinstance(child, nn.ModuleList) and len(child) == count
    ]
    if len(lists) != 1:
        raise ModelError(
            f"cannot find the {count} decoder blocks of {type(base).__name__}: "
            f"{len(lists)} lists of modules have that length. {_HOW_TO_NAME}"
        )
    return list(lists[0])


def _norm_of(decoder: nn.Module) -> nn.Module | None:
    """The last normalisation among the decoder's own parts, embedding norms left aside."""
    norms = [
        child
        for name, child in decoder.named_children()
        if "norm" in type(child).__name__.lower() and "embed" not in name
    ]
    return norms[-1] if norms else None


def _head_of(base: Any) -> nn.Module:
    head = base.get_output_embeddings() if hasattr(base, "get_output_embeddings") else None
    if not isinstance(head, nn.Module):
        raise ModelError(
            f"{type(base).__name__} has no language-modelling head, so it is not a causal "
            f"language model. {_HOW_TO_NAME}"
        )
    return head


def _module(base: nn.Module, path: str) -> nn.Module:
    try:
        return functools.reduce(getattr, path.split("."), base)
    except AttributeError as error:
        raise ModelError(f"{type(base).__name__} has no module {path!r}") from error
