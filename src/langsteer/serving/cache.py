"""A cache of keys and values whose rows come and go.

Columns are filled from the left: a row that is shorter than the widest has padding before it, which the mask of
attention hides. Each layer keeps all columns, or the last ones that a sliding window sees.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

PLAIN = (DynamicLayer, DynamicSlidingWindowLayer)


def rows_may_change(cache: Any) -> bool:
    """Whether rows of this cache can be taken out and put in: not where a layer has other states."""
    layers = getattr(cache, "layers", None) or ()
    return len(layers) > 0 and all(type(layer) in PLAIN for layer in layers)


def keep_rows(cache: Any, attention: Tensor, rows: Tensor) -> Tensor:
    """Keep these rows only, and no column that is padding in all of them.

    `attention` [rows, columns] is 1 where there is a token; returns that of what is kept.
    """
    attention = attention[rows]
    gone = int(attention.argmax(1).min())
    for layer in _filled(cache):
        layer.batch_select_indices(rows.to(layer.keys.device))
        _drop_columns(layer, gone)
    return attention[:, gone:]


def join_rows(cache: Any, attention: Tensor, other: Any, other_attention: Tensor) -> Tensor:
    """Put the rows of another cache below those of `cache`; returns the mask of both."""
    for layer, added in zip(cache.layers, other.layers, strict=True):
        if not layer.is_initialized:  # it shares the keys and values of another
            continue
        columns = max(layer.keys.shape[-2], added.keys.shape[-2])
        for name in ("keys", "values"):
            parts = [_padded(getattr(part, name), columns) for part in (layer, added)]
            setattr(layer, name, torch.cat(parts))
        if isinstance(layer, DynamicSlidingWindowLayer):
            layer.cumulative_length = max(layer.cumulative_length, added.cumulative_length)
    columns = max(attention.shape[1], other_attention.shape[1])
    masks = (attention, other_attention)
    return torch.cat([_left(mask, columns - mask.shape[1]) for mask in masks])


def _filled(cache: Any) -> list[Any]:
    return [layer for layer in cache.layers if layer.is_initialized]


def _drop_columns(layer: Any, gone: int) -> None:
    """Take the first columns out; a sliding window has lost some of them already."""
    kept = layer.get_seq_length() - gone
    if isinstance(layer, DynamicSlidingWindowLayer):
        layer.cumulative_length = kept
        kept = min(kept, layer.sliding_window - 1)
    first = layer.keys.shape[-2] - kept
    layer.keys, layer.values = layer.keys[..., first:, :], layer.values[..., first:, :]


def _padded(states: Tensor, columns: int) -> Tensor:
    """Keys or values [rows, heads, columns, size] with zeros before them."""
    return torch.nn.functional.pad(states, (0, 0, columns - states.shape[-2], 0))


def _left(mask: Tensor, more: int) -> Tensor:
    return torch.nn.functional.pad(mask, (more, 0))
