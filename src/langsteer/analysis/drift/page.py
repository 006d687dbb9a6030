"""The page of a drift: what was found in words, figures, the numbers as tables, and how to read them.

Everything is made of the results, so a page can be made again of drift.json alone.
"""

import json
from collections.abc import Sequence
from functools import partial

from langsteer.analysis.drift.results import GAP, Drift
from langsteer.analysis.drift.sentences import (
    alignment_sentence,
    gain_sentences,
    matching_sentence,
    summary,
)
from langsteer.analysis.drift.tables import (
    alignment_table,
    gains_table,
    language_table,
    p_covariance,
    pairs_table,
    pivot_table,
    span_share,
    vectors_table,
    version_grid,
)
from langsteer.look.page import PageSection, PageTable, figures_called, render_page
from langsteer.look.plotting import Figure
from langsteer.look.words import counted


def page_of(results: Drift, figures: Sequence[Figure]) -> str:
    """The page as HTML."""
    lead = (
        f"{counted(len(results.versions), 'version')} of "
        f"{results.base['name']}, {counted(len(results.languages), 'language')} against {results.pivot_name}, "
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
        "versions": {
            version.name: [version.source, version.fingerprint] for version in results.versions
        },
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


def sections(results: Drift, figures: Sequence[Figure]) -> list[PageSection]:
    """The parts of the page."""
    pick = partial(figures_called, figures)
    names = [figure.name for figure in figures]

    gains = [name for name in names if name.startswith("gains-")]
    layer = results.layer
    every = [
        PageSection(
            "In short",
            [" ".join(summary(results, version)) for version in results.versions]
            + list(results.notes),
            tables=[
                PageTable(f"{version.name}: layer {layer}", version_grid(results, version), False)
                for version in results.versions
            ],
            reading=_READING["short"],
        ),
        PageSection(
            f"Alignment with {results.pivot_name}",
            [alignment_sentence(results, version) for version in results.versions],
            pick("alignment", "alignment-languages"),
            [alignment_table(results)],
            _READING["alignment"],
        ),
        PageSection(
            "How far languages moved",
            figures=pick("movement", "movement-languages"),
            tables=[
                language_table(results, "Own displacement", lambda f: f.movement.own, ".1%"),
                language_table(results, "All of the displacement", lambda f: f.movement.raw, ".1%"),
                language_table(results, "Coherence", lambda f: f.movement.coherence, ".2f"),
                pivot_table(results),
            ],
            reading=_READING["movement"],
        ),
        PageSection(
            "Along the direction of steering",
            [s for v in results.versions if (s := matching_sentence(results, v))],
            pick("direction", "direction-languages", "crossed", "cosines", "matrix"),
            [
                language_table(
                    results, "Cosine with steering", lambda f: f.directions[GAP].own.value
                ),
                language_table(results, "p, vectors as states vary", p_covariance),
                language_table(
                    results, "Share of the gap crossed", lambda f: f.movement.crossed, ".1%"
                ),
                *vectors_table(results),
            ],
            _READING["direction"],
        ),
        PageSection(
            "In the span of the steering vectors",
            figures=pick("span"),
            tables=[language_table(results, "Share in the span", span_share, ".2f")],
            reading=_READING["span"],
        ),
        PageSection(
            "Likeness to the base",
            figures=pick("similarity", "similarity-languages"),
            tables=[
                language_table(results, "Linear CKA with the base", lambda f: f.similarity.cka),
                language_table(results, "Mean cosine with the base", lambda f: f.similarity.cosine),
            ],
            reading=_READING["similarity"],
        ),
        PageSection(
            "Versions against each other",
            figures=pick("versions"),
            tables=[pairs_table(results)],
            reading=_READING["versions"],
        ),
        PageSection(
            "Does gain follow movement?",
            gain_sentences(results),
            pick(*gains),
            [gains_table(results)],
            _READING["gains"],
        ),
    ]
    return [section for section in every if section.figures or section.title == "In short"]


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
