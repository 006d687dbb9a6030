"""Where in a block a bias is added to the block's output as it is, found out by trying.

A module whose output goes straight into the residual stream after everything else in the block (the last
projection; in blocks with parallel branches that of attention too) may have v added to its output: then the
block's output moves by v, and by nothing else. What is followed by a norm, weighted, or read by another part
moves it otherwise.
"""

import contextlib
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from langsteer.errors import ExportError
from langsteer.model.model import Model, base_network
from langsteer.model.opening import wrap_model
from langsteer.states.intervention import output_states

TOKENS = 6
EXACT_SHARE = 0.99  # of the numbers; the rest may be rounded away beside very large ones


def find_bias(model: Model, layer: int) -> tuple[str, str | None]:
    """The module of a block (`mlp.down_proj`) whose bias is added to the block's output as it is,
    and the option of the configuration that gives it one; None where it has one already.

    Raises ExportError, saying why, where there is none.
    """
    names = exact_places(model, layer)
    block = model.blocks[layer]
    for name in names:
        if _has_bias(block.get_submodule(name), model.hidden_size):
            return name, None
    for option in bias_options(model):
        there = without_weights(model, option).blocks[layer]
        for name in names:
            if _has_bias(there.get_submodule(name), model.hidden_size):
                return name, option
    raise ExportError(_why_not(model, block, names))


def exact_places(model: Model, layer: int) -> list[str]:
    """The modules of a block whose output, moved by any vector, moves the block's output by it.

    The last that ran comes first.
    """
    block = model.blocks[layer]
    ids = torch.arange(TOKENS, device=model.device)[None] % model.vocab_size
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    sized = _sized_modules(model, layer, inputs)
    before = _block_output(model, layer, inputs)
    generator = torch.Generator().manual_seed(0)
    size = float(before.float().abs().mean())
    delta = (torch.randn(model.hidden_size, generator=generator) * size).to(before)
    places = []
    for name in reversed(sized):
        with _moved(block.get_submodule(name), delta):
            after = _block_output(model, layer, inputs)
        if _moved_by(before, after, delta):
            places.append(name)
    return places


def bias_options(model: Model) -> Iterator[str]:
    """Options of the model's configuration that say no, and whose names speak of a bias."""
    for name, value in base_network(model.network).config.get_text_config().to_dict().items():
        if "bias" in name and value is False:
            yield name


def without_weights(model: Model, option: str | None) -> Model:
    """A model of the same configuration, but for `option`, which is on; its weights are on `meta`."""
    base = base_network(model.network)
    config = deepcopy(base.config)
    if option is not None:
        setattr(config.get_text_config(), option, True)
    with torch.device("meta"):
        network = type(base)(config)
    return wrap_model(network.eval(), model.tokenizer, name=model.name)


def _has_bias(module: nn.Module, size: int) -> bool:
    bias = getattr(module, "bias", None)
    return isinstance(bias, nn.Parameter) and bias.shape == (size,)


def _block_output(model: Model, layer: int, inputs: dict[str, Tensor]) -> Tensor:
    states: list[Tensor] = []
    hook = model.blocks[layer].register_forward_hook(
        lambda module, args, output: states.append(output_states(output))
    )
    try:
        with torch.no_grad():
            model.run_decoder(inputs)
    finally:
        hook.remove()
    return states[0]


def _sized_modules(model: Model, layer: int, inputs: dict[str, Tensor]) -> list[str]:
    """The names of the block's modules that give hidden states, in the order in which they end."""
    ended: list[str] = []
    hooks = [
        module.register_forward_hook(_note(ended, name, model.hidden_size))
        for name, module in model.blocks[layer].named_modules()
        if name
    ]
    try:
        _block_output(model, layer, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return list(dict.fromkeys(ended))


def _note(ended: list[str], name: str, size: int) -> Callable[..., None]:
    def hook(module: Any, args: Any, output: Any) -> None:
        states = output_states(output)
        if isinstance(states, Tensor) and states.shape[-1] == size:
            ended.append(name)

    return hook


@contextlib.contextmanager
def _moved(module: nn.Module, delta: Tensor) -> Iterator[None]:
    """Inside, what a module puts out is moved by `delta`."""

    def move(module: Any, args: Any, output: Any) -> Any:
        moved = output_states(output) + delta
        return (moved, *output[1:]) if isinstance(output, tuple) else moved

    hook = module.register_forward_hook(move)
    try:
        yield
    finally:
        hook.remove()


def _moved_by(before: Tensor, after: Tensor, delta: Tensor) -> bool:
    if not bool(torch.isfinite(after).all()):
        return False
    allowed = 8 * torch.finfo(before.dtype).eps * (before.float().abs() + delta.float().abs())
    allowed = allowed + torch.finfo(before.dtype).eps * before.float().abs().mean()
    off = ((after.float() - before.float()) - delta.float()).abs()
    return bool((off <= allowed).float().mean() >= EXACT_SHARE)


def _why_not(model: Model, block: nn.Module, exact: list[str]) -> str:
    kind = base_network(model.network).config.get_text_config().model_type
    start = f"the vector cannot be put into a checkpoint of {kind}"
    norms = [name for name in exact if "norm" in type(block.get_submodule(name)).__name__.lower()]
    if norms:
        return (
            f"{start}: a norm ({norms[0]}) follows the block's last projection, and what is "
            "added before it comes out as something else"
        )
    linear = [name for name in exact if isinstance(block.get_submodule(name), nn.Linear)]
    last = next(iter([*linear, *reversed(exact), "the last part of its block"]))
    return (
        f"{start}: {last} has no bias, and no option of the architecture's configuration gives it "
        "one"
    )
