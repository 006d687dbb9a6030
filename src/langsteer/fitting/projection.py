"""Projection: a linear map from the language's hidden states to the pivot's, at one layer or at all.

At layer l, over pairs of a pooled state h of a sentence and e of its translation,

    W, b = argmin  Σ ‖W h + b − e‖² + λ ‖W − I‖²          λ = ridge × mean of ‖h‖² ÷ hidden × pairs
    h ← (1 − α) h + α (W h + b)                            at the source tokens

b is zero unless there is an intercept; with one, a great λ leaves the mean difference alone.

INCLINE (Wang et al., arXiv 2410.12462) is λ = 0 and h ← h + α W h (`ridge=0`, `form="add"`) at all layers,
α chosen from −1 to 1. Its published code fits on the mean over a sentence's tokens, and acts on the prompt's
last token with W h of an unsteered pass; here all source tokens are mapped, on top of the maps below.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor

from langsteer.errors import FitError
from langsteer.fitting.options import Method, PooledOptions, check_corpus
from langsteer.fitting.readings import PivotReadings
from langsteer.fitting.search import Measure
from langsteer.model.model import Model
from langsteer.progress import track
from langsteer.states.capture import Pool, sentence_states
from langsteer.steering.projection import Form, Projection
from langsteer.text.corpus import ParallelCorpus

NAME = "projection"
NAME_ALL = "projection_all"

DEPTHS = (0.3, 0.45, 0.6)
RIDGES = (0.01, 0.1, 1.0, 10.0)
ALPHAS = (0.25, 0.5, 0.75, 1.0, 1.25)
ALPHAS_OF_ALL = (0.02, 0.05, 0.1, 0.2, 0.4)  # of the maps at all layers, each on top of the last
CHUNK = 128
SEARCH_LINES = 96


@dataclass(frozen=True)
class ProjectionOptions(PooledOptions):
    """`layers`: those to map, none for the one at 0.45 of the depth. `strength` is α.

    `ridge` is relative to the mean square of the states' numbers, so that it means the same at
    every layer and for every number of pairs. `intercept`: whether there is a b. Where layer, ridge
    and strength are chosen, `ridges` are tried, on `lines` lines.
    """

    layers: tuple[int, ...] = ()
    ridge: float = 0.1
    intercept: bool = False
    form: Form = "blend"
    ridges: tuple[float, ...] = RIDGES
    lines: PositiveInt = SEARCH_LINES


class Moments:
    """Sums over pairs of states h and e [pairs, hidden], from which every map of them follows.

    Float64, and of a size that does not grow with the pairs.
    """

    def __init__(self, hidden_size: int) -> None:
        self.count = 0
        self.here = torch.zeros(hidden_size, dtype=torch.float64)
        self.step = torch.zeros(hidden_size, dtype=torch.float64)
        self.gram = torch.zeros(hidden_size, hidden_size, dtype=torch.float64)
        self.cross = torch.zeros(hidden_size, hidden_size, dtype=torch.float64)

    def add(self, here: Tensor, there: Tensor) -> None:
        """Take in pairs: rows of `here` are states in the language, of `there` the pivot's."""
        h = here.double().cpu()
        step = there.double().cpu() - h
        self.count += len(h)
        self.here += h.sum(0)
        self.step += step.sum(0)
        self.gram += h.T @ h
        self.cross += step.T @ h

    def solve(self, ridge: float, intercept: bool = False) -> tuple[Tensor, Tensor]:
        """W [hidden, hidden] and b [hidden], float64; b is zero without `intercept`.

        Without a ridge and with fewer pairs than dimensions, the map nearest to the identity of
        those that fit. Raises FitError for a negative ridge or without pairs.
        """
        if ridge < 0 or self.count < 1:
            raise FitError(f"a projection needs pairs and a ridge of 0 or more, not {ridge}")
        gram, cross = self.gram, self.cross
        if intercept:
            gram = gram - torch.outer(self.here, self.here) / self.count
            cross = cross - torch.outer(self.step, self.here) / self.count
        size = len(self.here)
        identity = torch.eye(size, dtype=torch.float64)
        penalty = ridge * float(gram.diagonal().mean())
        if penalty > 0:
            moved = torch.linalg.solve(gram + penalty * identity, cross.T).T
        else:
            moved = cross @ torch.linalg.pinv(gram, hermitian=True)
        offset = torch.zeros(size, dtype=torch.float64)
        if intercept:
            offset = (self.step - moved @ self.here) / self.count
        return identity + moved, offset


@dataclass(frozen=True)
class Trial:
    """Layers, ridge and α, and how far the projected model is from the English one (nats)."""

    layers: tuple[int, ...]
    ridge: float
    alpha: float
    divergence: float


def fit(
    model: Model, corpus: ParallelCorpus, options: ProjectionOptions = ProjectionOptions()
) -> Projection:
    """Fit at the layers that the options name. Raises FitError and ModelError."""
    own = (options.layer,) if options.layer is not None else layers_at(model, (0.45,))
    layers = options.layers or own
    options = replace(options, layers=layers)
    return from_moments(model, corpus, pair_moments(model, corpus, layers, options.pool), options)


def fit_all(
    model: Model, corpus: ParallelCorpus, options: ProjectionOptions = ProjectionOptions()
) -> Projection:
    """Fit at all layers, or at those that the options name."""
    layers = options.layers or tuple(range(model.layers))
    return replace(fit(model, corpus, replace(options, layers=layers)), method=NAME_ALL)


def learn(
    model: Model,
    corpus: ParallelCorpus,
    layers: Sequence[int] = (),
    strengths: Sequence[float] | None = None,
    options: ProjectionOptions = ProjectionOptions(),
    *,
    all_layers: bool = False,
    moments: Mapping[int, Moments] | None = None,
) -> Projection:
    """Fit on one part of the corpus; choose layer, ridge and α on another, without labels.

    The criterion is that of `search`: the divergence from the English next-token distribution.
    With `all_layers`, at all of `layers` together (all the model has, unless named); otherwise at
    the best of them (at three depths, unless named). First layer and ridge are chosen at the
    middle α, then α. A corpus is split as by `langsteer.learn`. `moments` are those of the part
    fitted on, at these layers at least, where they are known.
    """
    check_corpus(corpus)
    if strengths is None:
        strengths = ALPHAS_OF_ALL if all_layers else ALPHAS
    if not options.ridges or not strengths:
        raise FitError("a search needs at least one ridge and one strength")
    parts = corpus.split(fit=0.8, choose=0.2, report=0.0)
    usual = tuple(range(model.layers)) if all_layers else layers_at(model)
    named = tuple(layers) or options.layers or usual
    if moments is None:
        moments = pair_moments(model, parts["fit"], named, options.pool)
    groups = [named] if all_layers else [(layer,) for layer in named]
    choose = parts["choose"].lines(range(min(options.lines, len(parts["choose"]))))
    measure = Measure(model, choose)

    def made(layers: tuple[int, ...], ridge: float, alpha: float) -> Projection:
        chosen = replace(options, layers=layers, ridge=ridge, strength=alpha)
        return from_moments(model, parts["fit"], moments, chosen)

    trials = _search(measure, made, groups, options.ridges, strengths)
    best = min(trials, key=lambda trial: trial.divergence)
    scores = {
        "divergence": best.divergence,
        "divergence_unsteered": measure(None, 0.0),
        "chosen_on": choose.describe(),
        "trials": [vars(trial) | {"layers": list(trial.layers)} for trial in trials],
    }
    name = NAME_ALL if all_layers else NAME
    return replace(made(best.layers, best.ridge, best.alpha), scores=scores, method=name)


def learn_all_layers(
    model: Model,
    corpus: ParallelCorpus,
    layers: Sequence[int] = (),
    strengths: Sequence[float] | None = None,
    options: ProjectionOptions = ProjectionOptions(),
    **more: Any,
) -> Projection:
    """`learn`, at all layers together."""
    return learn(model, corpus, layers, strengths, options, all_layers=True, **more)


def _search(
    measure: Measure,
    made: Callable[[tuple[int, ...], float, float], Projection],
    groups: Sequence[tuple[int, ...]],
    ridges: Sequence[float],
    alphas: Sequence[float],
) -> list[Trial]:
    """Layers and ridge at the middle α, then α at the best of them."""
    trials: list[Trial] = []

    def attempt(wanted: Sequence[tuple[tuple[int, ...], float, float]], label: str) -> None:
        projections = [made(*settings) for settings in wanted]
        divergences = measure.several([(p, p.strength) for p in projections], label)
        trials.extend(Trial(*w, divergence=d) for w, d in zip(wanted, divergences, strict=True))

    middle = alphas[len(alphas) // 2]
    attempt([(g, r, middle) for g in groups for r in ridges], "Choosing layer and ridge")
    best = min(trials, key=lambda trial: trial.divergence)
    others = [alpha for alpha in alphas if alpha != middle]
    if others:
        attempt([(best.layers, best.ridge, alpha) for alpha in others], "Choosing alpha")
    return trials


def pair_moments(
    model: Model, corpus: ParallelCorpus, layers: Sequence[int], pool: Pool = "mean"
) -> dict[int, Moments]:
    """The moments of the corpus's pairs at each layer, in one pass over each text."""
    language = check_corpus(corpus)
    moments = {model.check_layer(layer): Moments(model.hidden_size) for layer in layers}
    lines, label = corpus.texts[language], f"{language} states"
    readings = PivotReadings.of(model, corpus)
    order = sorted(range(len(corpus)), key=lambda i: len(lines[i]))
    chunks = [order[i : i + CHUNK] for i in range(0, len(order), CHUNK)]
    for chunk in track(chunks, label, len(chunks)):
        here = sentence_states(model, [lines[i] for i in chunk], list(moments), pool=pool)
        there = readings.states_of(chunk, tuple(moments), pool)
        for place, layer in enumerate(moments):
            moments[layer].add(here[:, place], there[:, place])
    return moments


def from_moments(
    model: Model,
    corpus: ParallelCorpus,
    moments: Mapping[int, Moments],
    options: ProjectionOptions,
) -> Projection:
    """The projection at the options' layers, with their ridge and strength."""
    solved = {
        layer: moments[layer].solve(options.ridge, options.intercept) for layer in options.layers
    }
    return Projection(
        maps={layer: matrix.float() for layer, (matrix, _) in solved.items()},
        offsets={layer: offset.float() for layer, (_, offset) in solved.items()},
        language=corpus.language,
        pivot=corpus.pivot,
        model={"name": model.name, "fingerprint": model.fingerprint},
        strength=options.strength,
        form=options.form,
        positions=options.acts_at,
        options=asdict(options),
        corpus=corpus.describe(),
        method=NAME,
    )


def layers_at(model: Model, depths: Sequence[float] = DEPTHS) -> tuple[int, ...]:
    """The layers at these shares of the depth, each once."""
    layers = (max(0, min(model.layers - 2, round(depth * model.layers))) for depth in depths)
    return tuple(dict.fromkeys(layers))


METHOD = Method(NAME, fit, ProjectionOptions, learn=learn, title="projection, one layer")
METHOD_ALL = Method(
    NAME_ALL, fit_all, ProjectionOptions, learn=learn_all_layers, title="projection, all layers"
)
