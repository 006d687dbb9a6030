"""Which layer and which strength: those at which the model reads the language most as it reads English.

On pairs that were not fitted on, and without task labels: the mean over pairs of
KL( p(· | e, w) ‖ p(· | s + v, w) ), the next-token distributions after the same English words w, which are
other words than the ones `learned` fits with.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from langsteer.corpus import ParallelCorpus
from langsteer.errors import FitError, StateError
from langsteer.fitting.common import check_corpus
from langsteer.fitting.pivot import Pivot
from langsteer.intervention import Change
from langsteer.models import Model, frozen
from langsteer.passes import decode, lowest_layer
from langsteer.progress import track
from langsteer.tokens import Tokens, batches, encode, encode_suffix, pad_mask
from langsteer.vector import SteeringVector

# Larger ones bring the model nearer to English by this measure, and its answers no nearer to the right
# ones: see docs/strength.md.
STRENGTHS = (0.25, 0.5)
SUFFIXES = ("\nA headline for this text:", "\nThe subject of the text above is")


@dataclass(frozen=True)
class Trial:
    """One layer and strength, and how far the steered model is from the English one (nats)."""

    layer: int
    strength: float
    divergence: float


def search(
    model: Model,
    corpus: ParallelCorpus,
    vectors: Sequence[SteeringVector],
    strengths: Sequence[float] = STRENGTHS,
    pivot: Pivot | None = None,
) -> SteeringVector:
    """The best of vectors fitted at several layers, at its best strength.

    `corpus` must share no line with what is fitted on. The result's `scores` hold every trial and
    the divergence without steering, which says whether steering helped at all.
    """
    if not vectors or not strengths:
        raise FitError("a search needs at least one layer and one strength")
    if not all(map(math.isfinite, strengths)):
        raise FitError(f"strengths must be finite numbers, not {list(strengths)}")
    measure = Measure(model, corpus, pivot)
    grid = [(vector, strength) for vector in vectors for strength in strengths]
    unsteered, *found = measure.several(
        [(None, 0.0), *grid], progress="Choosing layer and strength"
    )
    best = min(range(len(grid)), key=found.__getitem__)
    vector, strength = grid[best]
    scores = {
        "divergence": found[best],
        "divergence_unsteered": unsteered,
        "chosen_on": corpus.describe(),
        "trials": [
            vars(Trial(vector.layer, strength, divergence))
            for (vector, strength), divergence in zip(grid, found, strict=True)
        ],
    }
    return replace(vector, strength=strength, scores=scores)


class Measure:
    """Mean divergence (nats) of the model reading the language from the model reading English."""

    def __init__(self, model: Model, corpus: ParallelCorpus, pivot: Pivot | None = None) -> None:
        self.model = model
        self.texts = self._with_suffixes(corpus.texts[check_corpus(corpus)])
        shared = Pivot.of(model, corpus, pivot)
        self.english = shared.once("next tokens", lambda: self._read(shared.lines))

    def __call__(self, change: Change | None, strength: float) -> float:
        return self.several([(change, strength)])[0]

    def several(
        self, trials: Sequence[tuple[Change | None, float]], progress: str | None = None
    ) -> list[float]:
        """The divergence under each change and strength; layers below the changes are run once."""
        groups = list(batches(self.texts))
        totals = [0.0] * len(trials)
        for index in track(groups, progress, len(groups)):
            wanted = self.english[index]
            for place, found in enumerate(self._last(self.texts, index, trials)):
                _check_finite(found, index)
                totals[place] += float((wanted.exp() * (wanted - found)).sum())
        return [total / len(self.texts) for total in totals]

    def _read(self, lines: Sequence[str]) -> Tensor:
        """Log-probabilities after each line, in the order of the lines."""
        texts = self._with_suffixes(lines)
        groups = list(batches(texts))
        found = torch.cat([next(self._last(texts, index, [(None, 0.0)])) for index in groups])
        _check_finite(found, [i for index in groups for i in index])
        order = torch.tensor([i for index in groups for i in index])
        return found[order.argsort()]

    def _with_suffixes(self, texts: Sequence[str]) -> list[Tokens]:
        suffixes = [encode_suffix(self.model, text) for text in SUFFIXES]
        encoded = encode(self.model, texts)
        return [t.followed_by(suffixes[i % len(suffixes)]) for i, t in enumerate(encoded)]

    def _last(
        self,
        tokens: Sequence[Tokens],
        index: Sequence[int],
        trials: Sequence[tuple[Change | None, float]],
    ) -> Iterator[Tensor]:
        """Log-probabilities of the next token [rows, vocabulary], under each trial in turn."""
        inputs = self.model.batch([tokens[i].ids for i in index])
        source = pad_mask([tokens[i].source for i in index])
        items = [list(change.interventions(s)) if change else [] for change, s in trials]
        layers = {lowest_layer(self.model, item) for item in items}
        with torch.inference_mode(), frozen(self.model):
            trunk = decode(self.model, inputs, keep=layers) if len(trials) > 1 else None
            for item in items:
                if trunk is not None and not item:
                    run = trunk
                else:
                    run = decode(self.model, inputs, item, "source", source, trunk=trunk)
                logits = self.model.logits_of(run.hidden[:, -1])
                yield torch.log_softmax(logits.float(), -1).cpu()


def _check_finite(log_p: Tensor, index: Sequence[int]) -> None:
    """-inf is the probability 0; NaN is none."""
    bad = log_p.isnan().any(dim=1)
    if bool(bad.any()):
        raise StateError(
            f"the model's output is not a number for text {index[int(bad.int().argmax())] + 1}: "
            "load the model with dtype='float32' or 'bfloat16', or choose smaller strengths"
        )
