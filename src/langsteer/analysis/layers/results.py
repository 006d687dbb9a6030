"""What an analysis found, as plain numbers: all that its figures and its page show, and its file.

A `Curve` has one number for each layer, from layer 0 to the last. A number that does not exist,
such as the CKA of states that are all the same, is NaN here and null in the file.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from langsteer.storage.records import FiledRecord, RecordFile
from langsteer.version import __version__

FILE = RecordFile("langsteer analysis", 1, "results.json", "langsteer analyze")

Curve = tuple[float, ...]
Point = tuple[float, float]


@dataclass(frozen=True)
class Alignment:
    """How near a language's sentences are to their translations in the pivot, by layer.

    `pair_cosine` and `other_cosine`: mean cosine of translations, and of sentences that are not
    translations. `mexa` with position-weighted means of token states, `mexa_last` with those of
    the last token. `cka`: linear CKA. `to_pivot`: share of the language's sentences whose nearest
    pivot sentence is their translation; `from_pivot`: the other way. `cka_chance`: linear CKA
    with the pivot's sentences in another order, which is what `cka` is above for few lines.
    """

    pair_cosine: Curve
    other_cosine: Curve
    mexa: Curve
    mexa_last: Curve
    cka: Curve
    to_pivot: Curve
    from_pivot: Curve
    cka_chance: Curve = ()


@dataclass(frozen=True)
class Identity:
    """How far a language can be told from the pivot and the others, by layer.

    `distance`: between the language's mean state and the pivot's, over the mean of the two
    (unsteered) means' lengths. `distance_share`: the same distance over the unsteered one (1
    unsteered). `nearest_pivot`: share of the sentences whose nearest language mean, among all
    unsteered ones, is the pivot's. `variance`: share of the variance of this language's and the
    pivot's sentences that lies between the two. `recognised`: share of the sentences that the
    probe, fitted on states like these, takes for what they are; `taken_for_pivot`: share that the
    probe fitted on unsteered states takes for the pivot.
    """

    distance: Curve
    distance_share: Curve
    nearest_pivot: Curve
    variance: Curve
    recognised: Curve
    taken_for_pivot: Curve


@dataclass(frozen=True)
class Dimension:
    """One dimension of the residual stream.

    `size`: its mean absolute value over tokens; `share`: what part of the squared lengths of the
    token states it carries.
    """

    index: int
    size: float
    share: float


@dataclass(frozen=True)
class Norms:
    """How long token states are, by layer, and which dimensions carry them.

    `mean` and `median` length; `typical_size`, the median over dimensions of the mean absolute
    value; `largest[layer]`, the dimensions with the greatest mean absolute value, greatest first.
    """

    mean: Curve
    median: Curve
    typical_size: Curve
    largest: tuple[tuple[Dimension, ...], ...]


@dataclass(frozen=True)
class Latent:
    """Where the probability of the next token goes when a layer's states are read out.

    `pivot`, `language` and `neither` add up to 1 at each layer. `pivot_error` and
    `language_error` are standard errors over the `items` (positions in texts, or words).
    """

    pivot: Curve
    language: Curve
    neither: Curve
    pivot_error: Curve
    language_error: Curve
    items: int


@dataclass(frozen=True)
class Measures:
    """Everything measured of one language, unsteered or steered.

    `next_token` and `words` are by lens: `logit`, and `tuned` where one was given. They are empty
    where nothing was read out.
    """

    alignment: Alignment
    identity: Identity
    norms: Norms
    next_token: dict[str, Latent] = field(default_factory=dict)
    words: dict[str, Latent] = field(default_factory=dict)


@dataclass(frozen=True)
class TokenSets:
    """Which next tokens count as the pivot's and as the language's on parallel text.

    `pivot` and `language`: how many tokens of the vocabulary. `words`: how many words of the
    built-in list were asked for, `words_left_out` how many of its items could not be told apart.
    """

    pivot: int
    language: int
    words: int
    words_left_out: int


@dataclass(frozen=True)
class Steering:
    """The vector that a language was steered with; `strength` is the one that was used, and
    `fitted_on` the name of the corpus it was learned from.
    """

    layer: int
    strength: float
    relative_strength: float
    method: str
    positions: str
    fitted_on: str


@dataclass(frozen=True)
class LanguageResults:
    """One language: `after` and `steering` are None where it has no vector."""

    name: str
    before: Measures
    after: Measures | None = None
    steering: Steering | None = None
    tokens: TokenSets | None = None


@dataclass(frozen=True)
class Together:
    """What is measured over all languages and the pivot at once, by layer.

    `probe`: accuracy of the language probe, cross-validated over lines. `variance`: share of the
    variance of sentence states that the language explains.
    """

    probe: Curve
    variance: Curve


@dataclass(frozen=True)
class Places:
    """Where one language lies in two dimensions: `mean[layer]`, and `sentences[layer][i]` for
    `Map.lines[i]`.
    """

    mean: tuple[Point, ...]
    sentences: tuple[tuple[Point, ...], ...]


@dataclass(frozen=True)
class Map:
    """Language means and sentences in two dimensions, by layer.

    Axes are fitted at each layer on all unsteered sentences, turned (and mirrored) so that they
    lie as near as can be to those of the layer below, and scaled so that the sentences' mean
    square distance from the centre is 1: the same limits, `limit` on either side of 0, do for all
    layers. `explained[layer]` is the share of the variance that the two axes hold (NaN for UMAP).
    `before` has every language and the pivot, `after` those that were steered, in the same axes.
    """

    method: str
    lines: tuple[int, ...]
    explained: Curve
    limit: float
    before: dict[str, Places]
    after: dict[str, Places]


@dataclass(frozen=True)
class LayerResults(FiledRecord):
    """An analysis of one model on one corpus.

    `languages` is by tag, without the pivot, whose `pivot_norms` stand apart. `together_after` is
    None where nothing was steered. `chance` is what the probe would score by guessing. `model`
    and `corpus` say what was read (`name`, `fingerprint`; the corpus's `lines`), `options` how,
    and `seconds` what reading, read-out and the rest took. `notes` are sentences for the reader.
    """

    FILE: ClassVar[RecordFile] = FILE

    model: dict[str, Any]
    corpus: dict[str, Any]
    pivot: str
    pivot_name: str
    layers: int
    languages: dict[str, LanguageResults]
    pivot_norms: Norms
    together_before: Together
    together_after: Together | None
    chance: float
    map: Map
    options: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    version: str = __version__

    @property
    def steered(self) -> tuple[str, ...]:
        """The tags of the languages that were steered."""
        return tuple(tag for tag, language in self.languages.items() if language.after is not None)
