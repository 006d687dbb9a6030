"""Model: a causal language model, and the parts of it that steering touches."""

import contextlib
import functools
import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPast

from langsteer.errors import LengthError, ModelError
from langsteer.model.devices import device_of
from langsteer.model.kept import Kept
from langsteer.model.positions import positions_of

LOGIT_BLOCK = 2048


@dataclass(frozen=True, eq=False)
class Model:
    """A causal language model and the parts of it that steering touches.

    `blocks[l]` is layer l; its output is the residual stream of shape [batch, tokens, hidden].
    `decoder` is the module that runs the blocks without the head. `tokenizer` is None where a
    bare network was wrapped; then texts cannot be encoded. `kept` holds what was found out of the
    model once.
    """

    name: str
    network: Any
    tokenizer: Any
    decoder: nn.Module
    blocks: Sequence[nn.Module]
    norm: nn.Module | None
    head: nn.Module
    kept: Kept = field(default_factory=Kept, repr=False)

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
    def positions(self) -> int | None:
        """How many tokens it reads, prompt and answer together; None where nothing sets an end."""
        return positions_of(self._config)

    @property
    def device(self) -> torch.device:
        """The device that token ids go to."""
        return device_of(self.network.get_input_embeddings())

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
        return dict(self.kept.get("fingerprint", self._fingerprint))

    def _fingerprint(self) -> dict[str, str | int]:
        return {
            "architecture": self._config.model_type,
            "layers": self.layers,
            "hidden_size": self.hidden_size,
            "vocab_size": self.vocab_size,
            "dtype": str(self.dtype).removeprefix("torch."),
            "weights": _weights_hash(self.network),
        }

    def check_layer(self, layer: int) -> int:
        """`layer` itself. Raises ModelError where the model has no such layer."""
        return check_layer(self.name, self.layers, layer)

    def check_length(self, tokens: int) -> None:
        """Raise LengthError where the model does not read so many tokens."""
        if self.positions is not None and tokens > self.positions:
            raise LengthError(
                f"{tokens} tokens are more than the {self.positions} positions of {self.name}: "
                "shorten the text"
            )

    def batch(self, ids: Sequence[Sequence[int]], padding_side: str = "left") -> dict[str, Tensor]:
        """Token ids [rows][tokens] as input of the decoder, padded on one side.

        Returns input_ids, attention_mask and, where the model takes them, position_ids, each
        [rows, longest]. Positions count from 0 at a row's first token, whatever the padding. Raises
        ModelError where a row is longer than the model reads.
        """
        longest = max(len(row) for row in ids)
        self.check_length(longest)
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
            yield start, self._logits_from(_block(start), hidden)

    def token_logits(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """The logits of `logits_of` for some tokens [n] alone: [..., n].

        Where a head cannot be taken apart, all are made.
        """
        if not self._head_comes_apart():
            return self.logits_of(hidden)[..., tokens.to(hidden.device)]
        head: Any = self.head
        return self._logits_from(tokens.to(head.weight.device), hidden)

    def _logit_starts(self) -> range:
        head: Any = self.head
        return range(0, len(head.weight), LOGIT_BLOCK)

    def _logits_from(self, part: slice | Tensor, hidden: Tensor) -> Tensor:
        head: Any = self.head
        bias = head.bias[part] if head.bias is not None else None
        forward = functools.partial(nn.functional.linear, weight=head.weight[part], bias=bias)
        with replaced_forward(head, forward):
            return self.logits_of(hidden)

    def _head_comes_apart(self) -> bool:
        """Whether the model makes each logit of its own row of the head alone. Found out once."""
        if type(self.head) is not nn.Linear or self.head.weight.is_meta:
            return False
        return self.kept.get("head comes apart", self._same_in_parts)

    def _same_in_parts(self) -> bool:
        with torch.inference_mode():
            state = torch.ones(1, self.hidden_size, device=self.device, dtype=self.dtype)
            whole = self.logits_of(state)
            parts = [self._logits_from(_block(start), state) for start in self._logit_starts()]
        joined = torch.cat(parts, -1)
        return joined.shape == whole.shape and torch.allclose(joined, whole, 0.02, 0.02)

    @property
    def _config(self) -> Any:
        return base_network(self.network).config.get_text_config()


def _block(start: int) -> slice:
    return slice(start, start + LOGIT_BLOCK)


class _DecoderOutput(BaseModelOutputWithPast):
    """Final-norm states alone; whatever else an architecture's head looks for is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def check_layer(name: str, count: int, layer: int) -> int:
    """`layer` itself. Raises ModelError where a model of so many layers has none of that number."""
    if not 0 <= layer < count:
        raise ModelError(f"{name} has no layer {layer}: its layers are 0 to {count - 1}")
    return layer


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


def base_network(network: Any) -> Any:
    """The transformers model inside a compiled or PEFT-wrapped one."""
    network = getattr(network, "_orig_mod", network)
    return network.get_base_model() if hasattr(network, "get_base_model") else network


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
