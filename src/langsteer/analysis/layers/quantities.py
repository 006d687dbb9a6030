"""What is measured by layer and language, as its figures and tables name it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from langsteer.analysis.layers.results import Curve, Latent, LayerResults, Measures

Curves = Mapping[str, Curve]
LENSES = {"logit": "logit lens", "tuned": "tuned lens"}


@dataclass(frozen=True)
class Quantity:
    """`share`: whether it lies between 0 and 1. `form`: how its numbers are written."""

    name: str
    title: str
    curve: Callable[[Measures], Curve]
    share: bool = True
    form: str = ".3f"


MEXA = Quantity("mexa", "MEXA, weighted mean of tokens", lambda m: m.alignment.mexa)
MEXA_LAST = Quantity("mexa_last", "MEXA, last token", lambda m: m.alignment.mexa_last)
TO_PIVOT = Quantity("to_pivot", "Found: language to {pivot}", lambda m: m.alignment.to_pivot)
FROM_PIVOT = Quantity("from_pivot", "Found: {pivot} to language", lambda m: m.alignment.from_pivot)
CKA = Quantity("cka", "Linear CKA", lambda m: m.alignment.cka)
CKA_CHANCE = Quantity(
    "cka_chance", "Linear CKA, lines in another order", lambda m: m.alignment.cka_chance
)
PAIRS = Quantity(
    "pair_cosine", "Cosine of translations", lambda m: m.alignment.pair_cosine, False, ".4f"
)
OTHERS = Quantity(
    "other_cosine", "Cosine of other pairs", lambda m: m.alignment.other_cosine, False, ".4f"
)
DISTANCE = Quantity(
    "distance", "Distance of means ÷ their length", lambda m: m.identity.distance, share=False
)
DISTANCE_SHARE = Quantity(
    "distance_share", "Distance ÷ unsteered", lambda m: m.identity.distance_share, share=False
)
VARIANCE = Quantity("variance", "Variance between the two", lambda m: m.identity.variance)
NEAREST = Quantity("nearest_pivot", "Nearest mean is {pivot}’s", lambda m: m.identity.nearest_pivot)
RECOGNISED = Quantity("recognised", "Recognised by the probe", lambda m: m.identity.recognised)
TAKEN = Quantity(
    "taken_for_pivot", "Taken for {pivot} by the probe", lambda m: m.identity.taken_for_pivot
)

# What a measure is shown in: tables by section of the page, and figures (name, quantities, caption).
# A new measure is a field of the results, what works it out, and a line here.
ALIGNMENT = (MEXA, MEXA_LAST, TO_PIVOT, FROM_PIVOT, PAIRS, OTHERS, CKA, CKA_CHANCE)
IDENTITY = (DISTANCE, VARIANCE, RECOGNISED, NEAREST, TAKEN)
STEERED_ONLY = (DISTANCE_SHARE,)
ALIGNMENT_FIGURES = ("mexa", "retrieval", "cosine", "cka")
IDENTITY_FIGURES = ("probe", "distance")
BY_LANGUAGE: tuple[tuple[str, tuple[Quantity, ...], str], ...] = (
    ("mexa", (MEXA, MEXA_LAST), "Share of sentences nearer to their translation in {pivot} "
     "than to any other sentence (MEXA), unsteered"),
    ("retrieval", (TO_PIVOT, FROM_PIVOT), "Share of sentences whose nearest sentence in the "
     "other language, by cosine, is their translation, unsteered"),
    ("cka", (CKA, CKA_CHANCE), "Similarity of the geometry of the same sentences in each "
     "language and in {pivot} (linear CKA), unsteered"),
    ("distance", (DISTANCE, VARIANCE), "Distance of each language's mean to {pivot}'s, over the "
     "mean length of the two means, and share of the variance of the two languages' sentences that "
     "lies between them, unsteered"),
)  # fmt: skip
BEFORE_AFTER: tuple[tuple[str, tuple[Quantity, ...], str, str], ...] = (
    ("mexa-steered", (MEXA, MEXA_LAST), "MEXA", "MEXA"),
    ("retrieval-steered", (TO_PIVOT, FROM_PIVOT), "Share found", "Translations found"),
    ("distance-steered", (DISTANCE,), "Distance ÷ length", "Distance of means to {pivot}'s"),
    ("identity-steered", (NEAREST, TAKEN), "Share of sentences",
     "Sentences whose nearest language mean is {pivot}'s, and that the probe fitted on unsteered "
     "states takes for {pivot}"),
)  # fmt: skip


def curves_of(results: LayerResults, quantity: Quantity, steered: bool = False) -> Curves:
    """A quantity's curve for each language, by name; steered: of those that were."""
    curves: dict[str, Curve] = {}
    for language in results.languages.values():
        measures = language.after if steered else language.before
        if measures is not None:
            curves[language.name] = quantity.curve(measures)
    return curves


def layer_of(choose: Callable[..., int], curve: Curve) -> int | None:
    """The layer with the least (`min`) or greatest (`max`) number, None where there is none."""
    known = [layer for layer, value in enumerate(curve) if math.isfinite(value)]
    return choose(known, key=curve.__getitem__) if known else None


def by_lens(results: LayerResults, kind: str) -> dict[str, dict[str, Latent]]:
    """What was read out (`kind`: `words` or `next_token`), by lens and language."""
    readouts: dict[str, dict[str, Latent]] = {}
    for language in results.languages.values():
        for lens, latent in getattr(language.before, kind).items():
            readouts.setdefault(lens, {})[language.name] = latent
    return readouts
