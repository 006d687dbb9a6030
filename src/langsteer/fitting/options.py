"""What every fitting method shares: its options, its layer, what it hands back, and its entry in the registry."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar

from pydantic import NonNegativeInt
from torch import Tensor

from langsteer.errors import FitError
from langsteer.fitting.readings import PivotReadings
from langsteer.model.model import Model
from langsteer.states.capture import Pool, sentence_states
from langsteer.states.intervention import PositionKind
from langsteer.steering.change import Change
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import ParallelCorpus
from langsteer.values import first_wrong, types_of

SMALLEST_CORPUS = 4
FITTED_AT = ("source", "prompt", "all")  # nothing is written while fitting
STRENGTHS = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Options:
    """Options of every method. `layer` None means the one at `depth`, a share of the layers.

    `positions`: at which tokens the vector is to act, so learned and chosen for those: the text's,
    or all of the prompt. Without it, the vector is learned at the text's and acts at `acts_at`. Any
    vector can be used at others.
    """

    depth: ClassVar[float] = 0.45

    layer: int | None = None
    strength: float = 1.0
    seed: NonNegativeInt = 0
    positions: PositionKind | None = None

    def __post_init__(self) -> None:
        if self.positions is not None and self.positions not in FITTED_AT:
            known = ", ".join(FITTED_AT)
            raise FitError(f"a vector is fitted at the positions {known}, not {self.positions!r}")

    @property
    def fitted_at(self) -> PositionKind:
        """The tokens that are changed while a vector is fitted and chosen."""
        return self.positions or "source"

    @property
    def acts_at(self) -> PositionKind:
        """The tokens that a fitted vector changes."""
        return self.fitted_at

    @property
    def usual_strengths(self) -> tuple[float, ...]:
        """Those that are tried where none are named."""
        return STRENGTHS


@dataclass(frozen=True)
class PooledOptions(Options):
    """`pool`: how a text's token states become one; see `langsteer.states.capture.Pool`."""

    pool: Pool = "mean"


@dataclass(frozen=True)
class Method:
    """A fitting method.

    `fit(model, corpus, options)` returns a `Change` of the corpus's only language, at the layer of
    the options or the method's usual one. `fit_layers(model, corpus, layers, options, readings)`
    returns one for each of several layers, and may share work among them; where `resumable`, it
    takes `checkpoint`, the stem of the files that keep its progress. `options` is the class of its
    options. `learn(model, corpus, layers, strengths, options)` is for a method that chooses more
    than a layer and a strength: it splits the corpus itself. With `all_languages`, `fit` and `learn`
    take `whole` too: the corpus in all its languages, of which theirs is one; without it they make do
    with the pair. `quick` is one that is fitted in closed form, from a pass or two over the corpus.
    """

    name: str
    fit: Callable[..., Change]
    options: type["Options"] | None = None
    fit_layers: Callable[..., Sequence[Change]] | None = None
    learn: Callable[..., Change] | None = None
    resumable: bool = False
    title: str = ""
    all_languages: bool = False
    quick: bool = False

    def make_options(self, given: Mapping[str, Any]) -> "Options":
        """Raises FitError for an option that the method does not have, and for a value of another type
        than the option's.
        """
        kind = self.options or Options
        known = [f.name for f in fields(kind)]
        for name in given:
            if name not in known:
                raise FitError(f"{self.name} has no option {name!r}; it has {', '.join(known)}")
        wrong = first_wrong(types_of(kind), given)
        if wrong is not None:
            raise FitError(f"{self.name}: its option {wrong}")
        return kind(**given)

    def at_layers(
        self,
        model: Model,
        corpus: ParallelCorpus,
        layers: Sequence[int],
        options: "Options",
        readings: PivotReadings | None = None,
        checkpoint: Any = None,
    ) -> Sequence[Change]:
        """A change for each of `layers`."""
        if self.fit_layers is None:
            return [self.fit(model, corpus, replace(options, layer=layer)) for layer in layers]
        more = {"checkpoint": checkpoint} if self.resumable else {}
        return self.fit_layers(model, corpus, layers, options, readings, **more)


def chosen_layer(model: Model, options: Options) -> int:
    """The layer asked for, or the one at the method's usual depth."""
    if options.layer is not None:
        return model.check_layer(options.layer)
    return max(0, min(model.layers - 2, round(options.depth * model.layers)))


def check_corpus(corpus: ParallelCorpus) -> str:
    """The language to fit. Raises FitError where there are too few lines to fit anything."""
    if len(corpus) < SMALLEST_CORPUS:
        raise FitError(
            f"{corpus.name} is too small to fit on: {len(corpus)} lines, "
            f"and {SMALLEST_CORPUS} are the least"
        )
    return corpus.language


def pair_states(
    model: Model,
    corpus: ParallelCorpus,
    layers: Sequence[int],
    pool: Pool,
    readings: PivotReadings | None = None,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """For each layer: it, and pooled states of the pivot's lines and of the language's.

    States are float64 [lines, hidden]. Each text is read once, whatever the number of layers.
    """
    there = PivotReadings.of(model, corpus, readings).states(tuple(layers), pool)
    label = f"{corpus.language} states"
    lines = corpus.texts[corpus.language]
    here = sentence_states(model, lines, layers, pool=pool, progress=label)
    for place, layer in enumerate(layers):
        yield layer, there[:, place].double(), here[:, place].double()


def make_vector(
    model: Model,
    corpus: ParallelCorpus,
    options: Options,
    *,
    values: Tensor,
    layer: int,
    method: str,
    state_norm: float,
    **more: Any,
) -> SteeringVector:
    return SteeringVector(
        values=values.float().cpu(),
        layer=layer,
        language=corpus.language,
        pivot=corpus.pivot,
        model={"name": model.name, "fingerprint": model.fingerprint},
        method=method,
        strength=options.strength,
        positions=options.acts_at,
        state_norm=state_norm,
        options={**asdict(options), "layer": layer},
        corpus=corpus.describe(),
        **more,
    )
