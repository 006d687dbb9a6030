"""What an analysis found, in sentences."""

import math

from langsteer.analysis.layers import quantities as q
from langsteer.analysis.layers.quantities import LENSES, by_lens, curves_of, layer_of
from langsteer.analysis.layers.results import LayerResults
from langsteer.look.grid import size_form
from langsteer.look.words import counted, mean, mean_curve, signed


def alignment_text(results: LayerResults) -> list[str]:
    curves = curves_of(results, q.MEXA)
    average = mean_curve(curves.values())
    best = layer_of(max, average)
    if best is None:
        return []
    at = {name: curve[best] for name, curve in curves.items() if math.isfinite(curve[best])}
    low, high = min(at, key=at.__getitem__), max(at, key=at.__getitem__)
    spread = f", from {at[low]:.0%} ({low}) to {at[high]:.0%} ({high})" if len(at) > 1 else ""
    return [
        f"MEXA with {results.pivot_name} is highest at layer {best}: {average[best]:.0%} on average over "
        f"the languages{spread}. At the last layer it is {average[-1]:.0%}."
    ]


def identity_text(results: LayerResults) -> list[str]:
    together, chance = results.together_before, results.chance
    sentences = []
    low, high = layer_of(min, together.probe), layer_of(max, together.probe)
    if low is not None and high is not None:
        sentences.append(
            f"The probe tells the {len(results.languages) + 1} languages apart with an accuracy between "
            f"{together.probe[low]:.0%} (layer {low}) and {together.probe[high]:.0%} (layer {high}); "
            f"guessing gives {chance:.0%}."
        )
    low, high = layer_of(min, together.variance), layer_of(max, together.variance)
    if low is not None and high is not None:
        sentences.append(
            f"The language explains between {together.variance[low]:.0%} (layer {low}) and "
            f"{together.variance[high]:.0%} (layer {high}) of the variance of sentences."
        )
    average = mean_curve(curves_of(results, q.DISTANCE).values())
    near = layer_of(min, average)
    if near is not None:
        sentences.append(
            f"The languages' means are nearest to {results.pivot_name}'s at layer {near}: a distance of "
            f"{average[near]:.2f} of the means' length, on average."
        )
    return sentences


def map_text(results: LayerResults) -> list[str]:
    explained = results.map.explained
    low, high = layer_of(min, explained), layer_of(max, explained)
    if low is None or high is None:
        return []
    return [
        f"The two axes hold between {explained[low]:.0%} (layer {low}) and {explained[high]:.0%} "
        f"(layer {high}) of the variance of the sentences."
    ]


def latent_text(results: LayerResults) -> list[str]:
    sentences = []
    for kind, title in (
        ("words", "Translating words"),
        ("next_token", "Predicting the next token"),
    ):
        for lens, readouts in by_lens(results, kind).items():
            pivot = mean_curve(latent.pivot for latent in readouts.values())
            language = mean_curve(latent.language for latent in readouts.values())
            best = layer_of(max, pivot)
            if best is None:
                continue
            sentences.append(
                f"{title}, {LENSES.get(lens, lens)}: {results.pivot_name} tokens get the most at layer "
                f"{best}, {pivot[best]:.1%} on average over {counted(len(readouts), 'language')}, where the language's own get "
                f"{language[best]:.1%}; at the last layer they get {pivot[-1]:.1%} and "
                f"{language[-1]:.1%}."
            )
    return sentences


def steering_text(results: LayerResults) -> list[str]:
    left = {
        language.name: language.after.identity.distance_share
        for language in results.languages.values()
        if language.after is not None
    }
    if not left:
        return []
    last = [curve[-1] for curve in left.values() if math.isfinite(curve[-1])]
    nearer = sum(1 for share in last if share < 1)
    mexa = [
        language.after.alignment.mexa[-1] - language.before.alignment.mexa[-1]
        for language in results.languages.values()
        if language.after is not None
    ]
    sentences = []
    if last:
        sentences.append(
            f"At the last layer, steering has brought the means of {nearer} of {len(last)} languages "
            f"nearer to {results.pivot_name}'s; what is left of the distance is "
            f"{mean(last):.0%} on average."
        )
    if all(map(math.isfinite, mexa)):
        sentences.append(
            f"MEXA at the last layer changes by {signed(100 * mean(mexa), '.1f')} points on average."
        )
    return sentences


def norms_text(results: LayerResults) -> list[str]:
    norms = results.pivot_norms
    form = size_form(norms.mean[0], norms.mean[-1])
    where = [
        (dimension.share, layer, dimension.index)
        for layer, dimensions in enumerate(norms.largest)
        for dimension in dimensions
        if math.isfinite(dimension.share)
    ]
    sentences = [
        f"The mean length of {results.pivot_name} token states goes from {norms.mean[0]:{form}} at layer 0 "
        f"to {norms.mean[-1]:{form}} at layer {results.layers - 1}."
    ]
    if where:
        share, layer, index = max(where)
        sentences.append(
            f"The most that one dimension holds of the squared length is {share:.0%}: dimension {index} "
            f"at layer {layer}."
        )
    return sentences
