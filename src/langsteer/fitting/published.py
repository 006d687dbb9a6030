"""What the methods of other papers share here: their lines, their layers, and the means of all languages."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from langsteer.errors import FitError
from langsteer.fitting.options import Options, PooledOptions, check_corpus
from langsteer.fitting.projection import SEARCH_LINES
from langsteer.model.model import Model
from langsteer.states.capture import MeanStates, Pool, mean_states
from langsteer.states.intervention import PositionKind
from langsteer.steering.change import Change
from langsteer.steering.sequence import ChangeSequence
from langsteer.storage.kept import as_kept
from langsteer.text.corpus import ParallelCorpus


@dataclass(frozen=True)
class EverywhereOptions(PooledOptions):
    """Options of what acts at all tokens and at one strength, where nothing else is said."""

    @property
    def acts_at(self) -> PositionKind:
        return self.positions or "all"

    @property
    def usual_strengths(self) -> tuple[float, ...]:
        return (1.0,)


@dataclass(frozen=True)
class Parts:
    """The lines that a method fits on, in the language and the pivot and in all languages that there
    are, and those that it chooses on.
    """

    fit: ParallelCorpus
    whole: ParallelCorpus
    choose: ParallelCorpus

    @classmethod
    def of(cls, corpus: ParallelCorpus, whole: ParallelCorpus | None = None) -> "Parts":
        """Dealt as by `langsteer.learn`; `whole` is the corpus in more languages."""
        language = check_corpus(corpus)
        whole = corpus if whole is None else whole
        parts = whole.split(fit=0.8, choose=0.2, report=0.0)
        choose = parts["choose"].only(language)
        few = choose.lines(range(min(SEARCH_LINES, len(choose))))
        return cls(parts["fit"].only(language), parts["fit"], few)


def layers_between(model: Model, low: float, high: float) -> tuple[int, ...]:
    """The layers from one share of the depth up to another, that one left out; at least one.

    Raises FitError where the shares are not in order between 0 and 1.
    """
    if not 0 <= low < high <= 1:
        raise FitError(f"shares of the depth rise from 0 to 1, and not from {low} to {high}")
    first = min(round(low * model.layers), model.layers - 1)
    return tuple(range(first, max(first + 1, round(high * model.layers))))


def layer_at(model: Model, depth: float) -> int:
    """The layer at a share of the depth, which may be the last."""
    return max(0, min(model.layers - 1, round(depth * model.layers)))


def language_means(
    model: Model, corpus: ParallelCorpus, layers: Sequence[int], pool: Pool
) -> dict[str, MeanStates]:
    """The mean states of each language of a corpus, the pivot too, at these layers.

    The model keeps them, so that fits of several languages read each language once.
    """
    wanted = tuple(sorted({model.check_layer(layer) for layer in layers}))

    def read(tag: str, lines: tuple[str, ...]) -> MeanStates:
        def make() -> MeanStates:
            return mean_states(model, lines, wanted, pool=pool, progress=f"{tag} states")

        return model.kept.get(f"mean states of {tag} at {wanted}, {pool}", make, lines)

    return {tag: read(tag, tuple(lines)) for tag, lines in corpus.texts.items()}


def stacked(means: Mapping[str, MeanStates], layer: int) -> Tensor:
    """The means at a layer as columns [hidden, languages], float64."""
    return torch.stack([mean.mean[layer] for mean in means.values()], dim=1)


def check_apart(apart: Tensor, corpus: ParallelCorpus, layer: int) -> Tensor:
    """`apart` itself. Raises FitError where it has no length: there is nothing to tell languages by."""
    if not float(apart.norm()) > 0:
        raise FitError(
            f"{corpus.name}: {corpus.language} and {corpus.pivot} have the same mean states at "
            f"layer {layer}"
        )
    return apart


def check_single(name: str, what: str, given: Sequence[Any] | None) -> None:
    """Raise FitError for several of what a method does not choose among."""
    if len(given or ()) > 1:
        raise FitError(
            f"{name} takes one {what}: it changes what is written, and there is no search for that"
        )


def check_later(name: str, first: int, second: int) -> None:
    """Raise FitError where the second part of a method would not lie above the first."""
    if second <= first:
        raise FitError(
            f"{name}: its second part lies above its first, and layer {second} is not above {first}"
        )


def origin(
    model: Model, corpus: ParallelCorpus, options: Options, method: str, **more: Any
) -> dict[str, Any]:
    """What a change says of where it is from, as fields of it."""
    return {
        "language": corpus.language,
        "pivot": corpus.pivot,
        "model": {"name": model.name, "fingerprint": model.fingerprint},
        "method": method,
        "options": as_kept({**asdict(options), **more}),
        "corpus": corpus.describe(),
    }


def in_sequence(
    changes: Sequence[Change], options: Options, method: str, **fields: Any
) -> ChangeSequence:
    """Changes that are one method's, one after another; `fields` are those of the sequence."""
    about = as_kept({**asdict(options), "method": method})
    return ChangeSequence(tuple(changes), options=about, **fields)
