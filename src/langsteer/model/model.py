"""Open a causal language model from anywhere, and find its decoder blocks, final norm and head."""

import contextlib
import functools
import hashlib
import inspect
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from langsteer.errors import ModelError, StateError
from langsteer.model.converted import PACKAGED, gguf_checkpoint, packaged_checkpoint
from langsteer.progress import NOISY, quiet

DEFAULT_MODEL = "gemma-3-270m"
LOGIT_BLOCK = 2048

_HOW_TO_NAME = (
    "Name its parts by hand: load_model(name, blocks='model.layers', norm='model.norm', "
    "head='lm_head'), each the dotted path of a module in print(network)."
)


@dataclass(frozen=True, eq=False)
class Model:
    """A causal language model and the parts of it that steering touches.

    `blocks[l]` is layer l; its output is the residual stream of shape [batch, tokens, hidden].
    `decoder` is the module that runs the blocks without the head. `tokenizer` is None where a
    bare network was wrapped; then texts cannot be encoded.
    """

    name: str
    network: Any
    tokenizer: Any
    decoder: nn.Module
    blocks: Sequence[nn.Module]
    norm: nn.Module | None
    head: nn.Module
    _memo: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def layers(self) -> int:
        """The number of decoder blocks."""
        return len(self.blocks)

    @property
    def hidden_size(self) -> int:
        return int(self._config.hidden_size)

    @property
    def vocab_size(self) -> int:
        return int(self._config.vocab_size)

    @property
    def device(self) -> torch.device:
        """The device that token ids go to."""
        return next(self.network.get_input_embeddings().parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The data type of the residual stream."""
        return next(self.network.get_input_embeddings().parameters()).dtype

    @property
    def bos_id(self) -> int | None:
        """The id of the beginning-of-sequence token, None where the model has none."""
        named = getattr(self.tokenizer, "bos_token_id", None)
        return named if named is not None else self._config.bos_token_id

    @property
    def pad_id(self) -> int:
        """The id that fills a batch; what it is never matters, since it is masked."""
        for owner in (self.tokenizer, self._config):
            for kind in ("pad_token_id", "eos_token_id"):
                named = getattr(owner, kind, None)
                if isinstance(named, int) and named >= 0:
                    return named
        return 0

    @property
    def takes_position_ids(self) -> bool:
        return "position_ids" in inspect.signature(self.decoder.forward).parameters

    @property
    def fingerprint(self) -> dict[str, str | int]:
        """What tells this model from others: architecture, sizes, dtype and a hash of weights.

        The hash reads up to 64 numbers of each parameter, so it is cheap at any size. It changes
        with the data type, so it is only compared between models of the same one; it is empty
        where weights are offloaded, and leaves out those that bitsandbytes packs in 4 bits.
        """
        if "fingerprint" not in self._memo:
            self._memo["fingerprint"] = {
                "architecture": self._config.model_type,
                "layers": self.layers,
                "hidden_size": self.hidden_size,
                "vocab_size": self.vocab_size,
                "dtype": str(self.dtype).removeprefix("torch."),
                "weights": _weights_hash(self.network),
            }
        return dict(self._memo["fingerprint"])

    def check_layer(self, layer: int) -> int:
        """`layer` itself. Raises ModelError where the model has no such layer."""
        if not 0 <= layer < self.layers:
            raise ModelError(
                f"{self.name} has no layer {layer}: its layers are 0 to {self.layers - 1}"
            )
        return layer

    def batch(self, ids: Sequence[Sequence[int]], padding_side: str = "left") -> dict[str, Tensor]:
        """Token ids [rows][tokens] as input of the decoder, padded on one side.

        Returns input_ids, attention_mask and, where the model takes them, position_ids, each
        [rows, longest]. Positions count from 0 at a row's first token, whatever the padding.
        """
        longest = max(len(row) for row in ids)
        tokens = torch.full((len(ids), longest), self.pad_id)
        mask = torch.zeros_like(tokens)
        for row, values in enumerate(ids):
            where = (
                slice(longest - len(values), None) if padding_side == "left" else slice(len(values))
            )
            tokens[row, where] = torch.tensor(values)
            mask[row, where] = 1
        inputs = {"input_ids": tokens.to(self.device), "attention_mask": mask.to(self.device)}
        if self.takes_position_ids:
            inputs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0).to(self.device)
        return inputs

    def run_decoder(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Run the blocks and the final norm, not the head: [rows, tokens, hidden]."""
        output = self.decoder(**inputs, use_cache=False)
        return output[0] if isinstance(output, tuple) else output.last_hidden_state

    def last_logits(self, inputs: Mapping[str, Tensor], keep: int) -> Tensor:
        """Next-token logits at the last `keep` columns only: [rows, keep, vocabulary]."""
        return self.logits_of(self.run_decoder(inputs)[:, -keep:])

    def logits_of(self, hidden: Tensor) -> Tensor:
        """Next-token logits [..., vocabulary] of final-norm states [..., hidden].

        The model's own code makes them of the states, so that scaling and soft-capping are in.
        """
        network = base_network(self.network)
        rows = hidden.reshape(-1, 1, hidden.shape[-1]).contiguous()  # else matmul may be very slow
        ids = torch.zeros(rows.shape[:2], dtype=torch.long, device=hidden.device)
        output = _DecoderOutput(last_hidden_state=rows)
        with replaced_forward(self.decoder, lambda *args, **kwargs: output):
            logits = network(input_ids=ids, use_cache=False, return_dict=True).logits
        return logits.reshape(*hidden.shape[:-1], -1)

    def logit_blocks(self, hidden: Tensor) -> Iterator[tuple[int, Tensor]]:
        """The logits of `logits_of` for a part of the vocabulary at a time: its first id, and they.

        All of a large vocabulary at once does not fit into a processor's cache. Where a head
        cannot be taken apart, there is one part.
        """
        if not self._head_comes_apart():
            yield 0, self.logits_of(hidden)
            return
        for start in self._logit_starts():
            yield start, self._logits_from(start, hidden)

    def _logit_starts(self) -> range:
        head: Any = self.head
        return range(0, len(head.weight), LOGIT_BLOCK)

    def _logits_from(self, start: int, hidden: Tensor) -> Tensor:
        part = slice(start, start + LOGIT_BLOCK)
        head: Any = self.head
        bias = head.bias[part] if head.bias is not None else None
        forward = functools.partial(nn.functional.linear, weight=head.weight[part], bias=bias)
        with replaced_forward(head, forward):
            return self.logits_of(hidden)

    def _head_comes_apart(self) -> bool:
        """Whether the model makes each logit of its own row of the head alone. Found out once."""
        if type(self.head) is not nn.Linear or self.head.weight.is_meta:
            return False
        if "head_comes_apart" not in self._memo:
            with torch.inference_mode():
                state = torch.ones(1, self.hidden_size, device=self.device, dtype=self.dtype)
                whole = self.logits_of(state)
                parts = [self._logits_from(start, state) for start in self._logit_starts()]
            found = torch.cat(parts, -1)
            same = found.shape == whole.shape and torch.allclose(found, whole, 0.02, 0.02)
            self._memo["head_comes_apart"] = same
        return bool(self._memo["head_comes_apart"])

    @property
    def _config(self) -> Any:
        return base_network(self.network).config.get_text_config()


class _DecoderOutput(BaseModelOutputWithPast):
    """Final-norm states alone; whatever else an architecture's head looks for is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


@contextlib.contextmanager
def replaced_forward(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Inside, `module` runs `forward` instead of its own; hooks stay. Not for two threads."""
    own = module.__dict__.get("forward")
    try:
        module.forward = forward
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own


@contextlib.contextmanager
def frozen(model: Model) -> Iterator[None]:
    """Inside, no weight asks for a gradient and dropout is off; afterwards both are as before."""
    wanting = [p for p in model.network.parameters() if p.requires_grad]
    training = [m for m in model.network.modules() if m.training]
    try:
        for parameter in wanting:
            parameter.requires_grad_(False)
        model.network.eval()
        yield
    finally:
        for parameter in wanting:
            parameter.requires_grad_(True)
        for module in training:
            module.training = True


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
    found = _blocks_of(base, decoder, blocks)
    return Model(
        name=name or str(getattr(base.config, "name_or_path", "")) or type(base).__name__,
        network=network,
        tokenizer=tokenizer,
        decoder=decoder,
        blocks=tuple(found),
        norm=_module(base, norm) if norm else _norm_of(decoder, found),
        head=_module(base, head) if head else _head_of(base),
    )


def as_model(model: Any) -> Model:
    """`model` itself where it is a `Model`; otherwise the transformers network, wrapped."""
    return model if isinstance(model, Model) else wrap_model(model)


def base_network(network: Any) -> Any:
    """The transformers model inside a compiled or PEFT-wrapped one."""
    network = getattr(network, "_orig_mod", network)
    return network.get_base_model() if hasattr(network, "get_base_model") else network


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
    try:
        with quiet(NOISY):
            import peft
    except ImportError as error:
        raise ModelError(f"{name} is a PEFT adapter: pip install peft") from error
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
        found = _module(base, path)
        if not isinstance(found, nn.ModuleList) or not len(found):
            raise ModelError(f"{path!r} in {type(base).__name__} is not a list of blocks")
        return list(found)
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


def _norm_of(decoder: nn.Module, blocks: Sequence[nn.Module]) -> nn.Module | None:
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


def _weights_hash(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, parameter in sorted(network.named_parameters(remove_duplicate=False)):
        digest.update(name.rpartition("_orig_mod.")[2].encode())
        if hasattr(parameter, "quant_state"):  # 4-bit: its layout depends on the processor
            continue
        if parameter.is_meta:  # offloaded: its numbers are not here to be read
            return ""
        flat = parameter.detach().reshape(-1)
        step = max(1, flat.numel() // 64)
        digest.update(flat[::step][:64].cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
