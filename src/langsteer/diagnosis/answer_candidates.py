"""What a search for answers in the language chooses among: changes of the states, biases, and both together."""

import functools
from collections.abc import Sequence
from dataclasses import replace

from langsteer.fitting.answers import AnswerOptions, fit_layers
from langsteer.fitting.logit_bias import language_words, only_script, pivot_words
from langsteer.fitting.mean_difference import fit as fit_mean_difference
from langsteer.fitting.options import PooledOptions
from langsteer.model.model import Model
from langsteer.steering.change import Change
from langsteer.steering.clamp import Clamp
from langsteer.steering.sequence import ChangeSequence
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import ParallelCorpus
from langsteer.text.languages import share_script

DEPTHS = (0.78, 0.89, 0.65)  # of the layers, of what writes, the likelier first
REACHES = (0.75, 1.25)  # of the best clamp, beside 1
READING_DEPTH, READING = 0.45, 0.5  # of what reads, and its strength
AWAY = (-0.5, -0.25)  # strengths of the same, turned round, on what is written
STRONG = 2.0  # strength of the bias against the pivot's words, beside the usual one
DEFAULT_DEPTH = DEPTHS[1]  # of the clamp of the default


class AnswerCandidates:
    """Changes by the recipe that fits them again, of one model and language."""

    def __init__(self, model: Model, corpus: ParallelCorpus, seed: int = 0) -> None:
        self.model, self.corpus, self.seed = model, corpus, seed

    def first(self) -> dict[str, Change]:
        """Clamps at several layers, the mean difference turned round, biases, and the default."""
        return {**self.single, **self.biases, **self.default}

    @functools.cached_property
    def single(self) -> dict[str, Change]:
        """Clamps, and the mean difference turned round, the stronger first."""
        layers = sorted({self._layer(depth) for depth in DEPTHS})
        clamps = fit_layers(self.model, self.corpus, layers, AnswerOptions(seed=self.seed))
        away = self._difference.at("generated")
        turned = {
            f"{away.method}:{away.layer}@generated*{strength:g}": away.with_strength(strength)
            for strength in AWAY
        }
        return {**{clamp_name(clamp): clamp for clamp in clamps}, **turned}

    @property
    def default(self) -> dict[str, Change]:
        """By its name, what did best over languages (docs/notes/answers.md): in a script of its own, a clamp with the
        ban and the language's own words beside it, else the mean difference turned round with the strongest biases.
        """
        _, beside, strongest = self.biases
        if share_script(self.corpus.language, self.corpus.pivot):
            turned = next(n for n, c in self.single.items() if not isinstance(c, Clamp))
            return self._beside(turned, [strongest])
        layer = self._layer(DEFAULT_DEPTH)
        clamp = next(n for n, c in self.single.items() if c.layers == (layer,))
        return self._beside(clamp, [beside])

    def _layer(self, depth: float) -> int:
        return min(self.model.layers - 1, round(depth * self.model.layers))

    def around(self, ranked: Sequence[str]) -> dict[str, Change]:
        """Of the first ones, from best to worst: the best with each bias beside it, the next with the
        strongest, and the best clamp at other levels, with its states' lengths kept, and with a part that reads.
        """
        acting = [name for name in ranked if name in self.single]
        biases = list(self.biases)
        made = {**self._beside(acting[0], biases), **self._beside(acting[1], biases[-1:])}
        best, clamp = next(
            (name, change)
            for name in acting
            for change in [self.single[name]]
            if isinstance(change, Clamp)
        )
        others = [reaching(clamp, reach) for reach in REACHES]
        others.append(replace(clamp, keeps_length=True))
        reads = self._difference.with_strength(READING)
        part = f"{reads.method}:{reads.layer}@source*{READING:g}"
        made |= {clamp_name(other): other for other in others}
        return {**made, f"{part} + {best}": ChangeSequence((reads, clamp))}

    def _beside(self, name: str, biases: Sequence[str]) -> dict[str, Change]:
        """A change of the states with each of some biases beside it."""
        return {
            f"{name} + {bias}": ChangeSequence.of([self.single[name], self.biases[bias]])
            for bias in biases
        }

    @functools.cached_property
    def biases(self) -> dict[str, Change]:
        """In a script of its own, a language is held to it; in any, the pivot's words are held back, and the
        language's own made likelier; the strongest last.
        """
        words = pivot_words(self.model, self.corpus)
        strong, name = words.with_strength(STRONG), f"pivot_words*{STRONG:g}"
        own = language_words(self.model, self.corpus)
        both = ChangeSequence((strong, own))
        if share_script(self.corpus.language, self.corpus.pivot):
            return {"pivot_words": words, name: strong, f"{name} + language_words": both}
        script = only_script(self.model, self.corpus)
        return {
            "only_script": script,
            "only_script + language_words": ChangeSequence((script, own)),
            f"only_script + {name} + language_words": ChangeSequence.of((script, both)),
        }

    @functools.cached_property
    def _difference(self) -> SteeringVector:
        """The mean difference: as it is it reads, and turned round it writes."""
        layer = round(READING_DEPTH * self.model.layers)
        return fit_mean_difference(self.model, self.corpus, PooledOptions(layer=layer))


def reaching(clamp: Clamp, reach: float) -> Clamp:
    """The same clamp with its level at another reach; see `langsteer.fitting.answers.AnswerOptions`."""
    low, high = clamp.options["levels"]
    options = {**clamp.options, "reach": reach}
    return replace(clamp, level=low + reach * (high - low), options=options)


def clamp_name(clamp: Clamp) -> str:
    """The recipe that fits it again."""
    kept = ", keeps_length=True" * clamp.keeps_length
    return f"answers(reach={clamp.options['reach']:g}{kept}):{clamp.layer}"
