"""What the vector of one language does for the texts of another.

Both are read at the vectors' layer and at the last one. A vector acts at its own positions, where the source
tokens are the texts'; what is measured is the mean over source tokens, which all positions but `generated`
hold. The layers below a vector are run once for all of them: each steered pass goes on from the states at
that layer.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from langsteer.analysis.alignment import mexa
from langsteer.analysis.inputs import chosen_lines
from langsteer.analysis.layers.reading import pooling_weights
from langsteer.analysis.vectors.results import RANDOM, Matrix, Transfer
from langsteer.errors import AnalysisError
from langsteer.model.model import Model
from langsteer.model.tokens import Tokens, batches, count_batches, encode, pad_mask, token_budget
from langsteer.progress import track
from langsteer.states.capture import check_states, visit_states
from langsteer.states.intervention import intervene, resumed
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import ParallelCorpus
from langsteer.text.languages import language_name

STRENGTH = 1.0


# How well a task is done in a language, with a vector or without (None), in per cent.
Task = Callable[[SteeringVector | None, str], float]


def transfer(
    model: Model,
    vectors: Sequence[SteeringVector],
    corpus: ParallelCorpus,
    *,
    lines: int | None = None,
    strength: float | None = STRENGTH,
    task: Task | None = None,
    control: bool = True,
    seed: int = 0,
    budget: int | None = None,
) -> Transfer:
    """Apply each vector to the texts of each language of a corpus, at one strength or each at its own.

    Of a corpus that comes split, its `report` part is read; `lines` takes so many, evenly spread.
    `control` adds a random direction, at the positions of the first vector. Raises AnalysisError
    where the vectors are of several layers or act on generated tokens, or the corpus has another
    pivot, and StateError for states that are not finite.
    """
    layer = _layer_of(model, vectors, corpus)
    text = chosen_lines(corpus, lines)
    every = [*vectors, _random_like(vectors, seed)] if control else list(vectors)
    scaled = [v if strength is None else v.with_strength(strength) for v in every]
    reader = _Reader(model, layer, budget or token_budget(model))
    pivot = reader.read(text.texts[text.pivot], [], language_name(text.pivot))
    columns = []
    for tag in text.languages:
        read = reader.read(text.texts[tag], scaled, f"Texts in {language_name(tag)}")
        columns.append(_column(read, pivot, scaled))
    tasks: Mapping[str, list[float]] = (
        {}
        if task is None
        else {tag: [task(v, tag) for v in (None, *scaled)] for tag in text.languages}
    )
    return Transfer(
        vectors=tuple(vector.language for vector in every),
        texts=text.languages,
        lines=len(text),
        corpus=text.name,
        strength=strength,
        at_layer=_rows([column.at_layer for column in columns]),
        at_last=_rows([column.at_last for column in columns]),
        mexa=_rows([column.mexa for column in columns]),
        mexa_unsteered=tuple(column.mexa_unsteered for column in columns),
        task=_rows([read[1:] for read in tasks.values()]),
        task_unsteered=tuple(read[0] for read in tasks.values()),
    )


@dataclass(frozen=True, eq=False)
class _Read:
    """Of the texts of a language: the mean state at the vectors' layer [hidden], and, at the last
    layer, the mean [hidden] and position-weighted means [lines, hidden], unsteered first.
    """

    at_layer: Tensor
    last: list[Tensor]
    weighted: list[Tensor]


@dataclass(frozen=True)
class _Column:
    at_layer: list[float]
    at_last: list[float]
    mexa: list[float]
    mexa_unsteered: float


class _Reader:
    """Reads the texts of a language under several vectors of one layer."""

    def __init__(self, model: Model, layer: int, budget: int) -> None:
        self.model, self.layer, self.budget = model, layer, budget

    def read(self, texts: Sequence[str], vectors: Sequence[SteeringVector], label: str) -> _Read:
        tokens = encode(self.model, texts)
        hidden, ways = self.model.hidden_size, 1 + len(vectors)
        sums = _Read(
            torch.zeros(hidden, dtype=torch.float64),
            [torch.zeros(hidden, dtype=torch.float64) for _ in range(ways)],
            [torch.empty(len(texts), hidden) for _ in range(ways)],
        )
        total = count_batches(tokens, self.budget)
        for index in track(batches(tokens, self.budget), label, total):
            self._read_batch(tokens, index, vectors, sums)
        sums.at_layer.div_(len(texts))
        for mean in sums.last:
            mean.div_(len(texts))
        return sums

    def _read_batch(
        self,
        tokens: Sequence[Tokens],
        index: list[int],
        vectors: Sequence[SteeringVector],
        sums: _Read,
    ) -> None:
        model = self.model
        source = pad_mask([tokens[i].source for i in index]).to(model.device)
        inputs = model.batch([tokens[i].ids for i in index])
        weights = pooling_weights(source)
        trunk: dict[int, Tensor] = {}
        visit_states(model, inputs, [self.layer], trunk.__setitem__)
        states = trunk[self.layer]
        pooled = _pooled(model, states, weights, self.layer, index)
        sums.at_layer.add_(pooled[:, 0].sum(0).double())
        for way, vector in enumerate((None, *vectors)):
            last: dict[int, Tensor] = {}
            with resumed(model, self.layer, states), self._steered(vector, source):
                visit_states(model, inputs, [model.layers - 1], last.__setitem__)
            pooled = _pooled(model, last[model.layers - 1], weights, model.layers - 1, index)
            sums.last[way].add_(pooled[:, 0].sum(0).double())
            sums.weighted[way][index] = pooled[:, 1]

    @contextlib.contextmanager
    def _steered(self, vector: SteeringVector | None, source: Tensor) -> Iterator[None]:
        if vector is None:
            yield
            return
        with intervene(self.model, vector.interventions(), vector.positions, source):
            yield


def _pooled(
    model: Model, states: Tensor, weights: Tensor, layer: int, index: Sequence[int]
) -> Tensor:
    """Means and position-weighted means of the source tokens, float32 [rows, 2, hidden]."""
    pooled = torch.bmm(weights[:, :2].to(states.device), states.float())
    check_states(model, pooled, layer, index)
    return pooled.cpu()


def _column(texts: _Read, pivot: _Read, vectors: Sequence[SteeringVector]) -> _Column:
    """The scores of all vectors on the texts of one language."""
    added = [texts.at_layer + v.strength * v.values.double() for v in vectors]
    plain, *steered = texts.last
    there = pivot.weighted[0]
    return _Column(
        at_layer=[_gone(texts.at_layer, mean, pivot.at_layer) for mean in added],
        at_last=[_gone(plain, mean, pivot.last[0]) for mean in steered],
        mexa=[mexa(here, there) for here in texts.weighted[1:]],
        mexa_unsteered=mexa(texts.weighted[0], there),
    )


def _gone(before: Tensor, after: Tensor, pivot: Tensor) -> float:
    """The share of the distance to the pivot's mean that is gone."""
    distance = float((before - pivot).norm())
    return 1 - float((after - pivot).norm()) / distance if distance else math.nan


def _layer_of(model: Model, vectors: Sequence[SteeringVector], corpus: ParallelCorpus) -> int:
    layers = {vector.layer for vector in vectors}
    if len(layers) != 1:
        raise AnalysisError(
            f"a transfer needs vectors of one layer, not of {', '.join(map(str, sorted(layers)))}"
            if layers
            else "there is no vector to carry over"
        )
    for vector in vectors:
        if vector.positions == "generated":
            raise AnalysisError(
                f"the vector of {vector.language} acts on generated tokens, and a transfer reads "
                "text: use one with positions source, prompt or all"
            )
        if vector.pivot != corpus.pivot:
            raise AnalysisError(
                f"the vector of {vector.language} leads to {vector.pivot}, and the pivot of "
                f"{corpus.name} is {corpus.pivot}: read it with {vector.pivot} as the pivot"
            )
    return model.check_layer(layers.pop())


def _random_like(vectors: Sequence[SteeringVector], seed: int) -> SteeringVector:
    """A random direction, as long as the vectors and as strong, on average."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(vectors[0].values.shape, generator=generator, dtype=torch.float64)
    length = sum(float(v.values.double().norm()) for v in vectors) / len(vectors)
    strength = sum(v.strength for v in vectors) / len(vectors)
    values = (direction / direction.norm() * length).float()
    return replace(vectors[0], values=values, language=RANDOM, strength=strength, method=RANDOM)


def _rows(columns: Sequence[Sequence[float]]) -> Matrix:
    """Columns as rows."""
    return tuple(zip(*columns, strict=True))
