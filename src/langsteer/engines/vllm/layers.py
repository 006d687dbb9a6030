"""The blocks of a vLLM model that vectors act on: h ← h + scale[token] × table[index[token]].

A block returns its output beside the residual stream that it is yet to be added to, or the sum of both; what is added
to the first is added to the sum. The class of a block is replaced before the model is compiled, so that the
addition is a part of the compiled graph, and reads buffers of one address: nothing is compiled anew for a request.
"""

import functools
from typing import Any

import torch
from torch import Tensor, nn

from langsteer.engines.vllm.running import Running
from langsteer.errors import VectorError

NAMES = ("layers", "h", "blocks")  # what models call the list of their blocks


def install(model: nn.Module, running: Running, layers: int) -> None:
    """Make the blocks that have vectors add them. `layers` is how many blocks the model has.

    Blocks that another pipeline stage holds are left out. Raises VectorError where they are not found.
    """
    from vllm.model_executor.models.utils import PPMissingLayer

    blocks = find_blocks(model, layers)
    device = running.buffers.index.device
    for layer in running.catalogue.layers:
        block: Any = blocks[layer]
        kind: Any = type(block)
        if isinstance(block, PPMissingLayer):
            continue
        table = running.tables[layer] = running.catalogue.table(layer).to(device)
        for name, buffer in (
            ("table", table),
            ("index", running.buffers.index),
            ("scale", running.buffers.scale),
        ):
            block.register_buffer(f"langsteer_{name}", buffer, persistent=False)
        block.__class__ = steered_class(kind)


def find_blocks(model: nn.Module, layers: int) -> nn.ModuleList:
    """The list of decoder blocks. Raises VectorError where there is none, or several could be it."""
    getter = getattr(model, "get_language_model", None)
    text: nn.Module = getter() if callable(getter) else model
    lists = [
        module
        for name, module in text.named_modules()
        if isinstance(module, nn.ModuleList)
        and name.rpartition(".")[2] in NAMES
        and len(module) == layers
    ]
    if len(lists) != 1:
        raise VectorError(
            f"cannot find the {layers} decoder blocks of {type(model).__name__}: {len(lists)} lists of "
            "modules could be they, so that vLLM cannot steer it: serve it with --engine transformers"
        )
    return lists[0]


@functools.cache
def steered_class(block: Any) -> Any:
    """A subclass of a block's class that adds to the states that it returns."""

    class Steered(block):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            output = super().forward(*args, **kwargs)
            if isinstance(output, tuple):
                return (_added(self, output[0]), *output[1:])
            return _added(self, output)

    Steered.__name__ = Steered.__qualname__ = f"Steered{block.__name__}"
    return Steered


def _added(block: Any, hidden: Tensor) -> Tensor:
    """`hidden` with what this step adds: [tokens, hidden], or [1, tokens, hidden] where a model is
    transformers' own, run by vLLM.
    """
    table, tokens = block.langsteer_table, hidden.shape[-2]
    single = hidden.dim() == 2 or (hidden.dim() == 3 and hidden.shape[0] == 1)
    if not single or hidden.shape[-1] != table.shape[1]:
        raise VectorError(
            f"{type(block).__name__} returns states of another form than [tokens, {table.shape[1]}]"
        )
    rows = torch.nn.functional.embedding(block.langsteer_index[:tokens], table)
    return hidden + (rows * block.langsteer_scale[:tokens, None]).to(hidden.dtype)
