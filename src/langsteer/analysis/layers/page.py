"""The page of an analysis: its figures, its numbers as tables, and how to read them.

Everything is made of the results, so a page can be made again of results.json alone.
"""

import json
from collections.abc import Sequence
from functools import partial

from langsteer.analysis.layers import quantities as q
from langsteer.analysis.layers.results import LayerResults
from langsteer.analysis.layers.sentences import (
    alignment_text,
    identity_text,
    latent_text,
    map_text,
    norms_text,
    steering_text,
)
from langsteer.analysis.layers.tables import (
    dimension_table,
    explained_table,
    language_grid,
    latent_tables,
    length_table,
    quantity_tables,
    together_table,
)
from langsteer.look.page import PageSection, PageTable, figures_called, render_page
from langsteer.look.plotting import Figure


def page_of(results: LayerResults, figures: Sequence[Figure]) -> str:
    """The page as HTML."""
    name, corpus = results.model.get("name", "the model"), results.corpus
    lead = (
        f"{len(results.languages)} languages against {results.pivot_name}, {results.layers} layers, "
        f"{corpus.get('lines')} lines of {corpus.get('name')}. Made by langsteer {results.version}.",
        "Layers are counted from 0. A state is the residual stream at a block's output, before any "
        "final norm; a sentence's is the mean of its tokens' states unless said otherwise.",
    )
    configuration = {
        part: json.dumps(getattr(results, part), indent=2, ensure_ascii=False)
        for part in ("model", "corpus", "options", "seconds")
    }
    return render_page(
        f"What the layers of {name} do", sections(results, figures), configuration, lead
    )


def sections(results: LayerResults, figures: Sequence[Figure]) -> list[PageSection]:
    """The parts of the page."""
    names = [figure.name for figure in figures]
    pick = partial(figures_called, figures)

    latent = [name for name in names if name.startswith(("next-token-", "words-"))]
    steered = [name for name in names if name.endswith("-steered")]
    every = [
        PageSection(
            "Languages",
            results.notes,
            tables=[PageTable("The languages, and what they were steered with", language_grid(results),
                              folded=False)],
        ),
        PageSection(
            f"Alignment with {results.pivot_name}",
            alignment_text(results),
            pick(*q.ALIGNMENT_FIGURES),
            quantity_tables(results, q.ALIGNMENT),
            _READING["alignment"],
        ),
        PageSection(
            "Telling the languages apart",
            identity_text(results),
            pick(*q.IDENTITY_FIGURES),
            [together_table(results), *quantity_tables(results, q.IDENTITY)],
            _READING["identity"],
        ),
        PageSection("The map, layer by layer", map_text(results), pick("map"), [explained_table(results)],
                _READING["map"]),
        PageSection("The language inside", latent_text(results), pick(*latent), latent_tables(results),
                _READING["latent"]),
        PageSection("What steering changes", steering_text(results), pick(*steered),
                quantity_tables(results, q.STEERED_ONLY, unsteered=False), _READING["steering"]),
        PageSection("Norms and massive dimensions", norms_text(results), pick("norms", "dimensions"),
                [length_table(results), dimension_table(results)], _READING["norms"]),
    ]  # fmt: skip
    return [section for section in every if section.figures or section.title == "Languages"]


_READING: dict[str, tuple[str, ...]] = {
    "alignment": (
        "MEXA is the share of sentences that are nearer, by cosine, to their translation than to any other "
        "sentence of either language. It falls as lines are added, since each has more rivals: compare "
        "runs with the same lines only. A high value shows that like meanings lie close, not that the "
        "model uses it.",
        "Cosines are drawn as 1 − cosine, on a logarithmic scale: where a few dimensions carry most of the "
        "length, all cosines are near 1. Those of translations mean something beside those of sentences "
        "that are not.",
        "CKA compares the geometry of two sets of states up to rotation, shift and scale. For fewer lines "
        "than dimensions it is well above 0 for unrelated states too: the lower picture, with the pivot's "
        "lines in another order, is what chance gives.",
    ),
    "identity": (
        "The probe is a logistic regression that is asked about lines it has seen in no language. That it can "
        "tell a language shows that the language is written in the states, not that the model acts on it: "
        "with many dimensions it finds what takes up very little. The variance says how little.",
        "The distance of means is over the mean length of the two means: 0 where they are the same.",
    ),
    "map": (
        "Each picture shows two directions of many. The share in brackets is how much of the variance the "
        "two hold: what lies elsewhere is not seen, and two languages that lie on each other here may be "
        "far apart. Scales are relative to the layer: that states grow from layer to layer is not shown.",
    ),
    "latent": (
        "Each layer's states are read out as if they were the last layer's: how much probability goes to "
        "tokens that are surely the pivot's, to tokens that are surely the language's, and to neither. "
        "Words that both languages write alike count as neither.",
        "The logit lens is rough, most of all in lower layers: what a layer holds in another form than the "
        "head reads is not seen. That English comes first in the middle layers does not show that the "
        "model thinks in English.",
    ),
    "steering": (
        "Solid: unsteered, dashed: steered. At the vector's layer the states are those after the addition; "
        "below it nothing changes. Where a dashed line falls back to the solid one, the layers above undo "
        "what the vector did.",
        "A vector moves all states of a language alike: it can bring means together, and cannot bring single "
        "sentences nearer to their own translations than to others' except by way of the mean.",
        "That states move towards the pivot does not show that answers get better: measure it with "
        "langsteer evaluate.",
    ),
    "norms": (
        "A strength means something only against the length of the states at its layer. Lengths and cosines "
        "may be decided by few dimensions: the lower figure shows which, for the pivot, and how much of the "
        "squared length they hold.",
    ),
}  # fmt: skip
