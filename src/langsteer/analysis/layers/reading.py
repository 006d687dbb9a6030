"""Read parallel text once and keep what all measures need, before and after steering.

Memory holds one pooled state a sentence, a layer and a pooling, the states at the token positions
that were picked, and sums: it does not grow with the tokens of a text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from langsteer.analysis.layers.norms import NormSums
from langsteer.model.model import Model
from langsteer.model.tokens import Tokens, batches, count_batches, pad_mask, token_budget
from langsteer.progress import track
from langsteer.states.capture import check_states, pool_weights, visit_states
from langsteer.states.intervention import resumed
from langsteer.steering.vector import SteeringVector

# A token to keep the states of: its text, and its place among the text's tokens.
Pick = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Reading:
    """What is kept of texts, each a list by layer.

    `mean`, `weighted` and `last`, float32 [texts, hidden], are the mean over a text's source
    tokens, the mean with weights that grow linearly with the position (1, 2, 3, …), and the last
    source token. `picked`, [picks, hidden], has the states at the tokens asked for, in the
    model's data type.
    """

    mean: list[Tensor]
    weighted: list[Tensor]
    last: list[Tensor]
    picked: list[Tensor]
    norms: list[NormSums]

    @classmethod
    def empty(cls, model: Model, texts: int, picks: int, layers: int) -> "Reading":
        def pooled() -> list[Tensor]:
            return [torch.empty(texts, model.hidden_size) for _ in range(layers)]

        return cls(
            pooled(),
            pooled(),
            pooled(),
            [torch.empty(picks, model.hidden_size, dtype=model.dtype) for _ in range(layers)],
            [NormSums(model.hidden_size) for _ in range(layers)],
        )

    def above(self, lower: "Reading", layer: int) -> "Reading":
        """This reading, of the layers from `layer` up, on top of those of another below."""
        return Reading(
            lower.mean[:layer] + self.mean,
            lower.weighted[:layer] + self.weighted,
            lower.last[:layer] + self.last,
            lower.picked[:layer] + self.picked,
            lower.norms[:layer] + self.norms,
        )


def read_texts(
    model: Model,
    tokens: Sequence[Tokens],
    *,
    picks: Sequence[Pick] = (),
    vector: SteeringVector | None = None,
    strength: float | None = None,
    other_weights: bool = False,
    budget: int | None = None,
    progress: str | None = None,
) -> tuple[Reading, Reading | None]:
    """Read all layers of each text in one pass, unsteered and, with `vector`, steered.

    The vector acts at its own positions, where the source tokens are the texts'. A steered
    pass goes on from the unsteered states at the vector's layer, so the layers below are run
    once; the states at that layer are those after the addition. Raises StateError for states that
    are not finite, VectorError for a vector that does not fit.
    """
    before = Reading.empty(model, len(tokens), len(picks), model.layers)
    lowest = model.layers if vector is None else vector.layer
    after = Reading.empty(model, len(tokens), len(picks), model.layers - lowest)
    for batch in _batches(model, tokens, picks, budget or token_budget(model), progress):
        trunk = batch.read(model, before, 0, remember=lowest)
        if vector is None:
            continue
        # Entered before the reading hooks are added, which therefore see what the vector made.
        with (
            resumed(model, lowest, trunk.pop(lowest)),
            vector.applied(
                model, strength=strength, mask=batch.source, other_weights=other_weights
            ),
        ):
            batch.read(model, after, lowest)
    return before, None if vector is None else after.above(before, lowest)


@dataclass(frozen=True, eq=False)
class _ReadBatch:
    """`weights` [rows, 3, tokens] pool the source tokens; `rows`, `columns` and `slots` say where
    the picked tokens are and where they are kept.
    """

    index: list[int]
    inputs: dict[str, Tensor]
    source: Tensor
    weights: Tensor
    rows: Tensor
    columns: Tensor
    slots: Tensor

    def read(
        self, model: Model, reading: Reading, lowest: int, remember: int | None = None
    ) -> dict[int, Tensor]:
        """Keep what `reading` wants of the layers from `lowest` up; returns the states of one."""
        remembered: dict[int, Tensor] = {}

        def visit(layer: int, states: Tensor) -> None:
            if layer == remember:
                remembered[layer] = states
            self._keep(model, reading, layer - lowest, layer, states)

        visit_states(model, self.inputs, range(lowest, model.layers), visit)
        return remembered

    def _keep(self, model: Model, reading: Reading, place: int, layer: int, states: Tensor) -> None:
        states_float, device = states.float(), states.device
        pooled = torch.bmm(self.weights.to(device), states_float)
        check_states(model, pooled, layer, self.index)
        mean, weighted, last = pooled.cpu().unbind(1)
        reading.mean[place][self.index] = mean
        reading.weighted[place][self.index] = weighted
        reading.last[place][self.index] = last
        reading.norms[place].add(states_float, self.source.to(device))
        if len(self.slots):
            picked = states[self.rows.to(device), self.columns.to(device)]
            reading.picked[place][self.slots] = picked.cpu()


def _batches(
    model: Model, tokens: Sequence[Tokens], picks: Sequence[Pick], budget: int, progress: str | None
) -> Iterator[_ReadBatch]:
    slots: dict[int, list[tuple[int, int]]] = {}
    for slot, (text, token) in enumerate(picks):
        slots.setdefault(text, []).append((slot, token))
    for index in track(batches(tokens, budget), progress, count_batches(tokens, budget)):
        source = pad_mask([tokens[i].source for i in index]).to(model.device)
        longest = source.shape[1]
        picked = [
            (row, longest - len(tokens[text]) + token, slot)
            for row, text in enumerate(index)
            for slot, token in slots.get(text, ())
        ]
        rows, columns, into = torch.tensor(picked, dtype=torch.long).reshape(-1, 3).unbind(1)
        yield _ReadBatch(
            index,
            model.batch([tokens[i].ids for i in index]),
            source,
            pooling_weights(source),
            rows,
            columns,
            into,
        )


def pooling_weights(source: Tensor) -> Tensor:
    """[rows, 3, tokens]: of the mean, of the position-weighted mean, and of the last token."""
    rising = source.cumsum(1) * source
    weighted = rising / rising.sum(1, keepdim=True).clamp(min=1)
    return torch.stack([pool_weights(source, "mean"), weighted, pool_weights(source, "last")], 1)
