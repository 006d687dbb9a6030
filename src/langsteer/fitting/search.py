"""Which layer and which strength: those at which the model reads the language most as it reads English.

On pairs that were not fitted on, and without task labels: half the mean over pairs of ‖(f(s + v, w) − f(e, w)) R‖²,
where f are the final-norm states at the last of the same English words w, which are other words than the ones
`learned` fits with, and R is the metric of the output (see `metric`). To second order this is the divergence of the
next-token distributions, in nats, and it needs no logits. It counts as loss that a vector moves what the model says
after any text, which a centred fit does not see: so it finds the strength at which that costs more than it brings.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from langsteer.errors import FitError
from langsteer.fitting.metric import output_root
from langsteer.fitting.objectives import suffix_turns
from langsteer.fitting.options import STRENGTHS, check_corpus
from langsteer.fitting.readings import PivotReadings
from langsteer.model.model import Model, frozen
from langsteer.model.tokens import Tokens, batches, encode, pad_mask
from langsteer.progress import track
from langsteer.states.capture import check_rows
from langsteer.states.intervention import PositionKind
from langsteer.states.passes import forward_pass, lowest_layer
from langsteer.steering.change import Change
from langsteer.text.corpus import ParallelCorpus

SUFFIXES = ("\nA headline for this text:", "\nThe subject of the text above is")
_OUTPUT = "the final hidden states"


@dataclass(frozen=True)
class Trial:
    """One layer and strength, and how far the steered model is from the English one (nats)."""

    layer: int
    strength: float
    divergence: float


C = TypeVar("C", bound=Change)


def search(
    model: Model,
    corpus: ParallelCorpus,
    fitted: Sequence[C],
    strengths: Sequence[float] = STRENGTHS,
    readings: PivotReadings | None = None,
) -> C:
    """The best of changes that were fitted at several layers, at its best strength.

    `corpus` must share no line with what is fitted on. The result's `scores` hold every trial and
    the divergence without steering, which says whether steering helped at all.
    """
    if not fitted:
        raise FitError("a search needs at least one layer")
    check_strengths(strengths)
    measure = Measure(model, corpus, readings)
    grid = [(change, strength) for change in fitted for strength in strengths]
    unsteered, *divergences = measure.several(
        [(None, 0.0), *grid], progress="Choosing layer and strength"
    )
    best = min(range(len(grid)), key=divergences.__getitem__)
    change, strength = grid[best]
    scores = {
        **change.scores,
        "divergence": divergences[best],
        "divergence_unsteered": unsteered,
        "chosen_on": corpus.describe(),
        "trials": [
            vars(Trial(tried.layers[0], strength, divergence))
            for (tried, strength), divergence in zip(grid, divergences, strict=True)
        ],
    }
    return replace(change.with_strength(strength), scores=scores)  # type: ignore[type-var]


@dataclass(frozen=True)
class _English:
    """Final-norm states after the pivot's lines, float32 [lines, hidden], and the metric there."""

    states: Tensor
    root: Tensor


def check_strengths(strengths: Sequence[float]) -> None:
    """Raise FitError where there is none to try, or one is not a number."""
    if not strengths:
        raise FitError("a search needs at least one strength")
    if not all(map(math.isfinite, strengths)):
        listed = ", ".join(f"{strength:g}" for strength in strengths)
        raise FitError(f"strengths must be finite numbers, not {listed}")


class Measure:
    """Mean divergence (nats) of the model reading the language from the model reading English."""

    def __init__(
        self, model: Model, corpus: ParallelCorpus, readings: PivotReadings | None = None
    ) -> None:
        self.model = model
        self.texts = self._with_suffixes(corpus.texts[check_corpus(corpus)])
        shared = PivotReadings.of(model, corpus, readings)
        self.english = shared.once("after suffixes", lambda: self._read(shared.lines))

    def __call__(self, change: Change | None, strength: float) -> float:
        return self.several([(change, strength)])[0]

    def several(
        self, trials: Sequence[tuple[Change | None, float]], progress: str | None = None
    ) -> list[float]:
        """The divergence under each change and strength; layers below the changes are run once."""
        states = self._states(self.texts, trials, progress)
        return [self._divergence(states) for states in states]

    def _divergence(self, states: Tensor) -> float:
        apart = (states - self.english.states) @ self.english.root
        return float(apart.pow(2).sum(-1).mean()) / 2

    def _read(self, lines: Sequence[str]) -> _English:
        states = self._states(self._with_suffixes(lines), [(None, 0.0)])[0]
        return _English(states, output_root(self.model, states))

    def _with_suffixes(self, texts: Sequence[str]) -> list[Tokens]:
        turns = suffix_turns(self.model, SUFFIXES, len(texts))
        encoded = encode(self.model, texts)
        return [text.followed_by(turn) for text, turn in zip(encoded, turns, strict=True)]

    def _states(
        self,
        tokens: Sequence[Tokens],
        trials: Sequence[tuple[Change | None, float]],
        progress: str | None = None,
    ) -> Tensor:
        """Final-norm states at the last token under each trial, float32 [trials, texts, hidden]."""
        last_states = torch.empty(len(trials), len(tokens), self.model.hidden_size)
        groups = list(batches(tokens))
        for index in track(groups, progress, len(groups)):
            for place, states in enumerate(self._last(tokens, index, trials)):
                check_rows(self.model, states, _OUTPUT, index, "choose smaller strengths")
                last_states[place, index] = states
        return last_states

    def _last(
        self,
        tokens: Sequence[Tokens],
        index: Sequence[int],
        trials: Sequence[tuple[Change | None, float]],
    ) -> Iterator[Tensor]:
        """The states of a batch [rows, hidden], under each trial in turn."""
        inputs = self.model.batch([tokens[i].ids for i in index])
        source = pad_mask([tokens[i].source for i in index])
        items = [list(change.interventions(s)) if change else [] for change, s in trials]
        places = [_read_at(change.positions) if change else None for change, _ in trials]
        layers = {lowest_layer(self.model, item) for item in items}
        with torch.inference_mode(), frozen(self.model):
            trunk = forward_pass(self.model, inputs, keep=layers) if len(trials) > 1 else None
            for item, where in zip(items, places, strict=True):
                if trunk is not None and not item:
                    run = trunk
                else:
                    run = forward_pass(self.model, inputs, item, where, source, trunk=trunk)
                yield run.hidden[:, -1].float().cpu()


def _read_at(positions: PositionKind | None) -> PositionKind | None:
    """Where a change is tried that acts at `positions`: nothing is written here."""
    return "source" if positions == "generated" else positions
