"""What was found of versions, in sentences."""

import math
from collections.abc import Sequence

from langsteer.analysis.drift.results import GAP, Drift, LanguageDrift, VersionDrift
from langsteer.look.words import SIGNIFICANT, counted, mean, mean_curve, p_value, percent, signed


def summary(results: Drift, version: VersionDrift) -> list[str]:
    """What was found of a version at the results' layer, in sentences."""
    at, pivot, count = results.layer, results.pivot_name, len(version.languages)
    rows = version.languages.values()
    own, raw = (mean(getattr(f.movement, name)[at] for f in rows) for name in ("own", "raw"))
    moved = [f for f in rows if math.isfinite(f.directions[GAP].own.value[at])]
    if not moved:
        return [
            f"{version.name} did not move the mean states of any language at layer {at} by itself, "
            f"beyond rounding and sampling ({pivot}: {version.pivot.raw[at]:.1%} of their length). "
            f"{_greatest(version)}",
            *version.notes,
        ]
    sentences = [
        f"{version.name} moved mean states at layer {at} by {raw:.1%} of their length on average "
        f"over {counted(count, 'language')} ({pivot}'s by {version.pivot.raw[at]:.1%}); "
        f"without {pivot}'s displacement, {own:.1%}. {_greatest(version)}",
        _direction_sentence(results, version, moved),
        *version.notes,
    ]
    if len(moved) < count:
        sentences.append(
            f"{count - len(moved)} of {count} languages moved too little by themselves to have a "
            "direction."
        )
    return sentences


def _greatest(version: VersionDrift) -> str:
    """Where the languages' own displacements are greatest, of all layers."""
    curves = [language.movement.own for language in version.languages.values()]
    average = mean_curve(curves)
    top = max((value for value in average if math.isfinite(value)), default=0.0)
    if top <= 0:
        return "At no layer did it move a language by itself."
    return f"Own displacements are greatest at layer {average.index(top)}: {top:.1%}."


def _direction_sentence(
    results: Drift, version: VersionDrift, moved: Sequence[LanguageDrift]
) -> str:
    at, count = results.layer, len(moved)
    cosines = {name: f.directions[GAP].own.value[at] for name, f in results.by_name(version)}
    cosines = {name: value for name, value in cosines.items() if math.isfinite(value)}
    low, high = min(cosines, key=cosines.__getitem__), max(cosines, key=cosines.__getitem__)
    spread = (
        f", from {signed(cosines[low])} ({low}) to {signed(cosines[high])} ({high})"
        if count > 1
        else ""
    )
    beyond = sum(f.directions[GAP].own.p_covariance[at] < SIGNIFICANT for f in moved)
    crossed = mean(f.movement.crossed[at] for f in version.languages.values())
    return (
        f"The own displacement has a mean cosine of {signed(mean(cosines.values()))} with the "
        f"mean difference to {results.pivot_name} there{spread}; {beyond} of {count} beyond what 95% of random vectors reach "
        f"({SIGNIFICANT * count:.1f} expected by chance). It crosses {percent(crossed, 1)} of the gap "
        "on average."
    )


def alignment_sentence(results: Drift, version: VersionDrift) -> str:
    at = results.layer
    tags = list(version.languages)
    before = mean(results.alignment[tag].mexa[at] for tag in tags)
    after = mean(version.languages[tag].alignment.mexa[at] for tag in tags)
    return (
        f"{version.name}: MEXA at layer {at} goes from {before:.1%} to {after:.1%} on average over "
        f"{counted(len(tags), 'language')}."
    )


def matching_sentence(results: Drift, version: VersionDrift) -> str:
    matching = version.matching[GAP]
    at = matching.layers.index(results.layer)
    if not math.isfinite(matching.same[at]):
        return ""
    if math.isfinite(matching.p[at]):
        chance = f"p {p_value(matching.p[at])} by permuting the vectors over the languages"
    else:
        chance = "too few languages to test it by permutation"
    return (
        f"{version.name}: at layer {results.layer}, the mean cosine is "
        f"{signed(matching.same[at])} with a language's own direction and {signed(matching.others[at])} "
        f"with those of other languages ({chance}), sampling noise included."
    )


def gain_sentences(results: Drift) -> list[str]:
    sentences = []
    for fit in results.gains:
        number_of = f"{counted(len(fit.points), 'language')}"
        correlation = (
            f"ρ {signed(fit.rho)} [{signed(fit.low)}, {signed(fit.high)}], p {p_value(fit.p)}: "
            if math.isfinite(fit.rho)
            else ""
        )
        sentences.append(
            f"{fit.version}, {fit.source}, {fit.measure} ({number_of}): {correlation}{fit.verdict}."
        )
    return sentences
