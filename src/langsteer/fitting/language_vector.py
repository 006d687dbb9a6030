"""Language vector: from examples in the pivot towards the same examples in the language, at one layer.

Examples are blocks of `shots` lines of the corpus, one after another as answered examples stand before a question;
with e_L and e_P the mean states of the blocks in the language and in the pivot,

    h ← h + strength × (e_L − e_P)

After Kirtane and Huang (arXiv 2602.02326), where the examples before a question are in English and the vector, the
mean difference of parallel examples in the two languages, moves the model towards the language of the question.
Their examples are of the task; here they are of the corpus. Layer (the middle) and strength (1) are fixed, at all
tokens. Where only the text of the examples is to move, name the positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from pydantic import PositiveInt

from langsteer.errors import FitError
from langsteer.fitting.options import (
    Method,
    check_corpus,
    chosen_layer,
    make_vector,
)
from langsteer.fitting.published import EverywhereOptions, Parts, check_apart, check_single
from langsteer.model.model import Model
from langsteer.states.capture import mean_states
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import ParallelCorpus

NAME = "language_vector"
BETWEEN = "\n\n"


@dataclass(frozen=True)
class LanguageVectorOptions(EverywhereOptions):
    """`shots`: how many lines stand in a block of examples."""

    depth: ClassVar[float] = 0.5

    shots: PositiveInt = 4


def fit(
    model: Model,
    corpus: ParallelCorpus,
    options: LanguageVectorOptions = LanguageVectorOptions(),
) -> SteeringVector:
    """Fit at one layer. Raises FitError where there are fewer lines than shots, or the examples in
    the two languages have the same states.
    """
    language = check_corpus(corpus)
    layer = chosen_layer(model, options)
    here, there = (
        mean_states(
            model,
            blocks(corpus.texts[tag], options.shots),
            [layer],
            pool=options.pool,
            progress=f"{tag} examples",
        )
        for tag in (language, corpus.pivot)
    )
    return make_vector(
        model,
        corpus,
        options,
        values=check_apart(here.mean[layer] - there.mean[layer], corpus, layer),
        layer=layer,
        method=NAME,
        state_norm=there.norm[layer],
    )


def blocks(lines: Sequence[str], shots: int) -> list[str]:
    """Blocks of so many lines, each line in one; lines that fill none are left out."""
    if not 1 <= shots <= len(lines):
        raise FitError(f"a block of examples has from 1 to {len(lines)} lines here, not {shots}")
    last = len(lines) - shots
    return [BETWEEN.join(lines[i : i + shots]) for i in range(0, last + 1, shots)]


def learn(
    model: Model,
    corpus: ParallelCorpus,
    layers: Sequence[int] = (),
    strengths: Sequence[float] | None = None,
    options: LanguageVectorOptions = LanguageVectorOptions(),
) -> SteeringVector:
    """Fit on the part of the corpus that is for it, at one layer and strength."""
    check_single(NAME, "layer", layers)
    check_single(NAME, "strength", strengths)
    options = replace(options, layer=layers[0]) if layers else options
    fitted = fit(model, Parts.of(corpus).fit, options)
    return fitted.with_strength(strengths[0]) if strengths else fitted


METHOD = Method(
    NAME,
    fit,
    LanguageVectorOptions,
    learn=learn,
    title="towards the language, from examples",
    quick=True,
)
