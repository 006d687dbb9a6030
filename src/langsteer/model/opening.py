"""Open a causal language model from anywhere, and find its decoder blocks, final norm and head."""

import functools
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from langsteer.errors import ModelError, StateError
from langsteer.extras import need
from langsteer.model.converted import PACKAGED, gguf_checkpoint, packaged_checkpoint
from langsteer.model.model import Model, base_network
from langsteer.progress import NOISY, quiet

DEFAULT_MODEL = "gemma-3-270m"

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

    `name` is a hub id, a local folder (a checkpoint, or a PEFT adapter), a `.gguf` file, or a
    short name of an installed package (`gemma-3-270m`, `smollm2-135m`). `dtype`, `device_map` and
    `options` go to transformers' `from_pretrained`. `blocks`, `norm` and `head` are dotted paths,
    for an architecture that is not recognised. Raises ModelError.
    """
    text = str(name)
    network, tokenizer = _open(text, _source(text), dtype=dtype, device_map=device_map, **options)
    kind = network.config.model_type
    if kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(
        network.config, "is_decoder", False
    ):
        raise ModelError(f"{text} is a masked language model ({kind}), not a causal one")
    if device is not None and device_map is None:
        network = network.to(device)
    model = wrap_model(network.eval(), tokenizer, name=text, blocks=blocks, norm=norm, head=head)
    _check_causal(model)
    return model


def checkpoint_of(name: str | Path) -> str:
    """What another program that reads checkpoints is to open for a model of this name: a folder or a
    hub id. Raises ModelError as `load_model` does where a model cannot be converted.
    """
    return _source(str(name))


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
    if name in PACKAGED:
        return str(packaged_checkpoint(name))
    path = Path(name).expanduser()
    if name.endswith(".gguf"):
        return str(gguf_checkpoint(path))
    return str(path) if path.exists() else name


def _open(name: str, source: str, **options: Any) -> tuple[Any, Any]:
    if options["device_map"] is None:
        del options["device_map"]
    try:
        if Path(source, "adapter_config.json").exists():
            return _open_adapter(name, source, **options)
        network = transformers.AutoModelForCausalLM.from_pretrained(source, **options)
        return network, _tokenizer(source, options)
    except OSError as error:
        raise ModelError(_not_found(name, source, error)) from error
    except (ValueError, KeyError, ImportError) as error:
        raise ModelError(
            f"cannot open {name} as a causal language model: {_first_line(error)}"
        ) from error


def _open_adapter(name: str, folder: str, **options: Any) -> tuple[Any, Any]:
    """A PEFT adapter on its base model, which its folder names in any way that `load_model` takes."""
    with quiet(NOISY):
        peft = need("peft", "train", f"opening {name}, a PEFT adapter,")
    base = peft.PeftConfig.from_pretrained(folder).base_model_name_or_path
    if not base:
        raise ModelError(f"the adapter {name} does not say which model it was trained on")
    try:
        source = _source(base)
        if Path(source, "adapter_config.json").exists():
            raise ModelError(f"{base} is an adapter itself: merge it into its own base first")
        network, tokenizer = _open(base, source, **{"device_map": None, **options})
    except ModelError as error:
        raise ModelError(f"the adapter {name} needs its base model: {error}") from error
    if any(Path(folder).glob("tokenizer*")):
        tokenizer = _tokenizer(folder, options)
    if len(tokenizer) > network.get_input_embeddings().weight.shape[0]:
        network.resize_token_embeddings(len(tokenizer))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return peft.PeftModel.from_pretrained(network, folder), tokenizer


def _tokenizer(source: str, options: Mapping[str, Any]) -> Any:
    forwarded = {k: options[k] for k in ("revision", "trust_remote_code") if k in options}
    return transformers.AutoTokenizer.from_pretrained(source, **forwarded)


def _not_found(name: str, source: str, error: OSError) -> str:
    if os.path.isdir(source):
        return f"the folder {source} is not a complete checkpoint: {_first_line(error)}"
    return (
        f"there is no model {name!r}: it is not a local folder, not a .gguf file, not one of the "
        f"short names ({', '.join(PACKAGED)}), and the hub did not give it "
        f"({_first_line(error)})"
    )


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[0] if lines else type(error).__name__
    return line if len(line) <= 200 else line[:197] + "..."


def _check_causal(model: Model) -> None:
    """Refuse a model in which a later token changes the hidden state of an earlier one."""
    ids = torch.tensor([[5, 6], [5, 7]], device=model.device) % model.vocab_size
    with torch.inference_mode():
        states = model.run_decoder({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    if not bool(torch.isfinite(states).all()):
        raise StateError(
            f"the hidden states of {model.name} are not finite: load it with dtype='float32' or "
            "'bfloat16' (--dtype), unless its weights are damaged"
        )
    first, second = states[0, 0].float(), states[1, 0].float()
    if not torch.allclose(first, second, rtol=1e-3, atol=1e-3 * float(first.abs().max())):
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
