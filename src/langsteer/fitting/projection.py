"""Projection: a linear map from the language's hidden states to the pivot's, at one layer or at all.

At layer l, over pairs of a pooled state h of a sentence and e of its translation,

    W, b = argmin  Σ ‖W h + b − e‖² + λ ‖W − I‖²          λ = ridge × mean of ‖h‖² ÷ hidden × pairs
    h ← (1 − α) h + α (W h + b)                            at the source tokens

b is zero unless there is an intercept; with one, a great λ leaves the mean difference alone.

INCLINE (Wang et al., arXiv 2410.12462) is λ = 0 and h ← h + α W h (`ridge=0`, `form="add"`) at all layers,
α chosen from −1 to 1. Its published code fits on the mean over a sentence's tokens, and acts on the prompt's
last token with W h of an unsteered pass; here all source tokens are mapped, on top of the maps below.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from langsteer.errors import FitError, VectorError
from langsteer.fitting.options import check_corpus
from langsteer.fitting.search import Measure
from langsteer.model.model import Model, as_model
from langsteer.progress import track
from langsteer.states.capture import Pool, sentence_states
from langsteer.states.intervention import POSITIONS, Intervention, PositionKind, intervene
from langsteer.steering.vector import check_model
from langsteer.storage.tensors import FileKind, read_tensors, write_tensors
from langsteer.text.corpus import ParallelCorpus
from langsteer.version import __version__

NAME = "projection"
FILE = FileKind("langsteer projection", 1, "projection")

Form = Literal["blend", "add"]
FORMS: tuple[Form, ...] = ("blend", "add")

DEPTHS = (0.3, 0.45, 0.6)
RIDGES = (0.01, 0.1, 1.0, 10.0)
ALPHAS = (0.25, 0.5, 0.75, 1.0, 1.25)
ALPHAS_OF_ALL = (0.02, 0.05, 0.1, 0.2, 0.4)  # of the maps at all layers, each on top of the last
CHUNK = 128
SEARCH_LINES = 96


@dataclass(frozen=True)
class ProjectionOptions:
    """`layers`: those to map, none for the one at 0.45 of the depth. `pool`: as in `capture.Pool`.

    `ridge` is relative to the mean square of the states' numbers, so that it means the same at
    every layer and for every number of pairs. `intercept`: whether there is a b.
    """

    layers: tuple[int, ...] = ()
    ridge: float = 0.1
    alpha: float = 1.0
    intercept: bool = False
    form: Form = "blend"
    pool: Pool = "mean"


@dataclass(frozen=True, eq=False)
class Projection:
    """Maps `maps[l]` [hidden, hidden] and offsets `offsets[l]` [hidden], one of each a layer.

    `alpha` is the share of the way to W h + b (form `blend`), or the factor of W h + b that is
    added (form `add`). The rest is as in `SteeringVector`.
    """

    maps: Mapping[int, Tensor]
    offsets: Mapping[int, Tensor]
    language: str
    pivot: str
    model: dict[str, Any]
    alpha: float = 1.0
    form: Form = "blend"
    positions: PositionKind = "source"
    options: dict[str, Any] = field(default_factory=dict)
    corpus: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    version: str = __version__

    def __post_init__(self) -> None:
        if not self.maps or set(self.maps) != set(self.offsets):
            raise VectorError("a projection needs a map and an offset for each of its layers")
        for layer, matrix in self.maps.items():
            size = self.offsets[layer].shape[0]
            if matrix.shape != (size, size):
                raise VectorError(
                    f"the projection's map at layer {layer} has shape {list(matrix.shape)}, "
                    f"and its offset {size}: one is [hidden, hidden], the other [hidden]"
                )
            if not bool(torch.isfinite(matrix).all() & torch.isfinite(self.offsets[layer]).all()):
                raise VectorError(f"the projection holds NaN or infinity at layer {layer}")
        if self.form not in FORMS:
            raise VectorError(f"no form {self.form!r} of projection: one of {', '.join(FORMS)}")
        if self.positions not in POSITIONS:
            raise VectorError(f"no positions {self.positions!r}: one of {', '.join(POSITIONS)}")

    @property
    def layers(self) -> tuple[int, ...]:
        return tuple(sorted(self.maps))

    def with_strength(self, alpha: float) -> "Projection":
        return replace(self, alpha=alpha)

    def interventions(
        self, strength: float | None = None, rows: Tensor | None = None
    ) -> list[Intervention]:
        """What to hand to `intervene`; `strength` replaces alpha, `rows` restricts to some rows."""
        alpha = self.alpha if strength is None else strength
        change = _Blend if self.form == "blend" else _Add
        return [
            Intervention(layer, change(self.maps[layer], self.offsets[layer], alpha), rows)
            for layer in self.layers
        ]

    def applied(
        self,
        model: Any,
        *,
        strength: float | None = None,
        positions: PositionKind | None = None,
        mask: Tensor | None = None,
        any_thread: bool = False,
        other_weights: bool = False,
    ) -> AbstractContextManager[None]:
        """Project in every forward pass inside a `with` block; arguments as of `vector.steer`."""
        here = as_model(model)
        self.check_fits(here, other_weights=other_weights)
        return intervene(
            here, self.interventions(strength), positions or self.positions, mask, any_thread
        )

    def check_fits(self, model: Any, *, other_weights: bool = False) -> None:
        """Raise VectorError, naming what differs, where `model` is not the one fitted on."""
        here = as_model(model)
        for layer in self.layers:
            size = self.offsets[layer].shape[0]
            check_model("projection", self.model, here, size, other_weights)
            here.check_layer(layer)

    def save(self, path: str | Path) -> Path:
        """Write a safetensors file, whole or not at all. Raises SaveError."""
        record = {f.name: getattr(self, f.name) for f in fields(self)}
        del record["maps"], record["offsets"]
        tensors = {}
        for layer in self.layers:
            tensors[f"map.{layer}"] = self.maps[layer]
            tensors[f"offset.{layer}"] = self.offsets[layer]
        return write_tensors(path, FILE, tensors, record)

    @classmethod
    def load(cls, path: str | Path, model: Any = None) -> "Projection":
        """Read a file that `save` wrote; with `model`, also check that it fits.

        Raises VectorError where the file is missing, damaged, or something else.
        """
        tensors, record = read_tensors(path, FILE)
        known = {f.name for f in fields(cls)}
        try:
            projection = cls(
                maps=_numbered(tensors, "map."),
                offsets=_numbered(tensors, "offset."),
                **{k: v for k, v in record.items() if k in known},
            )
        except (TypeError, ValueError, VectorError) as error:
            raise VectorError(f"{path} is damaged: {error}") from error
        if model is not None:
            projection.check_fits(model)
        return projection


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
    """Layers, ridge and alpha, and how far the projected model is from the English one (nats)."""

    layers: tuple[int, ...]
    ridge: float
    alpha: float
    divergence: float


def fit(
    model: Model, corpus: ParallelCorpus, options: ProjectionOptions = ProjectionOptions()
) -> Projection:
    """Fit at the layers that the options name. Raises FitError and ModelError."""
    layers = options.layers or (layers_at(model, (0.45,))[0],)
    options = replace(options, layers=layers)
    return from_moments(model, corpus, pair_moments(model, corpus, layers, options.pool), options)


def learn_projection(
    model: Model,
    corpus: ParallelCorpus,
    language: str | None = None,
    *,
    all_layers: bool = False,
    layers: Sequence[int] = (),
    ridges: Sequence[float] = RIDGES,
    alphas: Sequence[float] | None = None,
    lines: int = SEARCH_LINES,
    options: ProjectionOptions = ProjectionOptions(),
    moments: Mapping[int, Moments] | None = None,
) -> Projection:
    """Fit on one part of the corpus; choose layer, ridge and alpha on another, without labels.

    The criterion is that of `search`: the divergence from the English next-token distribution.
    With `all_layers`, at all of `layers` together (all the model has, unless named); otherwise at
    the best of them (at three depths, unless named). First layer and ridge are chosen at the
    middle alpha, then alpha. `lines` bounds the lines chosen on. A corpus is split as by `learn`.
    `moments` are those of the part fitted on, at these layers at least, where they are known.
    """
    pair = corpus.only(language) if language is not None else corpus
    check_corpus(pair)
    if alphas is None:
        alphas = ALPHAS_OF_ALL if all_layers else ALPHAS
    if not ridges or not alphas:
        raise FitError("a search needs at least one ridge and one alpha")
    parts = pair.split(fit=0.8, choose=0.2, report=0.0)
    named = tuple(layers) or (tuple(range(model.layers)) if all_layers else layers_at(model))
    if moments is None:
        moments = pair_moments(model, parts["fit"], named, options.pool)
    groups = [named] if all_layers else [(layer,) for layer in named]
    choose = parts["choose"].lines(range(min(lines, len(parts["choose"]))))
    measure = Measure(model, choose)
    trials: list[Trial] = []

    def attempt(wanted: Sequence[tuple[tuple[int, ...], float, float]], label: str) -> None:
        made = [
            from_moments(
                model, pair, moments, replace(options, layers=group, ridge=ridge, alpha=alpha)
            )
            for group, ridge, alpha in wanted
        ]
        found = measure.several([(projection, projection.alpha) for projection in made], label)
        trials.extend(Trial(*w, divergence=d) for w, d in zip(wanted, found, strict=True))

    middle = alphas[len(alphas) // 2]
    attempt([(g, r, middle) for g in groups for r in ridges], "Choosing layer and ridge")
    best = min(trials, key=lambda t: t.divergence)
    others = [alpha for alpha in alphas if alpha != middle]
    if others:
        attempt([(best.layers, best.ridge, alpha) for alpha in others], "Choosing alpha")
    best = min(trials, key=lambda t: t.divergence)
    scores = {
        "divergence": best.divergence,
        "divergence_unsteered": measure(None, 0.0),
        "chosen_on": choose.describe(),
        "trials": [vars(trial) | {"layers": list(trial.layers)} for trial in trials],
    }
    chosen = replace(options, layers=best.layers, ridge=best.ridge, alpha=best.alpha)
    return replace(from_moments(model, parts["fit"], moments, chosen), scores=scores)


def pair_moments(
    model: Model, corpus: ParallelCorpus, layers: Sequence[int], pool: Pool = "mean"
) -> dict[int, Moments]:
    """The moments of the corpus's pairs at each layer, in one pass over each text."""
    language = check_corpus(corpus)
    moments = {model.check_layer(layer): Moments(model.hidden_size) for layer in layers}
    order = sorted(range(len(corpus)), key=lambda i: len(corpus.texts[language][i]))
    chunks = [order[i : i + CHUNK] for i in range(0, len(order), CHUNK)]
    for chunk in track(chunks, f"{language} and {corpus.pivot} states", len(chunks)):
        here, there = (
            sentence_states(model, [corpus.texts[tag][i] for i in chunk], list(moments), pool=pool)
            for tag in (language, corpus.pivot)
        )
        for place, layer in enumerate(moments):
            moments[layer].add(here[:, place], there[:, place])
    return moments


def from_moments(
    model: Model,
    corpus: ParallelCorpus,
    moments: Mapping[int, Moments],
    options: ProjectionOptions,
) -> Projection:
    """The projection at the options' layers, with their ridge and alpha."""
    solved = {
        layer: moments[layer].solve(options.ridge, options.intercept) for layer in options.layers
    }
    return Projection(
        maps={layer: matrix.float() for layer, (matrix, _) in solved.items()},
        offsets={layer: offset.float() for layer, (_, offset) in solved.items()},
        language=corpus.language,
        pivot=corpus.pivot,
        model={"name": model.name, "fingerprint": model.fingerprint},
        alpha=options.alpha,
        form=options.form,
        options=asdict(options),
        corpus=corpus.describe(),
    )


def layers_at(model: Model, depths: Sequence[float] = DEPTHS) -> tuple[int, ...]:
    """The layers at these shares of the depth, each once."""
    found = (max(0, min(model.layers - 2, round(depth * model.layers))) for depth in depths)
    return tuple(dict.fromkeys(found))


class _Blend:
    """h ← (1 − α) h + α (W h + b), in float32."""

    def __init__(self, matrix: Tensor, offset: Tensor, alpha: float) -> None:
        identity = torch.eye(len(matrix), device=matrix.device)
        self._matrix = alpha * (matrix.float() - identity)
        self._offset = alpha * offset.float()

    def __call__(self, hidden: Tensor) -> Tensor:
        if self._matrix.device != hidden.device:
            self._matrix = self._matrix.to(hidden.device)
            self._offset = self._offset.to(hidden.device)
        moved = torch.nn.functional.linear(hidden.float(), self._matrix, self._offset)
        return hidden + moved.to(hidden.dtype)


class _Add(_Blend):
    """h ← h + α (W h + b), in float32."""

    def __init__(self, matrix: Tensor, offset: Tensor, alpha: float) -> None:
        self._matrix, self._offset = alpha * matrix.float(), alpha * offset.float()


def _numbered(tensors: Mapping[str, Tensor], prefix: str) -> dict[int, Tensor]:
    return {
        int(name.removeprefix(prefix)): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
