"""The file of the lm-evaluation-harness's own `steered` model: `lm_eval --model steered`.

    {hookpoint: {"steering_vector": Tensor [1, hidden], "action": "add", "steering_coefficient": float}}

The hookpoint is the block's name in the base model (`layers.8`, or GPT-2's `h.8`). `add` acts on all tokens,
padding and the beginning-of-sequence token too.
"""

import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from langsteer.errors import ExportError
from langsteer.export.format import (
    ExportFormat,
    check_everywhere,
    check_layers,
    everywhere_note,
    reads,
    vectors_of,
)
from langsteer.model.model import base_network
from langsteer.model.opening import as_model
from langsteer.progress import announce
from langsteer.steering.change import Change
from langsteer.steering.foreign import read_torch
from langsteer.steering.vector import SteeringVector
from langsteer.storage.files import write_whole

TITLE = "file of the harness's steered model"


def export(
    changes: Sequence[Change], path: str | Path, *, everywhere: bool = False, model: Any = None
) -> tuple[SteeringVector, ...]:
    """Write the vectors of one language into a `.pt` file of plain tensors; what it holds.

    `everywhere` permits vectors that were fitted for some tokens. Blocks are named as in `model`,
    else as transformers names them in that architecture. Raises ExportError and SaveError.
    """
    vectors = vectors_of(changes, TITLE)
    check_layers(vectors, TITLE)
    check_everywhere(vectors, TITLE, everywhere)
    if model is not None:
        for vector in vectors:
            vector.check_fits(model)
        blocks = blocks_path(base_network(as_model(model).network), as_model(model).layers)
    else:
        blocks = _named_blocks(vectors[0])
    content = {
        f"{blocks}.{vector.layer}": {
            "steering_vector": vector.values.float()[None].clone(),
            "action": "add",
            "steering_coefficient": float(vector.strength),
        }
        for vector in vectors
    }
    if note := everywhere_note(vectors):
        announce(f"{path}: {note}")
    file = io.BytesIO()  # not a path, whose name would be in the file
    torch.save(content, file)
    write_whole(path, lambda part: part.write_bytes(file.getvalue()))
    return tuple(vectors)


def blocks_path(network: Any, layers: int) -> str:
    """The name of the list of decoder blocks in the base of a causal model of transformers.

    Raises ExportError where there is not one list of that length.
    """
    base = network.base_model
    lists = [
        name
        for name, module in base.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == layers
    ]
    if not lists:
        raise ExportError(f"cannot find the {layers} decoder blocks of {type(network).__name__}")
    return lists[0]


def _named_blocks(vector: SteeringVector) -> str:
    """The same, of a model of the vector's architecture that has no weights."""
    import transformers

    architecture = str(vector.model.get("fingerprint", {}).get("architecture", ""))
    try:
        config = transformers.AutoConfig.for_model(architecture, num_hidden_layers=_FEW)
        with torch.device("meta"):
            network = transformers.AutoModelForCausalLM.from_config(config)
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ExportError(
            f"the harness names blocks as the model does, and transformers cannot make one of the "
            f"architecture {architecture!r}: pass model=, the model itself (--model)"
        ) from error
    return blocks_path(network, _FEW)


_FEW = 3  # blocks, enough to tell their list from others

FORMAT = ExportFormat(
    "lm-eval",
    "lm-evaluation-harness, its model `steered`",
    ".pt",
    export,
    is_own=partial(reads, read_torch),
)
