"""Read a layer's states out as next-token probabilities: the logit lens and the tuned lens.

The logit lens puts a layer's states through the model's own final norm and head. The tuned lens
(Belrose et al., arXiv 2303.08112) first moves them by an affine translator that was trained for
the layer.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from langsteer.analysis.layers.results import Latent
from langsteer.errors import AnalysisError
from langsteer.model.finite import check_finite
from langsteer.model.model import Model, frozen
from langsteer.progress import track

LOGIT, TUNED = "logit", "tuned"
_KEY = re.compile(r"layers\.(\d+)\.(weight|bias)")
_LOGITS_HELD = 1 << 23  # logits in memory at a time: 32 MB


@dataclass(frozen=True, eq=False)
class TunedLens:
    """An affine translator for each layer: h ← h + weight h + bias.

    `weights[l]` is [hidden, hidden] and `biases[l]` [hidden], float32. A layer without one is read
    as it is.
    """

    weights: dict[int, Tensor]
    biases: dict[int, Tensor]

    @classmethod
    def read(cls, path: str | Path, model: Model) -> "TunedLens":
        """Read a safetensors file with `layers.<l>.weight` and `layers.<l>.bias` for each layer.

        Only the last layer, which needs none, may be left out. Raises AnalysisError where the
        file is damaged or does not fit the model.
        """
        tensors = _read_tensors(Path(path))
        parts: dict[str, dict[int, Tensor]] = {"weight": {}, "bias": {}}
        for key, tensor in tensors.items():
            match = _KEY.fullmatch(key)
            if match is None:
                raise AnalysisError(
                    f"{path} is not a tuned lens: it has {key!r}, where layers.<l>.weight and "
                    "layers.<l>.bias are due"
                )
            _check_translator(path, key, tensor, int(match[1]), match[2], model)
            parts[match[2]][int(match[1])] = tensor.float()
        for layer in range(model.layers):
            absent = [kind for kind, by_layer in parts.items() if layer not in by_layer]
            if absent and (layer < model.layers - 1 or len(absent) == 1):
                raise AnalysisError(f"the tuned lens {path} has no layers.{layer}.{absent[0]}")
        return cls(parts["weight"], parts["bias"])

    def translate(self, layer: int, states: Tensor) -> Tensor:
        """States [..., hidden] as the last layer would have them."""
        if layer not in self.weights:
            return states
        weight, bias = (part[layer].to(states.device) for part in (self.weights, self.biases))
        plain = states.float()
        return (plain + plain @ weight.T + bias).to(states.dtype)


def read_out(
    model: Model,
    before: Sequence[Tensor],
    after: Sequence[Tensor] | None,
    pivot: Sequence[Tensor],
    language: Sequence[Tensor],
    lens: TunedLens | None = None,
    progress: str | None = None,
) -> tuple[Latent, Latent | None]:
    """How much probability goes to some tokens at each layer, unsteered and steered.

    `before[l]` and `after[l]` are states [items, hidden] at layer l, before the final norm; where
    they are the very same tensor it is read once. `pivot[i]` and `language[i]` are the ids of the
    tokens that count as either for item i.
    """

    def shares(layer: int, states: Tensor) -> Tensor:
        moved = states if lens is None else lens.translate(layer, states)
        return token_shares(model, moved, pivot, language)

    plain, steered = [], []
    with frozen(model):
        for layer in track(range(len(before)), progress, len(before)):
            plain.append(shares(layer, before[layer]))
            if after is not None:
                same = after[layer] is before[layer]
                steered.append(plain[-1] if same else shares(layer, after[layer]))
    return _summary(torch.stack(plain)), _summary(torch.stack(steered)) if steered else None


@torch.inference_mode()
def token_shares(
    model: Model, states: Tensor, pivot: Sequence[Tensor], language: Sequence[Tensor]
) -> Tensor:
    """Probability of each item's pivot and language tokens: float64 [items, 2].

    Only the logits of a few items are ever in memory.
    """
    shares = torch.zeros(len(states), 2, dtype=torch.float64)
    rows = max(1, _LOGITS_HELD // model.vocab_size)
    for start in range(0, len(states), rows):
        part = states[start : start + rows].to(model.device)
        hidden = part if model.norm is None else model.norm(part)
        logits = model.logits_of(hidden).float()
        total = logits.logsumexp(1)
        check_finite(total, "the logits of the states", model.dtype)
        for row in range(len(part)):
            for side, tokens in enumerate((pivot[start + row], language[start + row])):
                logprobs = logits[row, tokens.to(logits.device)] - total[row]
                shares[start + row, side] = float(logprobs.exp().sum())
    return shares


def _summary(shares: Tensor) -> Latent:
    """Means and standard errors over items of shares [layers, items, 2]."""
    items = shares.shape[1]
    mean = shares.mean(1)
    spread = shares.std(1) if items > 1 else torch.full_like(mean, torch.nan)
    error = spread / math.sqrt(items)
    return Latent(
        pivot=tuple(mean[:, 0].tolist()),
        language=tuple(mean[:, 1].tolist()),
        neither=tuple((1 - mean.sum(1)).clamp(0, 1).tolist()),
        pivot_error=tuple(error[:, 0].tolist()),
        language_error=tuple(error[:, 1].tolist()),
        items=items,
    )


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise AnalysisError(f"there is no tuned lens file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise AnalysisError(f"{path} is truncated or not a safetensors file: {error}") from error


def _check_translator(
    path: str | Path, key: str, tensor: Tensor, layer: int, kind: str, model: Model
) -> None:
    if layer >= model.layers:
        raise AnalysisError(
            f"the tuned lens {path} has {key}, and {model.name} has the layers 0 to "
            f"{model.layers - 1}: it belongs to another model"
        )
    wanted = [model.hidden_size] * (2 if kind == "weight" else 1)
    if list(tensor.shape) != wanted:
        raise AnalysisError(
            f"the tuned lens {path} does not fit {model.name}: {key} has the shape "
            f"{list(tensor.shape)}, not {wanted}"
        )
    if not bool(torch.isfinite(tensor).all()):
        raise AnalysisError(f"the tuned lens {path} holds NaN or infinity in {key}")
