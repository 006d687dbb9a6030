"""Biases of what is written, as changes that a file can hold: alone, or beside a change of the states.

`pivot_words` makes tokens that the pivot uses more less likely, `language_words` those that the language uses more
likelier (see `word_excess`);
`only_script` makes those of other scripts as good as impossible (`langsteer.steering.decoding.only_script`).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from torch import Tensor

from langsteer.errors import FitError
from langsteer.fitting.options import Method, Options, check_corpus
from langsteer.fitting.word_excess import language_excess, pivot_excess
from langsteer.model.model import Model
from langsteer.states.intervention import PositionKind
from langsteer.steering.decoding.vocabulary import foreign_tokens
from langsteer.steering.logit_bias import LogitBias
from langsteer.text.corpus import ParallelCorpus

UNLIKELY = 1e4  # what is taken from the logit of a token that is banned: where all are, they keep their order
MOST = 1.0  # nats that are added to a word of the language, before the strength


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


@dataclass(frozen=True)
class LanguageWordsOptions(BiasOptions):
    """`most`: how much is added to a logit at the most, before the strength, in nats. Words of grammar are
    hundreds of times as frequent as in the pivot, and would be all that is written.
    """

    most: float = MOST

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.most > 0:
            raise FitError(f"the most that is added to a logit is above 0, not {self.most}")


def pivot_words(
    model: Model, corpus: ParallelCorpus, options: BiasOptions = BiasOptions()
) -> LogitBias:
    """Less of the pivot's words. Raises FitError where the corpus is too small to count in."""
    check_corpus(corpus)
    return _bias(model, corpus, options, "pivot_words", -pivot_excess(model, corpus))


def language_words(
    model: Model, corpus: ParallelCorpus, options: LanguageWordsOptions = LanguageWordsOptions()
) -> LogitBias:
    """More of the language's words. Raises FitError where the corpus is too small to count in."""
    check_corpus(corpus)
    values = language_excess(model, corpus, options.most)
    return _bias(model, corpus, options, "language_words", values)


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


def _method(
    name: str,
    fit: Callable[..., LogitBias],
    title: str,
    kind: type[BiasOptions] = BiasOptions,
) -> Method:
    def learn(
        model: Model,
        corpus: ParallelCorpus,
        layers: Sequence[int] = (),
        strengths: Sequence[float] | None = None,
        options: BiasOptions = kind(),
    ) -> LogitBias:
        if layers or len(strengths or ()) > 1:
            raise FitError(
                f"{name} acts on no layer, and takes one strength: --for answers chooses among several "
                "by what is written"
            )
        made = fit(model, corpus, options)
        return made.with_strength(strengths[0]) if strengths else made

    return Method(name, fit, kind, learn=learn, title=title, quick=True)


PIVOT_WORDS = _method("pivot_words", pivot_words, "less of the pivot's words")
LANGUAGE_WORDS = _method(
    "language_words", language_words, "more of the language's words", LanguageWordsOptions
)
ONLY_SCRIPT = _method("only_script", only_script, "only the language's script")
