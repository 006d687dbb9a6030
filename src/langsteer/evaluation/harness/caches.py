"""Caches of a context's keys and values, which several answers go on from."""

import copy
import sys
from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from langsteer.model.model import Model


def can_share_contexts(model: Model) -> bool:
    """Whether the model keeps a cache whose rows can be repeated and gone on from. Found out once."""
    return cache_window(model) > 0


def cache_window(model: Model) -> int:
    """How far back the narrowest layer of the model's cache looks; 0 where it cannot be shared."""
    return model.kept.get("cache window", lambda: _narrowest_window(model))


def _narrowest_window(model: Model) -> int:
    with torch.inference_mode():
        output = model.decoder(**model.batch([[model.pad_id]]), use_cache=True)
    cache = getattr(output, "past_key_values", None)
    layers = cache.layers if type(cache) is DynamicCache else []
    fits = bool(layers) and all(isinstance(layer, DynamicLayer) for layer in layers)
    windows = [int(getattr(layer, "sliding_window", None) or sys.maxsize) for layer in layers]
    return min(windows) if fits else 0


def rows_of(cache: Any, rows: Sequence[int]) -> Any:
    """A cache of these rows; the one given stays as it is."""
    chosen = copy.copy(cache)
    chosen.layers = [copy.copy(layer) for layer in cache.layers]
    chosen.batch_select_indices(torch.tensor(rows, device=cache.layers[0].keys.device))
    return chosen
