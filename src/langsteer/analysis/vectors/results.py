"""What was found of vectors, as plain numbers: all that their figures and their page show."""

from dataclasses import dataclass
from typing import Any, ClassVar

from langsteer.storage.records import FiledRecord, RecordFile
from langsteer.version import __version__

FILE = RecordFile("langsteer vectors", 1, "vectors.json", "langsteer vectors")
Row = tuple[float, ...]
Matrix = tuple[Row, ...]
RANDOM = "random"


@dataclass(frozen=True)
class VectorRecord:
    """A vector without its numbers. `family` and `branch` are empty where they are not known.

    `length` is that of the vector as fitted, `relative` that length over the mean length of the
    states at the layer (NaN where the vector does not know it), `strength` its own.
    """

    language: str
    name: str
    family: str
    branch: str
    script: str
    method: str
    corpus: str
    length: float
    relative: float
    strength: float


@dataclass(frozen=True)
class Similarity:
    """How alike the vectors are, in the order of the records.

    `cosine`: between each two. `centred`: the same of the vectors less their mean. `shared`: the
    share of the vectors' squared length that their mean holds; vectors that have nothing to do
    with each other would give `shared_chance`. `merges` are the rows of scipy's linkage matrix
    (average linkage of 1 − cosine), and `order` its leaves; both empty for fewer than two vectors.
    """

    cosine: Matrix
    centred: Matrix
    shared: float
    shared_chance: float
    merges: Matrix
    order: tuple[int, ...]


@dataclass(frozen=True)
class GroupTest:
    """Whether vectors of languages of one group are more alike than others.

    `kind` is family, branch or script. `within` and `between` are mean cosines over pairs of
    languages of the same and of different groups, `pairs` the number of the former. `p`: how
    often groups dealt out at random give at least this `difference`; the largest in 95 of 100
    such deals is `chance`.
    """

    kind: str
    within: float
    between: float
    difference: float
    chance: float
    p: float
    pairs: int
    permutations: int


@dataclass(frozen=True)
class TokenScore:
    """`score`: by how many standard deviations its logit is above the vocabulary's mean."""

    id: int
    text: str
    score: float


@dataclass(frozen=True)
class Readout:
    """What a vector says through the final norm's scale and the head, taken as a state by itself.

    `up`: the tokens that it makes likeliest, `down`: unlikeliest. `script_up` and `script_down`:
    of the hundred first tokens each way that have letters, the share in the language's script;
    NaN where it shares its script with the pivot.
    """

    up: tuple[TokenScore, ...]
    down: tuple[TokenScore, ...]
    script_up: float
    script_down: float


@dataclass(frozen=True)
class Transfer:
    """Scores of the vector of `vectors[i]` on the texts of `texts[j]`, in row i and column j.

    The last row is of a random direction, as long as the vectors are on average, where there is
    one; `vectors` then ends with "random". `at_layer` and `at_last`: how much of the distance
    between the texts' mean and the pivot's is gone, 1 − ‖m + s·v − m_pivot‖ ÷ ‖m − m_pivot‖, at the
    vectors' layer and, m steered, at the last; 1 where it is all gone, under 0 where it has grown.
    `mexa`: MEXA with the pivot at the last layer, steered, and `mexa_unsteered`. `task` and
    `task_unsteered`: per cent of a task, empty where none was given. `strength` is None where
    each vector had its own.
    """

    vectors: tuple[str, ...]
    texts: tuple[str, ...]
    lines: int
    corpus: str
    strength: float | None
    at_layer: Matrix
    at_last: Matrix
    mexa: Matrix
    mexa_unsteered: tuple[float, ...]
    task: Matrix = ()
    task_unsteered: tuple[float, ...] = ()


@dataclass(frozen=True)
class VectorResults(FiledRecord):
    """What was found of some vectors of one layer of one model.

    `readouts` is by language, and empty, and `transfer` None, where no model was given.
    """

    FILE: ClassVar[RecordFile] = FILE

    model: dict[str, Any]
    layer: int
    pivot: str
    pivot_name: str
    vectors: tuple[VectorRecord, ...]
    similarity: Similarity
    groups: tuple[GroupTest, ...]
    readouts: dict[str, Readout]
    transfer: Transfer | None
    notes: tuple[str, ...] = ()
    version: str = __version__
