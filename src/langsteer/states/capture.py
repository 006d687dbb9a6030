"""Run text and read hidden states: of the layers asked for, and no further than the deepest.

States are those at the output of the decoder blocks, in the residual stream, before any final norm.
No logits are computed, and sums are kept instead of states, so memory does not grow with the text.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from langsteer.errors import StateError
from langsteer.model.finite import check_finite
from langsteer.model.model import Model, frozen
from langsteer.model.tokens import (
    Text,
    Tokens,
    batches,
    count_batches,
    encode,
    pad_mask,
    token_budget,
)
from langsteer.progress import track
from langsteer.states.intervention import output_states

# How a text's token states become one vector: the mean over its source tokens, the last of them,
# or the mean over chosen ones, counted among the source tokens (negative: from the end).
Pool = str | tuple[int, ...]


@dataclass(frozen=True, eq=False)
class States:
    """Hidden states of one batch.

    `index` says which of the texts the rows are, `layers[l]` is [rows, tokens, hidden], and
    `source`, boolean [rows, tokens], marks the tokens that count: no padding, no template, no
    beginning-of-sequence token.
    """

    index: list[int]
    layers: dict[int, Tensor]
    source: Tensor


@dataclass(frozen=True, eq=False)
class MeanStates:
    """The mean over texts of pooled hidden states.

    `mean[l]` is [hidden] and `norm[l]` the mean length of the pooled states, both in float64;
    `count` is the number of texts.
    """

    mean: dict[int, Tensor]
    norm: dict[int, float]
    count: int


def capture(
    model: Model,
    texts: Sequence[Text] | Sequence[Tokens],
    layers: Sequence[int],
    *,
    budget: int | None = None,
    padding_side: str = "left",
    progress: str | None = None,
) -> Iterator[States]:
    """Yield hidden states batch by batch, longest texts first."""
    for index, source, inputs in _inputs(model, texts, budget, padding_side, progress):
        by_layer: dict[int, Tensor] = {}
        visit_states(model, inputs, layers, by_layer.__setitem__)
        yield States(index, by_layer, source)


def mean_states(
    model: Model,
    texts: Sequence[Text] | Sequence[Tokens],
    layers: Sequence[int],
    *,
    pool: Pool = "mean",
    budget: int | None = None,
    progress: str | None = None,
) -> MeanStates:
    """Pool each text's states and average them over the texts, in one pass over each text."""
    sums = StateSums(model.hidden_size, layers)
    for index, source, inputs in _inputs(model, texts, budget, "left", progress):
        visit = _pooling(model, source, pool, index, sums.add)
        visit_states(model, inputs, layers, visit)
        sums.count += len(index)
    return sums.mean()


class StateSums:
    """Sums of pooled states and of their lengths, by layer, of which `mean` makes means."""

    def __init__(self, hidden_size: int, layers: Sequence[int]) -> None:
        self.total = {layer: torch.zeros(hidden_size, dtype=torch.float64) for layer in layers}
        self.norm = dict.fromkeys(layers, 0.0)
        self.count = 0

    def add(self, index: Sequence[int], layer: int, pooled: Tensor) -> None:
        """Take in the texts of `index`, of pooled states [rows, hidden]; they are counted apart."""
        self.total[layer] += pooled.sum(0).double().cpu()
        self.norm[layer] += float(pooled.norm(dim=1).sum())

    def mean(self) -> MeanStates:
        count = self.count
        return MeanStates(
            {layer: total / count for layer, total in self.total.items()},
            {layer: norm / count for layer, norm in self.norm.items()},
            count,
        )


def sentence_states(
    model: Model,
    texts: Sequence[Text] | Sequence[Tokens],
    layers: Sequence[int],
    *,
    pool: Pool = "mean",
    budget: int | None = None,
    progress: str | None = None,
) -> Tensor:
    """One pooled state a text: float32 [texts, layers, hidden], in the order of the texts.

    Memory grows with texts × layers × hidden, not with their tokens.
    """
    result = torch.empty(len(texts), len(layers), model.hidden_size)
    place = {layer: i for i, layer in enumerate(layers)}

    def keep(index: Sequence[int], layer: int, pooled: Tensor) -> None:
        result[list(index), place[layer]] = pooled.float().cpu()

    for index, source, inputs in _inputs(model, texts, budget, "left", progress):
        visit_states(model, inputs, layers, _pooling(model, source, pool, index, keep))
    return result


def visit_states(
    model: Model,
    inputs: Mapping[str, Tensor],
    layers: Sequence[int],
    visit: Callable[[int, Tensor], None],
) -> None:
    """Run one batch and call `visit(layer, states)` as each layer's output is ready.

    Stops after the deepest layer. States are [rows, tokens, hidden], without gradients.
    """
    deepest = max(model.check_layer(layer) for layer in layers)
    with (
        _visiting(model, layers, visit, stop=deepest),
        torch.inference_mode(),
        frozen(model),
        contextlib.suppress(_DeepestReachedError),
    ):
        model.decoder(**inputs, use_cache=False)


@contextlib.contextmanager
def summing(model: Model, sums: StateSums, source: Tensor, index: Sequence[int]) -> Iterator[None]:
    """Inside, take the states of a pass over the texts of `index` into `sums`, pooled by their mean over
    the `source` tokens, boolean [rows, tokens]. The pass goes on to where it would have gone.
    """
    visit = _pooling(model, source, "mean", index, sums.add)
    with _visiting(model, list(sums.total), visit):
        yield
    sums.count += len(index)


@contextlib.contextmanager
def _visiting(
    model: Model,
    layers: Sequence[int],
    visit: Callable[[int, Tensor], None],
    stop: int | None = None,
) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for layer in set(layers):
            hook = _visiting_hook(layer, visit, stop=layer == stop)
            stack.callback(model.blocks[layer].register_forward_hook(hook).remove)
        yield


def pool_weights(source: Tensor, pool: Pool) -> Tensor:
    """Weights [rows, tokens] that sum to 1 over the source tokens that a pooling picks."""
    if pool == "mean":
        picked = source
    else:
        rank = source.int().cumsum(1) - 1
        chosen = (-1,) if pool == "last" else pool
        if isinstance(chosen, str):
            raise StateError(f"no pooling {pool!r}: use 'mean', 'last' or a tuple of positions")
        count = source.int().sum(1, keepdim=True)
        picked = torch.zeros_like(source)
        for position in chosen:
            picked |= source & (rank == (position if position >= 0 else count + position))
    weights = picked.float()
    return weights / weights.sum(1, keepdim=True).clamp(min=1)


class _DeepestReachedError(Exception):
    pass


def _visiting_hook(
    layer: int, visit: Callable[[int, Tensor], None], stop: bool
) -> Callable[..., None]:
    def hook(module: object, args: object, output: object) -> None:
        visit(layer, output_states(output))
        if stop:
            raise _DeepestReachedError

    return hook


def _inputs(
    model: Model,
    texts: Sequence[Text] | Sequence[Tokens],
    budget: int | None,
    padding_side: str,
    progress: str | None,
) -> Iterator[tuple[list[int], Tensor, dict[str, Tensor]]]:
    if not texts:
        raise StateError("there are no texts to read hidden states of")
    tokens = [t for t in texts if isinstance(t, Tokens)]
    if not tokens:
        tokens = encode(model, [t for t in texts if not isinstance(t, Tokens)])
    budget = budget or token_budget(model)
    total = count_batches(tokens, budget)
    for index in track(batches(tokens, budget), progress, total):
        source = pad_mask([tokens[i].source for i in index], padding_side)
        inputs = model.batch([tokens[i].ids for i in index], padding_side)
        yield index, source.to(model.device), inputs


def _pooling(
    model: Model,
    source: Tensor,
    pool: Pool,
    index: Sequence[int],
    use: Callable[[Sequence[int], int, Tensor], None],
) -> Callable[[int, Tensor], None]:
    """What a visit does to pool the states of the texts of `index`, and hand them to `use`."""
    weights = pool_weights(source, pool)

    def visit(layer: int, states: Tensor) -> None:
        weight = weights.to(states.device)
        pooled = torch.einsum("bth,bt->bh", states.float(), weight)
        check_states(model, pooled, layer, index)
        use(index, layer, pooled)

    return visit


def check_states(model: Model, pooled: Tensor, layer: int, index: Sequence[int]) -> None:
    """Raise StateError where a row of `pooled` [rows, ...] of the texts in `index` is no number."""
    check_rows(model, pooled, f"the hidden states at layer {layer}", index, "remove that text")


def check_rows(
    model: Model, values: Tensor, what: str, index: Sequence[int], otherwise: str = ""
) -> None:
    """Raise StateError where a row of `values` [rows, ...] is no number; it names the row's text."""
    bad = (~torch.isfinite(values)).flatten(1).any(dim=1)
    if bool(bad.any()):
        row = int(bad.int().argmax())
        check_finite(values[row], f"{what} of text {index[row] + 1}", model.dtype, otherwise)
