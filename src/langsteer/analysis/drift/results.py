"""What training moved, as plain numbers: all that the figures and the page of `langsteer drift` show.

A `Curve` has one number for each layer. A number that does not exist, such as the cosine of a displacement too
small to have a direction, is NaN here and null in the file.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from langsteer.storage.records import FiledRecord, RecordFile
from langsteer.version import __version__

FILE = RecordFile("langsteer drift", 1, "drift.json", "langsteer drift")
GAP = "mean difference at each layer"

Curve = tuple[float, ...]


@dataclass(frozen=True)
class Nearness:
    """How near a language's sentences are to their translations in the pivot, by layer.

    Measures as in `langsteer.analysis.alignment`, of the mean over a sentence's token states.
    """

    mexa: Curve
    pair_cosine: Curve
    other_cosine: Curve
    cka: Curve


@dataclass(frozen=True)
class Likeness:
    """Between a language's sentences in the base and in the version: linear CKA, mean cosine."""

    cka: Curve
    cosine: Curve


@dataclass(frozen=True)
class Movement:
    """How far the mean state of a language moved, by layer.

    Lengths are relative to the mean length of the language's states in the base, with sampling
    noise taken off. `raw`: all of the displacement; `own`: without the pivot's. `noise`: how long
    `own` would look by the sampling of sentences alone. `pivot_cosine`: of `raw` with the pivot's
    displacement. `coherence`: share of the sentences' own squared movement that is the same for
    all of them. `crossed`: share of the base's mean gap to the pivot that `own` crosses (1 is all
    of it, below 0 is away from the pivot), with a 95% bootstrap interval over sentences.
    """

    raw: Curve
    own: Curve
    noise: Curve
    pivot_cosine: Curve
    coherence: Curve
    crossed: Curve
    crossed_low: Curve
    crossed_high: Curve


@dataclass(frozen=True)
class Cosines:
    """Of a displacement with a steering direction, at `layers`.

    `value`, with its 95% bootstrap interval over sentences, has sampling noise taken off.
    `isotropic` and `covariance`: the size that the cosine with a random vector stays under in 95%
    of cases, when the vector has no preferred direction, and when it is drawn with the covariance
    of the base's states. `p_isotropic`, `p_covariance`: two-sided p values against these;
    `p_languages`: the rank of the language's own vector among those of all languages, over their
    number.
    """

    layers: tuple[int, ...]
    value: Curve
    low: Curve
    high: Curve
    isotropic: Curve
    covariance: Curve
    p_isotropic: Curve
    p_covariance: Curve
    p_languages: Curve

    def place_of(self, layer: int) -> int | None:
        """The place of a layer; that of the only layer where there is one, None where it lacks."""
        if len(self.layers) == 1:
            return 0
        return self.layers.index(layer) if layer in self.layers else None


@dataclass(frozen=True)
class Spans:
    """Share of the squared length of `own` in the span of all languages' vectors, at `layers`.

    `rank`: dimensions of the span. Of random spans of that rank, isotropic and drawn with the
    covariance of the states: mean share, the share that 95% stay under, and the p value.
    """

    layers: tuple[int, ...]
    rank: tuple[int, ...]
    share: Curve
    isotropic: Curve
    isotropic_high: Curve
    covariance: Curve
    covariance_high: Curve
    p_isotropic: Curve
    p_covariance: Curve


@dataclass(frozen=True)
class Directions:
    """A language's displacement against one kind of steering direction; `span` of `own` only."""

    own: Cosines
    raw: Cosines
    span: Spans | None = None


@dataclass(frozen=True)
class LanguageDrift:
    """One language in one version. `directions` is by the kind of direction; GAP is always there."""

    alignment: Nearness
    movement: Movement
    similarity: Likeness
    directions: dict[str, Directions]


@dataclass(frozen=True)
class PivotDrift:
    """The pivot in one version: what moved it is what all languages are measured against."""

    raw: Curve
    noise: Curve
    coherence: Curve
    similarity: Likeness


@dataclass(frozen=True)
class Matching:
    """Do languages move along their own vectors more than along those of the others? By layer.

    Mean cosine of `own` with the language's own vector (`same`) and with the others' (`others`),
    and the p value of a permutation of the vectors over the languages.
    """

    layers: tuple[int, ...]
    same: Curve
    others: Curve
    p: Curve


@dataclass(frozen=True)
class CosineMatrix:
    """Cosines of `own` of each language (rows) with each language's vector (columns)."""

    layer: int
    languages: tuple[str, ...]
    cosines: tuple[Curve, ...]


@dataclass(frozen=True)
class VersionDrift:
    """One version against the base: what was opened (`source`), or the base `steered`."""

    name: str
    source: str
    steered: bool
    pivot: PivotDrift
    languages: dict[str, LanguageDrift]
    matching: dict[str, Matching]
    matrix: CosineMatrix
    fingerprint: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class VersionPair:
    """Cosine of the own displacements of two versions, by language and layer."""

    first: str
    second: str
    cosines: dict[str, Curve]


@dataclass(frozen=True)
class Gain:
    """A language's gain beside one measure of its movement."""

    language: str
    gain: float
    movement: float


@dataclass(frozen=True)
class GainFit:
    """Does gain follow movement? Over the languages of one version.

    `rho`: Spearman's correlation, with its 95% bootstrap interval over languages and `p`, two-sided,
    of a permutation test; NaN where there are too few languages, which `verdict` then says.
    """

    source: str
    version: str
    measure: str
    points: tuple[Gain, ...]
    rho: float
    low: float
    high: float
    p: float
    verdict: str


@dataclass(frozen=True)
class VectorFacts:
    """A steering vector that displacements are held against. `text`: what it was fitted on."""

    kind: str
    language: str
    layer: int
    strength: float
    relative_strength: float
    text: str


@dataclass(frozen=True)
class Drift(FiledRecord):
    """Versions of a model against their base.

    `languages` maps tags to names, without the pivot. `layer` is the one that tables and maps
    show. `fitted` and `measured`: numbers of lines that the directions were fitted on, and that
    everything was measured on. `lengths`: mean length of the base's states, by tag.
    """

    FILE: ClassVar[RecordFile] = FILE

    base: dict[str, Any]
    corpus: dict[str, Any]
    pivot: str
    pivot_name: str
    languages: dict[str, str]
    layers: int
    layer: int
    fitted: int
    measured: int
    lengths: dict[str, Curve]
    alignment: dict[str, Nearness]
    versions: tuple[VersionDrift, ...]
    pairs: tuple[VersionPair, ...] = ()
    vectors: tuple[VectorFacts, ...] = ()
    gains: tuple[GainFit, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    version: str = __version__

    @property
    def shown_kind(self) -> str:
        """The kind of the vectors that were given; else the mean difference of the layer."""
        return self.vectors[0].kind if self.vectors else GAP

    def by_name(self, version: VersionDrift) -> list[tuple[str, LanguageDrift]]:
        """What was found of a version, by the languages' names."""
        return [(self.languages[tag], language) for tag, language in version.languages.items()]
