"""The page of a drift: what was found in words, figures, the numbers as tables, and how to read them.

Everything is made of the results, so a page can be made again of drift.json alone.
"""

import importlib.util
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from langsteer.analysis.drift.compare import Drifted, Source, drift
from langsteer.analysis.drift.figures import SIGNIFICANT, at_layer, draw, shown_kind
from langsteer.analysis.drift.results import (
    FILE,
    GAP,
    Curve,
    Drift,
    LanguageDrift,
    VersionDrift,
)
from langsteer.errors import MissingExtraError
from langsteer.look.grid import NONE, Column, Grid, Line, Value, number
from langsteer.look.page import PageTable, Section, render_page
from langsteer.look.plotting import Figure
from langsteer.storage.files import check_writable, write_together
from langsteer.text.corpus import ParallelCorpus

MOVED, MEXA = "Moved", "MEXA"
DISPLACEMENTS_FILE = "displacements.safetensors"


def drift_into(
    folder: str | Path,
    base: Source,
    tuned: Sequence[Source | tuple[str, Source]],
    corpus: ParallelCorpus,
    **options: Any,
) -> tuple[Drift, list[Path]]:
    """`drift`, and write the numbers, the displacements, the figures and the page into a folder.

    `options` are those of `drift`. Raises MissingExtraError without matplotlib or scipy, and SaveError.
    """
    for package, feature in (("matplotlib", "the figures"), ("scipy", "comparing with chance")):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(feature, package, "analysis")
    check_writable(Path(folder) / FILE.name)
    found = drift(base, tuned, corpus, **options)
    return found.results, write_drift(found, folder)


def write_drift(found: Drifted, folder: str | Path) -> list[Path]:
    """Write drift.json, displacements.safetensors, and what `write_report` writes."""
    folder = Path(folder)
    numbers = found.results.write(folder)
    displacements = found.write_displacements(folder / DISPLACEMENTS_FILE)
    return [numbers, displacements, *write_report(found.results, folder)]


def write_report(results: Drift, folder: str | Path) -> list[Path]:
    """Write index.html, one page that needs nothing else, and figures/NAME.{png,svg,pdf}.

    All files or none. Raises MissingExtraError without matplotlib or jinja2, and SaveError.
    """
    figures = draw(results)
    contents: dict[str, bytes | str] = {}
    for figure in figures.values():
        contents[f"figures/{figure.name}.png"] = figure.png
        contents[f"figures/{figure.name}.svg"] = figure.svg_file
        contents[f"figures/{figure.name}.pdf"] = figure.pdf
    contents["index.html"] = page_of(results, figures)
    return write_together(folder, contents)


def page_of(results: Drift, figures: Mapping[str, Figure]) -> str:
    """The page as HTML."""
    count = len(results.languages)
    lead = (
        f"{len(results.versions)} {_noun('version', len(results.versions))} of "
        f"{results.base['name']}, {count} {_noun('language', count)} against {results.pivot_name}, "
        f"{results.layers} layers, {results.measured} lines of {results.corpus.get('name')} "
        f"measured and {results.fitted} others to fit directions on. Made by langsteer "
        f"{results.version}.",
        "Layers are counted from 0. A state is the residual stream at a block's output, before any "
        "final norm; a sentence's is the mean of its tokens' states. The displacement of a language "
        f"is its mean state in the version less that in the base; its own is what is left without "
        f"{results.pivot_name}'s.",
    )
    configuration = {
        "base": results.base,
        "versions": {one.name: [one.source, one.fingerprint] for one in results.versions},
        "corpus": results.corpus,
        "options": results.options,
        "seconds": round(results.seconds, 1),
    }
    plain = {
        name: json.dumps(value, indent=2, ensure_ascii=False)
        for name, value in configuration.items()
    }
    return render_page(
        f"What training moved in {results.base['name']}", sections(results, figures), plain, lead
    )


def sections(results: Drift, figures: Mapping[str, Figure]) -> list[Section]:
    """The parts of the page."""

    def pick(*names: str) -> list[Figure]:
        return [figures[name] for name in names if name in figures]

    gains = [name for name in figures if name.startswith("gains-")]
    layer = results.layer
    found = [
        Section(
            "In short",
            [" ".join(summary(results, version)) for version in results.versions]
            + list(results.notes),
            tables=[
                PageTable(f"{version.name}: layer {layer}", version_grid(results, version), False)
                for version in results.versions
            ],
            reading=_READING["short"],
        ),
        Section(
            f"Alignment with {results.pivot_name}",
            [_alignment_sentence(results, version) for version in results.versions],
            pick("alignment", "alignment-languages"),
            [_alignment_table(results)],
            _READING["alignment"],
        ),
        Section(
            "How far languages moved",
            figures=pick("movement", "movement-languages"),
            tables=[
                _table(results, "Own displacement", lambda f: f.movement.own, ".1%"),
                _table(results, "All of the displacement", lambda f: f.movement.raw, ".1%"),
                _table(results, "Coherence", lambda f: f.movement.coherence, ".2f"),
                _pivot_table(results),
            ],
            reading=_READING["movement"],
        ),
        Section(
            "Along the direction of steering",
            [s for v in results.versions if (s := _matching_sentence(results, v))],
            pick("direction", "direction-languages", "crossed", "cosines", "matrix"),
            [
                _table(results, "Cosine with steering", lambda f: f.directions[GAP].own.value),
                _table(results, "p, vectors as states vary", _p_covariance),
                _table(results, "Share of the gap crossed", lambda f: f.movement.crossed, ".1%"),
                *_vectors_table(results),
            ],
            _READING["direction"],
        ),
        Section(
            "In the span of the steering vectors",
            figures=pick("span"),
            tables=[_table(results, "Share in the span", _span_share, ".2f")],
            reading=_READING["span"],
        ),
        Section(
            "Likeness to the base",
            figures=pick("similarity", "similarity-languages"),
            tables=[
                _table(results, "Linear CKA with the base", lambda f: f.similarity.cka),
                _table(results, "Mean cosine with the base", lambda f: f.similarity.cosine),
            ],
            reading=_READING["similarity"],
        ),
        Section(
            "Versions against each other",
            figures=pick("versions"),
            tables=[_pairs_table(results)],
            reading=_READING["versions"],
        ),
        Section(
            "Does gain follow movement?",
            _gain_sentences(results),
            pick(*gains),
            [_gains_table(results)],
            _READING["gains"],
        ),
    ]
    return [part for part in found if part.figures or part.title == "In short"]


_READING: dict[str, tuple[str, ...]] = {
    "short": (
        "All of it at one layer: that of the vectors, or the one that was asked for. p, random: how often a "
        "random vector, drawn with the covariance of the base's states, has a cosine as great, either way; the "
        "p values are not corrected for the number of languages. Rank: that of the language's own vector among "
        "the vectors of all languages, by their cosine with its displacement.",
        "Lengths and cosines have the noise of a finite number of sentences taken off; a dash is where the "
        "displacement is too small against it to have a direction.",
    ),
    "alignment": (
        "Alignment is measured in each version by itself: a version in which English moved as well as the "
        "language keeps its alignment. MEXA falls as lines are added, since each has more rivals: compare "
        "within one run only. CKA of fewer lines than dimensions is well above 0 for unrelated states too.",
        "That sentences lie nearer to their translations does not show that answers get better.",
    ),
    "movement": (
        "The base is 0. Where the language's line and the pivot's lie together and the own displacement is "
        "small, training moved all languages alike: that may change what the model does, but brings no language "
        "nearer to the pivot.",
        "Dotted: how long the own displacement would look if only sampling made it; that much is already taken "
        "off. Coherence (table): the share of the sentences' own squared movement that is the same for all of "
        "them, the most that one vector could copy.",
        "Lengths do not show whether a movement matters: a few dimensions carry most of the length of states.",
    ),
    "direction": (
        "The steering direction of a layer is the mean difference to the pivot in the base, fitted on lines that "
        "are not measured. 1: training moved the language as steering does; 0: at right angles; −1: away from "
        "the pivot.",
        "In a wide residual stream, random vectors with no preferred direction have cosines near 0. States vary "
        "along few directions, and random vectors that vary as they do reach further: the paler band is the one "
        "to beat. A version steered with the mean difference has cosine 1 at its layer by construction.",
        "All languages' steering directions have much in common. Only the map of languages against languages, "
        "with its permutation test, shows whether a language moves along its own direction rather than along "
        "one that leads all languages to the pivot.",
        "The share of the gap crossed also has the size of the movement: a cosine near 1 may cross next to "
        "nothing. A likeness of directions does not show that training works by this movement.",
    ),
    "span": (
        "k languages' vectors span up to k dimensions. How much of what training did could steering with any "
        "mixture of them have done? Random spans of as many dimensions are what chance gives; drawn as states "
        "vary, they hold much more than in a residual stream without preferred directions.",
        "Sampling noise is not taken off here: it makes shares smaller, for the vectors and for random spans.",
    ),
    "similarity": (
        "CKA asks whether the sentences keep their places among each other; it does not change with a shift or "
        "a rotation of all of them. The cosine of a sentence with itself does change with a shift. A version "
        "with CKA near 1 and a lower cosine moved a language as a whole.",
    ),
    "versions": (
        "The two displacements of a cosine are taken from different halves of the lines, so that sentences in "
        "common do not make them alike. A tuned version against the steered base shows whether training did, "
        "in the layers above the vector too, what steering does.",
    ),
    "gains": (
        "Each point is a language. A correlation over a dozen languages is uncertain, four measures are tried "
        "for each version, and the p values are not corrected for that. Languages differ in much that may make "
        "for both movement and gain, such as how much of them the base has read: a correlation does not show "
        "that movement makes the gain.",
    ),
}  # fmt: skip


# Sentences


def summary(results: Drift, version: VersionDrift) -> list[str]:
    """What was found of a version at the results' layer, in sentences."""
    at, pivot, count = results.layer, results.pivot_name, len(version.languages)
    rows = version.languages.values()
    own, raw = (_mean(getattr(f.movement, name)[at] for f in rows) for name in ("own", "raw"))
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
        f"over {count} {_noun('language', count)} ({pivot}'s by {version.pivot.raw[at]:.1%}); "
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
    curves = [found.movement.own for found in version.languages.values()]
    mean = [_mean(layer) for layer in zip(*curves, strict=True)]
    top = max((value for value in mean if math.isfinite(value)), default=0.0)
    if top <= 0:
        return "At no layer did it move a language by itself."
    return f"Own displacements are greatest at layer {mean.index(top)}: {top:.1%}."


def _direction_sentence(
    results: Drift, version: VersionDrift, moved: Sequence[LanguageDrift]
) -> str:
    at, count = results.layer, len(moved)
    cosines = {name: f.directions[GAP].own.value[at] for name, f in _named(results, version)}
    cosines = {name: value for name, value in cosines.items() if math.isfinite(value)}
    low, high = min(cosines, key=cosines.__getitem__), max(cosines, key=cosines.__getitem__)
    spread = (
        f", from {_signed(cosines[low])} ({low}) to {_signed(cosines[high])} ({high})"
        if count > 1
        else ""
    )
    beyond = sum(f.directions[GAP].own.p_covariance[at] < SIGNIFICANT for f in moved)
    crossed = _mean(f.movement.crossed[at] for f in version.languages.values())
    return (
        f"The own displacement has a mean cosine of {_signed(_mean(cosines.values()))} with the "
        f"mean difference to {results.pivot_name} there{spread}; {beyond} of {count} beyond what 95% of random vectors reach "
        f"({SIGNIFICANT * count:.1f} expected by chance). It crosses {_percent(crossed)} of the gap "
        "on average."
    )


def _alignment_sentence(results: Drift, version: VersionDrift) -> str:
    at = results.layer
    tags = list(version.languages)
    before = _mean(results.alignment[tag].mexa[at] for tag in tags)
    after = _mean(version.languages[tag].alignment.mexa[at] for tag in tags)
    return (
        f"{version.name}: MEXA at layer {at} goes from {before:.1%} to {after:.1%} on average over "
        f"{len(tags)} {_noun('language', len(tags))}."
    )


def _matching_sentence(results: Drift, version: VersionDrift) -> str:
    found = version.matching[GAP]
    at = found.layers.index(results.layer)
    if not math.isfinite(found.same[at]):
        return ""
    if math.isfinite(found.p[at]):
        chance = f"p {_p(found.p[at])} by permuting the vectors over the languages"
    else:
        chance = "too few languages to test it by permutation"
    return (
        f"{version.name}: at layer {results.layer}, the mean cosine is "
        f"{_signed(found.same[at])} with a language's own direction and {_signed(found.others[at])} "
        f"with those of other languages ({chance}), sampling noise included."
    )


def _gain_sentences(results: Drift) -> list[str]:
    sentences = []
    for fit in results.gains:
        number_of = f"{len(fit.points)} {_noun('language', len(fit.points))}"
        found = (
            f"ρ {_signed(fit.rho)} [{_signed(fit.low)}, {_signed(fit.high)}], p {_p(fit.p)}: "
            if math.isfinite(fit.rho)
            else ""
        )
        sentences.append(
            f"{fit.version}, {fit.source}, {fit.measure} ({number_of}): {found}{fit.verdict}."
        )
    return sentences


# Tables


def version_grid(results: Drift, version: VersionDrift) -> Grid:
    """A version at the results' layer: a row for each language."""
    kind = shown_kind(results)
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
    at, found = results.layer, version.languages[tag]
    movement = found.movement
    mexa = results.alignment[tag].mexa[at], found.alignment.mexa[at]
    return (
        number(movement.raw[at], ".1%"),
        number(movement.own[at], ".1%"),
        *_cosine_values(found, kind, at, len(version.languages)),
        number(movement.crossed[at], ".1%"),
        Value(f"{mexa[0]:.0%} → {mexa[1]:.0%}", mexa[1] - mexa[0]),
    )


def _cosine_values(found: LanguageDrift, kind: str, layer: int, count: int) -> tuple[Value, ...]:
    cosines = found.directions[kind].own if kind in found.directions else None
    place = at_layer(cosines, layer) if cosines is not None else None
    if cosines is None or place is None or not math.isfinite(cosines.value[place]):
        return (Value(NONE),) * 4
    p, rank = cosines.p_covariance[place], cosines.p_languages[place]
    return (
        number(cosines.value[place], "+.2f"),
        Value(f"[{_signed(cosines.low[place])}, {_signed(cosines.high[place])}]"),
        Value(_p(p).removeprefix("= "), p),
        _rank(rank, count),
    )


def _rank(share: float, count: int) -> Value:
    if not math.isfinite(share):
        return Value(NONE)
    return Value(f"{round(share * count)} of {count}", share)


def _table(
    results: Drift,
    title: str,
    curve: Callable[[LanguageDrift], Curve],
    form: str = ".3f",
) -> PageTable:
    """A row for each version and language, a column for each layer."""
    columns = (
        Column("Version", numeric=False),
        Column("Language", numeric=False),
        *(Column(str(layer)) for layer in range(results.layers)),
    )
    lines = tuple(
        Line((Value(version.name), Value(name), *(number(x, form) for x in curve(found))))
        for version in results.versions
        for name, found in _named(results, version)
    )
    return PageTable(f"{title}, by layer", Grid(columns, lines))


def _p_covariance(found: LanguageDrift) -> Curve:
    return found.directions[GAP].own.p_covariance


def _span_share(found: LanguageDrift) -> Curve:
    span = found.directions[GAP].span
    return span.share if span is not None else ()


def _alignment_table(results: Drift) -> PageTable:
    columns = (
        Column("Version", numeric=False),
        Column("Language", numeric=False),
        *(Column(str(layer)) for layer in range(results.layers)),
    )
    rows: list[tuple[str, str, Curve]] = [
        ("base", results.languages[tag], found.mexa) for tag, found in results.alignment.items()
    ]
    rows += [
        (version.name, name, found.alignment.mexa)
        for version in results.versions
        for name, found in _named(results, version)
    ]
    lines = tuple(
        Line((Value(version), Value(name), *(number(x, ".0%") for x in curve)))
        for version, name, curve in rows
    )
    return PageTable("MEXA, by layer", Grid(columns, lines))


def _pivot_table(results: Drift) -> PageTable:
    columns = (
        Column("Version", numeric=False),
        *(Column(str(layer)) for layer in range(results.layers)),
    )
    lines = tuple(
        Line((Value(version.name), *(number(x, ".1%") for x in version.pivot.raw)))
        for version in results.versions
    )
    return PageTable(f"{results.pivot_name}'s displacement, by layer", Grid(columns, lines))


def _pairs_table(results: Drift) -> PageTable:
    columns = (
        Column("Versions", numeric=False),
        Column("Language", numeric=False),
        *(Column(str(layer)) for layer in range(results.layers)),
    )
    lines = tuple(
        Line(
            (
                Value(f"{pair.first} and {pair.second}"),
                Value(results.languages[tag]),
                *(number(x) for x in curve),
            )
        )
        for pair in results.pairs
        for tag, curve in pair.cosines.items()
    )
    return PageTable("Cosine of own displacements, by layer", Grid(columns, lines))


def _vectors_table(results: Drift) -> list[PageTable]:
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


def _gains_table(results: Drift) -> PageTable:
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


# Words and numbers


def _named(results: Drift, version: VersionDrift) -> list[tuple[str, LanguageDrift]]:
    return [(results.languages[tag], found) for tag, found in version.languages.items()]


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _percent(value: float) -> str:
    return f"{value:.1%}".replace("-", "−")


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"


def _noun(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"
