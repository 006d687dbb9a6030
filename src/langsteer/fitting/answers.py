"""Answers: a clamp towards the states of a model that writes the language, at one layer, on what is generated.

After the same line and the same English words that ask for the language, the model reads the next line once in the
language, L, and once in the pivot, P. Over the tokens of those answers, each of which predicts the next,

    u = (m_L − m_P) ÷ ‖m_L − m_P‖      level = u·m_P + reach × (u·m_L − u·m_P)      m: mean states
    h ← h + max(0, level − u·h) u

The contrast of two answers to one question is that of contrastive activation addition (Rimsky et al., arXiv
2312.06681); instead of the same step everywhere, a state goes as far as it lies below what is usual in the language.
So it acts where the language is about to slip, and not on a token that is in it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

from pydantic import PositiveInt
from torch import Tensor

from langsteer.errors import FitError
from langsteer.fitting.options import Method, Options, check_corpus, chosen_layer
from langsteer.fitting.readings import PivotReadings
from langsteer.model.model import Model
from langsteer.model.tokens import Prompt, Tokens, encode, encode_suffix
from langsteer.states.capture import mean_states
from langsteer.states.intervention import PositionKind
from langsteer.steering.clamp import Clamp
from langsteer.text.corpus import ParallelCorpus, spread
from langsteer.text.languages import language_name

NAME = "answers"
REQUESTS = (
    "\n\nWhat comes next, in {}:",
    "\n\nAnswer in {}:",
    "\n\nThe next sentence, in {}:",
    "\n\nIn {}, the text goes on like this:",
)
BEGINNINGS = ("\n\n", " ", "\n")
FEWEST_TOKENS = 2  # of an answer


@dataclass(frozen=True)
class AnswerOptions(Options):
    """`reach`: 1 is the level of the language's mean, 0 that of the pivot's. `pairs`: of how many
    lines, at most, the answers are read. `tokens`: of an answer, at most. `keeps_length`: as of `Clamp`.
    """

    depth: ClassVar[float] = 0.89

    reach: float = 1.0
    pairs: PositiveInt = 48
    tokens: PositiveInt = 32
    keeps_length: bool = False

    @property
    def acts_at(self) -> PositionKind:
        return self.positions or "generated"


def fit(model: Model, corpus: ParallelCorpus, options: AnswerOptions = AnswerOptions()) -> Clamp:
    """Fit at one layer."""
    return fit_layers(model, corpus, [chosen_layer(model, options)], options)[0]


def fit_layers(
    model: Model,
    corpus: ParallelCorpus,
    layers: Sequence[int],
    options: AnswerOptions = AnswerOptions(),
    readings: PivotReadings | None = None,
) -> list[Clamp]:
    """Fit at several layers, in one pass over each answer. Raises FitError where no answer has two
    tokens, or answers in the two languages have the same states.
    """
    own, other = answers_read(model, corpus, options)
    here = mean_states(model, own, layers, progress=f"{corpus.language} answers")
    there = mean_states(model, other, layers, progress=f"{corpus.pivot} answers")
    return [
        _clamp(model, corpus, options, layer, here.mean[layer], there.mean[layer], here.norm[layer])
        for layer in layers
    ]


def answers_read(
    model: Model, corpus: ParallelCorpus, options: AnswerOptions = AnswerOptions()
) -> tuple[list[Tokens], list[Tokens]]:
    """Answers in the language and in the pivot, after the same prompts; as source, the tokens of an
    answer but the last, which predicts what comes after it.
    """
    language = check_corpus(corpus)
    lines, translations = corpus.texts[language], corpus.texts[corpus.pivot]
    own: list[Tokens] = []
    other: list[Tokens] = []
    for place, i in enumerate(spread(len(corpus) - 1, options.pairs)):
        asked = REQUESTS[place % len(REQUESTS)].format(language_name(language))
        (prompt,) = encode(model, [Prompt(lines[i], after=asked)])
        beginning = BEGINNINGS[place % len(BEGINNINGS)]
        both = [
            encode_suffix(model, beginning + text[i + 1])[: options.tokens]
            for text in (lines, translations)
        ]
        if min(map(len, both)) >= FEWEST_TOKENS:
            own.append(_answered(prompt, both[0]))
            other.append(_answered(prompt, both[1]))
    if not own:
        raise FitError(f"no line of {corpus.name} is long enough for an answer")
    return own, other


def _answered(prompt: Tokens, answer: list[int]) -> Tokens:
    before, last = [False] * len(prompt), [False]
    return Tokens([*prompt.ids, *answer], before + [True] * (len(answer) - 1) + last)


def _clamp(
    model: Model,
    corpus: ParallelCorpus,
    options: AnswerOptions,
    layer: int,
    here: Tensor,
    there: Tensor,
    norm: float,
) -> Clamp:
    apart = here - there
    if not float(apart.norm()) > 0:
        raise FitError(f"answers in the two languages have the same states at layer {layer}")
    unit = apart / apart.norm()
    low, high = float(unit @ there), float(unit @ here)
    return Clamp(
        values=apart.float().cpu(),
        level=low + options.reach * (high - low),
        layer=layer,
        language=corpus.language,
        pivot=corpus.pivot,
        model={"name": model.name, "fingerprint": model.fingerprint},
        method=NAME,
        strength=options.strength,
        positions=options.acts_at,
        state_norm=norm,
        keeps_length=options.keeps_length,
        options={**asdict(options), "layer": layer, "levels": [low, high]},
        corpus=corpus.describe(),
    )


def learn(
    model: Model,
    corpus: ParallelCorpus,
    layers: Sequence[int] = (),
    strengths: Sequence[float] | None = None,
    options: AnswerOptions = AnswerOptions(),
) -> Clamp:
    """Fit at one layer and strength: what is chosen, is chosen by what is written (`fit --for answers`).

    Raises FitError for several of either.
    """
    if len(layers) > 1 or len(strengths or ()) > 1:
        raise FitError(
            f"{NAME} takes one layer and one strength: --for answers chooses among several by what "
            "is written"
        )
    layer = layers[0] if layers else chosen_layer(model, options)
    (clamp,) = fit_layers(model, corpus, [layer], options)
    return clamp.with_strength(strengths[0]) if strengths else clamp


METHOD = Method(
    NAME, fit, AnswerOptions, fit_layers, learn, title="clamp towards answers in the language"
)
