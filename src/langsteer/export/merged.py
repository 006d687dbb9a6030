"""A checkpoint with the vector inside, which transformers and what reads its files open without langsteer.

    bias of the block's last projection ← bias + strength × v

Exact, to rounding, where that projection goes into the residual stream as it is, and the architecture knows a
bias there: of its own (GPT-2, GPT-NeoX, OPT, BLOOM), or by an option of its configuration (Llama's `mlp_bias`),
all other biases that this adds being zero. A checkpoint knows no positions: the vector acts at every token, the
beginning-of-sequence token too.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from langsteer.errors import ExportError
from langsteer.export.format import (
    ExportFormat,
    check_everywhere,
    check_layers,
    everywhere_note,
    scaled,
    vectors_of,
)
from langsteer.export.places import find_bias, without_weights
from langsteer.model.model import Model, base_network
from langsteer.model.opening import as_model
from langsteer.model.tokens import encode
from langsteer.progress import announce
from langsteer.steering.change import Change
from langsteer.steering.vector import SteeringVector
from langsteer.storage.files import write_folder, write_json
from langsteer.text.corpus import builtin
from langsteer.version import __version__

TITLE = "merged checkpoint"
RECORD = "langsteer.json"
FEW_TOKENS, FEW_LINES = 12, 2
CLOSE = {torch.float32: 1e-3}  # share of what steering does to the logits
CLOSE_IN_HALF = 0.1


def export(
    changes: Sequence[Change], path: str | Path, *, everywhere: bool = False, model: Any = None
) -> dict[str, Any]:
    """Write a checkpoint of `model` that holds the vectors of one language; what its record says.

    It is read back and compared with steering before it is put in its place. `everywhere` permits
    vectors that were fitted for some tokens. Raises ExportError, where there is no place for them,
    VectorError, where they are another model's, and SaveError.
    """
    vectors = vectors_of(changes, TITLE)
    check_layers(vectors, TITLE)
    check_everywhere(vectors, TITLE, everywhere)
    if model is None:
        raise ExportError(f"a {TITLE} is one of the model: pass model=, the model itself (--model)")
    here = as_model(model)
    for vector in vectors:
        vector.check_fits(here)
    _check_weights(here)
    places = {vector.layer: find_bias(here, vector.layer) for vector in vectors}
    record = _record(here, vectors, places)

    def fill(part: Path) -> None:
        _save(here, vectors, places, part)
        record["difference"] = _compare(here, vectors, part)
        write_json(part / RECORD, record)

    write_folder(path, fill)
    for note in filter(None, (record["everywhere"], record["difference"])):
        announce(f"{path}: {note}")
    return record


def _check_weights(model: Model) -> None:
    base = base_network(model.network)
    if hasattr(model.network, "peft_config"):
        raise ExportError(
            f"{model.name} is an adapter on a model: merge the adapter into it first "
            "(merge_and_unload of peft), and fit the vector to that"
        )
    if getattr(base, "is_quantized", False):
        raise ExportError(f"{model.name} is quantised: open it unquantised to put a vector into it")
    if any(parameter.is_meta for parameter in base.parameters()):
        raise ExportError(f"weights of {model.name} are offloaded: open it without --device-map")


def _record(
    model: Model,
    vectors: Sequence[SteeringVector],
    places: dict[int, tuple[str, str | None]],
) -> dict[str, Any]:
    return {
        "format": "langsteer merged checkpoint",
        "format_version": 1,
        "langsteer": __version__,
        "model": {"name": model.name, "fingerprint": model.fingerprint},
        "vectors": [
            {**vector.record(), "bias": places[vector.layer][0], "option": places[vector.layer][1]}
            for vector in vectors
        ],
        "everywhere": everywhere_note(vectors),
    }


def _save(
    model: Model,
    vectors: Sequence[SteeringVector],
    places: dict[int, tuple[str, str | None]],
    folder: Path,
) -> None:
    """Weights are shared with the model's own, which stay as they are."""
    options = {option for _, option in places.values()}
    if len(options) > 1:
        raise ExportError(f"the layers {sorted(places)} want different options: {options}")
    target = without_weights(model, options.pop())
    names = {id(module): name for name, module in target.network.named_modules()}
    weights = _weights_for(base_network(model.network), target.network, model.dtype)
    for vector in vectors:
        block, (place, _) = target.blocks[vector.layer], places[vector.layer]
        key = f"{names[id(block.get_submodule(place))]}.bias"
        bias = weights[key]
        added = scaled(vector).values.to(bias.device)
        weights[key] = (bias.float() + added).to(bias.dtype)
    target.network.load_state_dict(weights, assign=True)
    target.network.tie_weights()
    target.network.generation_config = base_network(model.network).generation_config
    target.network.save_pretrained(folder)
    if model.tokenizer is not None:
        model.tokenizer.save_pretrained(folder)


def _weights_for(base: nn.Module, target: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights of `base`, with zeros for the biases that `target` has beside them."""
    weights, wanted = dict(base.state_dict()), target.state_dict()
    added = [name for name in wanted if name not in weights]
    if set(weights) - set(wanted) or not all(name.endswith(".bias") for name in added):
        raise ExportError("a bias in the configuration changes more than biases: not merged")
    device = next(base.parameters()).device
    zeros = {name: torch.zeros(wanted[name].shape, dtype=dtype, device=device) for name in added}
    return weights | zeros


@torch.no_grad()
def _compare(model: Model, vectors: Sequence[SteeringVector], folder: Path) -> str | None:
    """What the beginning-of-sequence token changes, in words, where the model has one.

    Raises ExportError where, without that token, the checkpoint does not do what steering does.
    """
    base = base_network(model.network)
    merged = type(base).from_pretrained(folder, dtype=model.dtype).eval().to(model.device)
    allowed = [i for i in range(model.vocab_size) if i not in (model.bos_id, model.pad_id)]
    row = torch.tensor([allowed[-FEW_TOKENS:]], device=model.device)
    theirs, ours, plain = _three_logits(model, merged, vectors, row)
    off, effect = (theirs - ours).abs().mean(), (ours - plain).abs().mean()
    rounding = 16 * torch.finfo(model.dtype).eps * ours.abs().mean()
    if not off <= CLOSE.get(model.dtype, CLOSE_IN_HALF) * effect + rounding:
        raise ExportError(
            f"the checkpoint differs from steering by {off:.2g} in its logits, of which steering "
            f"changes {effect:.2g}: it was not kept"
        )
    return _beginning_note(model, merged, vectors)


def _beginning_note(model: Model, merged: Any, vectors: Sequence[SteeringVector]) -> str | None:
    if model.tokenizer is None or model.bos_id is None:
        return None
    texts = builtin().texts
    lines = texts.get(vectors[0].language, texts["en"])[:FEW_LINES]
    sums = torch.zeros(2)
    tokens = 0
    for text in encode(model, lines):
        ids = text.ids if text.ids[0] == model.bos_id else [model.bos_id, *text.ids]
        row = torch.tensor([ids], device=model.device)
        logits = [x[:, 1:].log_softmax(-1) for x in _three_logits(model, merged, vectors, row)]
        sums += torch.stack([_divergence(logits[1], other) for other in (logits[0], logits[2])])
        tokens += row.shape[1] - 1
    here, steering = (sums / max(1, tokens)).tolist()
    return (
        "the beginning-of-sequence token is steered too, which langsteer never does: where a text "
        f"begins with it, answers diverge from langsteer's by {here:.2g} nats a token, and those of "
        f"the unsteered model by {steering:.2g}"
    )


def _three_logits(
    model: Model, merged: Any, vectors: Sequence[SteeringVector], row: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits [1, tokens, vocabulary] of the checkpoint, of the steered model, of the plain one."""
    inputs = {"input_ids": row, "attention_mask": torch.ones_like(row)}
    plain = model.network(**inputs).logits.float()
    with contextlib.ExitStack() as stack:
        for vector in vectors:
            stack.enter_context(vector.applied(model, positions="all"))
        ours = model.network(**inputs).logits.float()
    return merged(**inputs).logits.float(), ours, plain


def _divergence(ours: Tensor, theirs: Tensor) -> Tensor:
    """Kullback-Leibler divergence of log-probabilities [1, tokens, vocabulary], summed: nats."""
    return (ours.exp() * (ours - theirs)).sum().cpu()


FORMAT = ExportFormat("merged", "checkpoint with the vector inside", "", export)
