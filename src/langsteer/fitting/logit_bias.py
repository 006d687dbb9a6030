"""Biases of what is written, as changes that a file can hold: alone, or beside a change of the states.

`pivot_words` makes tokens that the pivot uses more less likely (see `langsteer.steering.decoding.pivot_words`);
`only_script` makes those of other scripts as good as impossible (`langsteer.steering.decoding.only_script`).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from torch import Tensor

from langsteer.errors import FitError
from langsteer.fitting.options import Method, Options, check_corpus
from langsteer.model.model import Model
from langsteer.states.intervention import PositionKind
from langsteer.steering.decoding.pivot_words import pivot_excess
from langsteer.steering.decoding.vocabulary import foreign_tokens
from langsteer.steering.logit_bias import LogitBias
from langsteer.text.corpus import ParallelCorpus

UNLIKELY = 1e4  # what is taken from the logit of a token that is banned: where all are, they keep their order


@dataclass(frozen=True)
class BiasOptions(Options):
    """A bias has no layer."""

    def __post_init__(self) -> None:
        if self.layer is not None:
            raise FitError("a bias of what is written acts on no layer: leave the layer out")
        if self.positions is not None:
            raise FitError("a bias acts on what is written: leave the positions out")

    @property
    def acts_at(self) -> PositionKind:
        return "generated"

    @property
    def usual_strengths(self) -> tuple[float, ...]:
        return (1.0,)


def pivot_words(
    model: Model, corpus: ParallelCorpus, options: BiasOptions = BiasOptions()
) -> LogitBias:
    """Less of the pivot's words. Raises FitError where the corpus is too small to count in."""
    check_corpus(corpus)
    return _bias(model, corpus, options, "pivot_words", -pivot_excess(model, corpus))


def only_script(
    model: Model, corpus: ParallelCorpus, options: BiasOptions = BiasOptions()
) -> LogitBias:
    """No token whose letters are all of scripts other than the language's."""
    foreign = foreign_tokens(model, check_corpus(corpus))
    return _bias(model, corpus, options, "only_script", -UNLIKELY * foreign.float())


def _bias(
    model: Model, corpus: ParallelCorpus, options: BiasOptions, method: str, values: Tensor
) -> LogitBias:
    return LogitBias(
        values=values.float().cpu(),
        language=corpus.language,
        pivot=corpus.pivot,
        model={"name": model.name, "fingerprint": model.fingerprint},
        method=method,
        strength=options.strength,
        options=asdict(options),
        corpus=corpus.describe(),
    )


def _method(name: str, fit: Callable[..., LogitBias], title: str) -> Method:
    def learn(
        model: Model,
        corpus: ParallelCorpus,
        layers: Sequence[int] = (),
        strengths: Sequence[float] | None = None,
        options: BiasOptions = BiasOptions(),
    ) -> LogitBias:
        if layers or len(strengths or ()) > 1:
            raise FitError(
                f"{name} acts on no layer, and takes one strength: --for answers chooses among several "
                "by what is written"
            )
        made = fit(model, corpus, options)
        return made.with_strength(strengths[0]) if strengths else made

    return Method(name, fit, BiasOptions, learn=learn, title=title, quick=True)


PIVOT_WORDS = _method("pivot_words", pivot_words, "less of the pivot's words")
ONLY_SCRIPT = _method("only_script", only_script, "only the language's script")
