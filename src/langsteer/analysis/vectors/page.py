"""The page of vectors looked at: its figures, its numbers as tables, and how to read them."""

import json
import math
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from langsteer.analysis.vectors.figures import label_of, row_order
from langsteer.analysis.vectors.results import (
    RANDOM,
    GroupTest,
    Matrix,
    Readout,
    TokenScore,
    Transfer,
    VectorResults,
)
from langsteer.look.grid import NONE, Column, Grid, Line, Value, number, number_grid, size_form
from langsteer.look.page import PageSection, PageTable, figures_called, render_page
from langsteer.look.plotting import Figure
from langsteer.look.words import SIGNIFICANT, counted, mean, p_value, percent, probability, signed
from langsteer.text.languages import language_name


def page_of(results: VectorResults, figures: Sequence[Figure]) -> str:
    """The page as HTML."""
    count = len(results.vectors)
    lead = (
        f"{counted(count, 'vector')} of {results.model.get('name')} at layer "
        f"{results.layer}, towards {results.pivot_name}. Made by langsteer {results.version}.",
    )
    pick = partial(figures_called, figures)

    sections = [
        PageSection("The vectors", results.notes, tables=[PageTable("Vectors", vector_grid(results), False)]),
        PageSection("How alike they are", similarity_text(results), pick("similarity", "similarity-centred"),
                _cosine_tables(results), _READING["similarity"]),
        PageSection("Language families", group_text(results), pick("families"),
                [PageTable("Tests", group_grid(results), False)], _READING["families"]),
        PageSection("What they say through the unembedding", readout_text(results), (),
                [PageTable("Tokens that each vector speaks for and against", readout_grid(results), False)],
                _READING["readout"]),
        PageSection("Carried over to other languages", transfer_text(results),
                pick("transfer-layer", "transfer-last", "transfer-mexa", "transfer-task"),
                _transfer_tables(results), _READING["transfer"]),
    ]  # fmt: skip
    keep = (True, count > 1, bool(results.groups), bool(results.readouts), bool(results.transfer))
    shown = [section for section, wanted in zip(sections, keep, strict=True) if wanted]
    configuration = {"model": json.dumps(results.model, indent=2, ensure_ascii=False)}
    title = f"Steering vectors of {results.model.get('name')}, layer {results.layer}"
    return render_page(title, shown, configuration, lead)


_READING: dict[str, tuple[str, ...]] = {
    "similarity": (
        "Cosines are of the vectors as they are. All lead to the same pivot, so all have something in common "
        "whatever the languages: high cosines alone show little. The second picture takes the mean of the "
        "vectors away.",
        "Clusters are made from the cosines alone, and know nothing of families. Which of two near clusters "
        "is joined first may hang on small differences.",
    ),
    "families": (
        "Are vectors of related languages more alike? Groups are dealt out anew among the languages ten "
        "thousand times; p is the share of deals that give at least the difference found. It is not corrected "
        "for there being three tests.",
        "Families go with scripts, with the amount of text a model has seen, and with how near languages are "
        "to the pivot: a difference does not show that descent is the cause. Pairs of languages are not "
        "independent; the permutation of languages respects that, an ordinary test of pairs would not.",
    ),
    "readout": (
        "The vector is taken for a state by itself: the final norm's scale, then the head. The score is how many "
        "standard deviations a token's logit is above the mean over the vocabulary, so 3 is little for one of "
        "hundreds of thousands of tokens.",
        "This logit lens on a vector is rough: the vector is added many layers below the head, to states that "
        "it is small against, and the layers between do what they like with it. Tokens that make no sense are the "
        "usual outcome, not a fault of the vector.",
    ),
    "transfer": (
        "The vector of the row acts on the texts of the column, at its own positions. Framed: a language's "
        "own vector. 1: the mean of the texts lies where the pivot's does; 0: as far as without the vector; "
        "below 0: farther. The last row is a direction drawn at random, as long as the vectors.",
        "At the vectors' own layer this is geometry. At the last layer it is what the layers above have made of "
        "it, and MEXA asks whether single sentences have come nearer to their own translations than to "
        "others'. None of the three is a score on a task.",
    ),
}  # fmt: skip


# Sentences


def similarity_text(results: VectorResults) -> list[str]:
    alike = results.similarity
    if len(results.vectors) < 2:
        return []
    cosine = np.array(alike.cosine)
    pairs = [(cosine[i, j], i, j) for i in range(len(cosine)) for j in range(i)]
    (low, *least), (high, *most) = min(pairs), max(pairs)
    name = [record.name for record in results.vectors]
    mean = float(np.mean([pair[0] for pair in pairs]))
    extremes = (
        f", from {low:.2f} ({name[least[1]]} and {name[least[0]]}) to {high:.2f} ({name[most[1]]} and "
        f"{name[most[0]]})"
        if len(pairs) > 1
        else ""
    )
    return [
        f"The mean cosine of two vectors is {mean:.2f}{extremes}.",
        f"Their mean holds {alike.shared:.0%} of their squared length; of vectors that have nothing to do "
        f"with each other it would hold about {alike.shared_chance:.0%}.",
    ]


def group_text(results: VectorResults) -> list[str]:
    return [_group_sentence(test) for test in results.groups]


def _group_sentence(test: GroupTest) -> str:
    start = (
        f"{test.kind.capitalize()}: the mean cosine is {test.within:.3f} within ({counted(test.pairs, 'pair')}) and "
        f"{test.between:.3f} between, a difference of {signed(test.difference, '.3f')}"
    )
    chance = f"chance gives up to {signed(test.chance, '.3f')} in 95 of 100 deals; p {p_value(test.p, exact=True)}"
    verdict = (
        "languages of one are more alike than chance would have it"
        if test.p < SIGNIFICANT
        else "not shown to be more alike than chance would have it"
    )
    return f"{start} ({chance}): {verdict}."


def readout_text(results: VectorResults) -> list[str]:
    shares = [
        (readout.script_up, readout.script_down)
        for readout in results.readouts.values()
        if math.isfinite(readout.script_up) and math.isfinite(readout.script_down)
    ]
    if not shares:
        return []
    up, down = (sum(column) / len(shares) for column in zip(*shares, strict=True))
    return [
        f"Of {counted(len(shares), 'language')} in another script than {results.pivot_name}'s, {up:.0%} of the hundred tokens that "
        f"the vector speaks for most are in the language's script, and {down:.0%} of those it speaks "
        "against most."
    ]


def transfer_text(results: VectorResults) -> list[str]:
    carried = results.transfer
    if carried is None:
        return []
    sentences = []
    for values, where in ((carried.at_layer, "vectors' layer"), (carried.at_last, "last layer")):
        means = [
            f"{percent(average)} of the distance by {whose}"
            for whose, average in _by_relation(results, carried, values)
        ]
        sentences.append(
            f"At the {where} there is gone (minus: grown), on average, {'; '.join(means)}."
        )
    change = [
        [steered - plain for steered, plain in zip(row, carried.mexa_unsteered, strict=True)]
        for row in carried.mexa
    ]
    means = [
        f"{signed(100 * average, '.1f')} points by {whose}"
        for whose, average in _by_relation(results, carried, tuple(map(tuple, change)))
    ]
    return [*sentences, f"MEXA at the last layer changes, on average, by {'; '.join(means)}."]


def _by_relation(
    results: VectorResults, carried: Transfer, values: Matrix
) -> Iterator[tuple[str, float]]:
    """Means over the cells of a language's own vector, a related one's, another's, and the random one's."""
    family = {record.language: record.family for record in results.vectors}
    cells: dict[str, list[float]] = {
        "a language's own vector": [],
        "that of another of its family": [],
        "that of another family": [],
        "a random direction": [],
    }
    own, related, other, random = cells
    for i, vector in enumerate(carried.vectors):
        for j, text in enumerate(carried.texts):
            same = bool(family.get(vector)) and family.get(vector) == family.get(text)
            key = own if vector == text else related if same else other
            cells[random if vector == RANDOM else key].append(values[i][j])
    for whose, numbers in cells.items():
        if math.isfinite(average := mean(numbers)):
            yield whose, average


# Tables


def vector_grid(results: VectorResults) -> Grid:
    """A row a vector."""
    columns = (
        Column("Language", numeric=False),
        Column("Tag", numeric=False),
        Column("Family", numeric=False),
        Column("Script", numeric=False),
        Column("Method", numeric=False),
        Column("Fitted on", numeric=False),
        Column("Length", hint="Of the vector as fitted"),
        Column("Relative", hint="Length over the mean length of the states at the layer"),
        Column("Strength", hint="The vector's own"),
    )
    lines = [
        Line(
            (
                Value(record.name),
                Value(record.language),
                Value(record.branch or NONE),
                Value(record.script),
                Value(record.method),
                Value(record.corpus or NONE),
                number(record.length, size_form(record.length)),
                number(record.relative, ".1%"),
                number(record.strength, "g"),
            )
        )
        for record in results.vectors
    ]
    return Grid(columns, tuple(lines))


def group_grid(results: VectorResults) -> Grid:
    """A row a test."""
    columns = (
        Column("Groups", numeric=False),
        Column("Pairs within"),
        Column("Cosine within"),
        Column("Cosine between"),
        Column("Difference"),
        Column("Chance", hint="95% of random deals give a smaller difference"),
        Column("p", hint="One-sided permutation test"),
    )
    lines = [
        Line(
            (
                Value(test.kind),
                Value(str(test.pairs), test.pairs),
                number(test.within),
                number(test.between),
                number(test.difference, "+.3f"),
                number(test.chance, "+.3f"),
                Value(probability(test.p, exact=True), test.p),
            )
        )
        for test in results.groups
    ]
    return Grid(columns, tuple(lines))


def readout_grid(results: VectorResults) -> Grid:
    """A row a vector: tokens up and down, and how many of a hundred are in the language's script."""
    columns = (
        Column("Vector of", numeric=False),
        Column("For", numeric=False, hint="Tokens made likelier, with their scores"),
        Column("Against", numeric=False, hint="Tokens made unlikelier, with their scores"),
        Column("Script, for", hint="Share of the first hundred tokens in the language's script"),
        Column("Script, against", hint="The same of the last hundred"),
    )
    lines = [
        Line(
            (
                Value(language_name(tag)),
                _tokens(readout, readout.up),
                _tokens(readout, readout.down),
                number(readout.script_up, ".0%"),
                number(readout.script_down, ".0%"),
            )
        )
        for tag, readout in results.readouts.items()
    ]
    return Grid(columns, tuple(lines))


def _tokens(readout: Readout, tokens: Sequence[TokenScore]) -> Value:
    first = tokens[0].score if tokens else math.nan
    return Value(
        " · ".join(_visible(token) for token in tokens),
        first,
        hint=", ".join(f"{token.id}: {token.score:+.1f}" for token in tokens),
    )


def _visible(token: TokenScore) -> str:
    """A token with its spaces, and with marks that keep its direction apart from its neighbours'."""
    text = token.text or str(token.id)
    for hidden, shown in ((" ", "␣"), ("\n", "⏎"), ("\r", "⏎"), ("\t", "⇥")):
        text = text.replace(hidden, shown)
    return f"\u2068{text}\u2069"


def _cosine_tables(results: VectorResults) -> list[PageTable]:
    order = results.similarity.order
    names = [results.vectors[i].name for i in order]
    tables = []
    for caption, values in (
        ("Cosines", results.similarity.cosine),
        ("Cosines of the vectors less their mean", results.similarity.centred),
    ):
        rows = [([results.vectors[i].name], [values[i][j] for j in order]) for i in order]
        tables.append(PageTable(caption, number_grid(["Vector of"], names, rows)))
    return tables


def _transfer_tables(results: VectorResults) -> list[PageTable]:
    carried = results.transfer
    if carried is None:
        return []
    of, texts = row_order(results, carried.vectors), row_order(results, carried.texts)
    columns = [label_of(carried.texts[j]) for j in texts]
    tables = []
    for caption, values, form in (
        ("Share of the distance gone at the vectors' layer", carried.at_layer, ".3f"),
        ("Share of the distance gone at the last layer", carried.at_last, ".3f"),
        ("MEXA at the last layer, steered", carried.mexa, ".3f"),
        ("Task, steered, per cent", carried.task, ".1f"),
    ):
        if values:
            rows = [([label_of(carried.vectors[i])], [values[i][j] for j in texts]) for i in of]
            grid = number_grid(["Vector of"], columns, rows, form)
            tables.append(PageTable(f"{caption}; columns: texts in", grid))
    return tables
