"""The numbers of a drift, as tables."""

import math
from collections.abc import Callable

from langsteer.analysis.drift.results import GAP, Curve, Drift, LanguageDrift, VersionDrift
from langsteer.look.grid import NONE, Column, Grid, Line, Value, number, number_grid
from langsteer.look.page import PageTable
from langsteer.look.words import p_value, signed

MOVED, MEXA = "Moved", "MEXA"


def version_grid(results: Drift, version: VersionDrift) -> Grid:
    """A version at the results' layer: a row for each language."""
    kind = results.shown_kind
    columns = (
        Column("Language", numeric=False),
        Column(MOVED, hint="displacement ÷ length of states"),
        Column("Own", hint=f"without {results.pivot_name}'s displacement"),
        Column("Cosine", hint=f"own displacement with {kind}"),
        Column("95%", hint="bootstrap interval over sentences"),
        Column("p, random", hint="random vectors with the covariance of the states"),
        Column("Rank", hint="of the language's own vector among all languages'"),
        Column("Crossed", hint=f"share of the gap to {results.pivot_name}"),
        Column(MEXA, hint="base → version"),
    )
    lines = [
        Line((Value(name), *_row(results, version, tag, kind)))
        for tag, name in results.languages.items()
        if tag in version.languages
    ]
    return Grid(columns, tuple(lines))


def _row(results: Drift, version: VersionDrift, tag: str, kind: str) -> tuple[Value, ...]:
    at, language = results.layer, version.languages[tag]
    movement = language.movement
    mexa = results.alignment[tag].mexa[at], language.alignment.mexa[at]
    return (
        number(movement.raw[at], ".1%"),
        number(movement.own[at], ".1%"),
        *_cosine_values(language, kind, at, len(version.languages)),
        number(movement.crossed[at], ".1%"),
        Value(f"{mexa[0]:.0%} → {mexa[1]:.0%}", mexa[1] - mexa[0]),
    )


def _cosine_values(language: LanguageDrift, kind: str, layer: int, count: int) -> tuple[Value, ...]:
    cosines = language.directions[kind].own if kind in language.directions else None
    place = cosines.place_of(layer) if cosines is not None else None
    if cosines is None or place is None or not math.isfinite(cosines.value[place]):
        return (Value(NONE),) * 4
    p, rank = cosines.p_covariance[place], cosines.p_languages[place]
    return (
        number(cosines.value[place], "+.2f"),
        Value(f"[{signed(cosines.low[place])}, {signed(cosines.high[place])}]"),
        Value(p_value(p).removeprefix("= "), p),
        _rank(rank, count),
    )


def _rank(share: float, count: int) -> Value:
    if not math.isfinite(share):
        return Value(NONE)
    return Value(f"{round(share * count)} of {count}", share)


def language_table(
    results: Drift,
    title: str,
    curve: Callable[[LanguageDrift], Curve],
    form: str = ".3f",
) -> PageTable:
    """A row for each version and language, a column for each layer."""
    rows = [
        ([version.name, name], curve(language))
        for version in results.versions
        for name, language in results.by_name(version)
    ]
    grid = number_grid(["Version", "Language"], range(results.layers), rows, form)
    return PageTable(f"{title}, by layer", grid)


def p_covariance(language: LanguageDrift) -> Curve:
    return language.directions[GAP].own.p_covariance


def span_share(language: LanguageDrift) -> Curve:
    span = language.directions[GAP].span
    return span.share if span is not None else ()


def alignment_table(results: Drift) -> PageTable:
    rows = [
        (["base", results.languages[tag]], nearness.mexa)
        for tag, nearness in results.alignment.items()
    ]
    rows += [
        ([version.name, name], language.alignment.mexa)
        for version in results.versions
        for name, language in results.by_name(version)
    ]
    grid = number_grid(["Version", "Language"], range(results.layers), rows, ".0%")
    return PageTable("MEXA, by layer", grid)


def pivot_table(results: Drift) -> PageTable:
    rows = [([version.name], version.pivot.raw) for version in results.versions]
    grid = number_grid(["Version"], range(results.layers), rows, ".1%")
    return PageTable(f"{results.pivot_name}'s displacement, by layer", grid)


def pairs_table(results: Drift) -> PageTable:
    rows = [
        ([f"{pair.first} and {pair.second}", results.languages[tag]], curve)
        for pair in results.pairs
        for tag, curve in pair.cosines.items()
    ]
    grid = number_grid(["Versions", "Language"], range(results.layers), rows)
    return PageTable("Cosine of own displacements, by layer", grid)


def vectors_table(results: Drift) -> list[PageTable]:
    if not results.vectors:
        return []
    names = ("Vectors", "Language", "Layer", "Strength", "Of the states", "Fitted on")
    words = ("Vectors", "Language", "Fitted on")
    columns = tuple(Column(name, numeric=name not in words) for name in names)
    lines = tuple(
        Line(
            (
                Value(fact.kind),
                Value(results.languages[fact.language]),
                Value(str(fact.layer), fact.layer),
                number(fact.strength, "g"),
                number(fact.relative_strength, ".1%"),
                Value(fact.text),
            )
        )
        for fact in results.vectors
    )
    return [PageTable("The vectors", Grid(columns, lines))]


def gains_table(results: Drift) -> PageTable:
    names = ("Gains", "Version", "Measure", "Language", "Gain", "Value of the measure")
    columns = tuple(Column(name, numeric=place > 3) for place, name in enumerate(names))
    lines = tuple(
        Line(
            (
                Value(fit.source),
                Value(fit.version),
                Value(fit.measure),
                Value(results.languages[point.language]),
                number(point.gain, ".2f"),
                number(point.movement),
            )
        )
        for fit in results.gains
        for point in fit.points
    )
    return PageTable("Gains and movements", Grid(columns, lines))
