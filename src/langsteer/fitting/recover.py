"""ReCoVeR: at every layer, a step towards the language and away from the pivot, with each state's length kept.

At layer l, with m_k the mean states of each language k of the corpus, the pivot's too, and m̄ their mean,

    v_k = m_k − m̄          d = v_L − beta v_P          u = share × d (scaling `mean`), or d ÷ ‖d‖ (scaling `unit`)
    h ← ‖h‖ (h + strength × u) ÷ ‖h + strength × u‖

After Sterz et al. (arXiv 2509.14814), its fixed form. The published code steers all tokens but the first at all
layers, on top of what the layers below have moved, as this does; its command has strength 1, beta 1, the length
kept, and steps of length 1, which is `unit`; beta is 0 where the prompt is in the language to write. With beta 1, m̄
cancels out. The default is not the command's: a step of length 1 is much where states are short, and changed nothing
in Gemma 3 270M, whose states are from 100 to 27,000 long; there a tenth of d at each layer made four English prompts go
on in Greek, and a quarter made no words. The trained form of the paper is not here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from langsteer.errors import FitError
from langsteer.fitting.options import Method, check_corpus
from langsteer.fitting.published import (
    EverywhereOptions,
    Parts,
    check_apart,
    check_single,
    in_sequence,
    language_means,
    origin,
    stacked,
)
from langsteer.model.model import Model
from langsteer.steering.sequence import ChangeSequence
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import ParallelCorpus

NAME = "recover"
Scaling = Literal["mean", "unit"]


@dataclass(frozen=True)
class RecoverOptions(EverywhereOptions):
    """`beta`: how much of the pivot's vector is taken away. `scaling`: how long a step is; `share`: of d,
    with `mean`.
    """

    beta: float = 1.0
    scaling: Scaling = "mean"
    share: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scaling not in get_args(Scaling):
            known = ", ".join(get_args(Scaling))
            raise FitError(f"{NAME} has the scalings {known}, not {self.scaling!r}")


def fit(
    model: Model,
    corpus: ParallelCorpus,
    options: RecoverOptions = RecoverOptions(),
    whole: ParallelCorpus | None = None,
    layers: Sequence[int] = (),
) -> ChangeSequence:
    """Fit at all layers, or at `layers` together, or at the options' one.

    `whole` is the corpus in all its languages. Raises FitError where a step has no length.
    """
    language = check_corpus(corpus)
    named = tuple(layers) or (() if options.layer is None else (options.layer,))
    used = sorted(named) if named else range(model.layers)
    means = language_means(model, whole or corpus, used, options.pool)
    about = origin(model, corpus, options, NAME, languages=list(means))
    changes = []
    for layer in used:
        middle = stacked(means, layer).mean(1)
        own, other = (means[tag].mean[layer] - middle for tag in (language, corpus.pivot))
        apart = check_apart(own - options.beta * other, corpus, layer)
        unit = options.scaling == "unit"
        step = apart / apart.norm() if unit else options.share * apart
        changes.append(
            SteeringVector(
                values=step.float(),
                layer=layer,
                positions=options.acts_at,
                state_norm=means[language].norm[layer],
                keeps_length=True,
                **about,
            )
        )
    return in_sequence(changes, options, NAME, strength=options.strength)


def learn(
    model: Model,
    corpus: ParallelCorpus,
    layers: Sequence[int] = (),
    strengths: Sequence[float] | None = None,
    options: RecoverOptions = RecoverOptions(),
    whole: ParallelCorpus | None = None,
) -> ChangeSequence:
    """Fit on the part of the corpus that is for it, at all of `layers` together, at one strength."""
    check_single(NAME, "strength", strengths)
    parts = Parts.of(corpus, whole)
    fitted = fit(model, parts.fit, options, parts.whole, layers)
    return fitted.with_strength(strengths[0]) if strengths else fitted


METHOD = Method(
    NAME,
    fit,
    RecoverOptions,
    learn=learn,
    all_languages=True,
    title="towards the language, at all layers (ReCoVeR)",
)
