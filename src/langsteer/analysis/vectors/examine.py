"""Vectors looked at: how alike those of different languages are, whether language families show, what they
say through the unembedding, and what they do for other languages.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from langsteer.analysis.vectors.results import (
    GroupTest,
    Matrix,
    Readout,
    Similarity,
    TokenScore,
    VectorRecord,
    VectorResults,
)
from langsteer.analysis.vectors.transfer import STRENGTH, Task, transfer
from langsteer.errors import AnalysisError
from langsteer.extras import need
from langsteer.model.model import Model, frozen
from langsteer.steering.vector import SteeringVector, check_comparable
from langsteer.text.corpus import ParallelCorpus
from langsteer.text.languages import family_of, language_name, script_of, script_share, share_script

PERMUTATIONS = 10_000
TOKENS = 12  # shown, each way
COUNTED = 100  # tokens whose script is counted, each way


Array = NDArray[np.float64]


def examine(
    vectors: Iterable[SteeringVector],
    model: Model | None = None,
    corpus: ParallelCorpus | None = None,
    *,
    lines: int | None = None,
    strength: float | None = STRENGTH,
    task: Task | None = None,
    other_weights: bool = False,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> VectorResults:
    """Compare the vectors of several languages; with a model, read them out; with text, carry each over.

    `lines`, `strength` and `task` are those of `transfer`. Raises AnalysisError for vectors that
    cannot be compared: of different layers, models or pivots, or two for one language.
    """
    compared = check_comparable(vectors)
    if model is not None:
        for vector in compared:
            vector.check_fits(model, other_weights=other_weights)
    elif corpus is not None:
        raise AnalysisError("a vector is carried over to texts by a model: name one")
    values = torch.stack([vector.values.double() for vector in compared]).numpy()
    cosine = cosines(values)
    records = tuple(map(_record, compared))
    return VectorResults(
        model=compared[0].model,
        layer=compared[0].layer,
        pivot=compared[0].pivot,
        pivot_name=language_name(compared[0].pivot),
        vectors=records,
        similarity=similarity(values),
        groups=tuple(
            test
            for kind in ("family", "branch", "script")
            if (test := group_test(kind, cosine, _groups(records, kind), permutations, seed))
        ),
        readouts={} if model is None else {v.language: read_vector(model, v) for v in compared},
        transfer=None
        if model is None or corpus is None
        else transfer(
            model, compared, corpus, lines=lines, strength=strength, task=task, seed=seed
        ),
        notes=_notes(compared),
    )


def cosines(values: Array) -> Array:
    """Cosine of each two rows of [vectors, hidden]; NaN for a row of zeros."""
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    cosine: Array = np.clip(unit @ unit.T, -1.0, 1.0)
    return cosine


def similarity(values: Array) -> Similarity:
    """Compare vectors [vectors, hidden], none of them without length.

    Raises MissingExtraError without scipy.
    """
    cosine, count = cosines(values), len(values)
    mean = values.mean(0)
    centred = values - mean
    alone = np.linalg.norm(centred, axis=1) < 1e-9 * np.linalg.norm(values, axis=1)
    centred[alone] = 0.0  # what is left of a vector that is the mean is noise
    merges, order = _clusters(cosine)
    return Similarity(
        cosine=_matrix(cosine),
        centred=_matrix(cosines(centred)),
        shared=float(count * (mean @ mean) / (values * values).sum()),
        shared_chance=1 / count,
        merges=merges,
        order=order,
    )


def group_test(
    kind: str,
    cosine: Array,
    groups: Sequence[str],
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> GroupTest | None:
    """Mean cosine within groups less that between, and how often chance gives as much.

    `cosine` is [vectors, vectors], `groups[i]` the group of i; what has no group ("") is alone.
    Groups are dealt out anew among the languages, keeping their sizes: a Mantel test (Mantel,
    1967) of the cosines against a matrix of same and other, one-sided, p = (1 + deals that give
    as much) / (1 + deals). None where no two share a group, or all do.
    """
    labels = [group or f"alone {i}" for i, group in enumerate(groups)]
    codes = np.unique(labels, return_inverse=True)[1]
    rows, columns = np.triu_indices(len(codes), 1)
    values, same = cosine[rows, columns], codes[rows] == codes[columns]
    if not same.any() or same.all():
        return None
    dealt = np.random.default_rng(seed).permuted(np.tile(codes, (permutations, 1)), axis=1)
    chance = _difference(values, dealt[:, rows] == dealt[:, columns])
    observed = float(_difference(values, same[None])[0])
    return GroupTest(
        kind=kind,
        within=float(values[same].mean()),
        between=float(values[~same].mean()),
        difference=observed,
        chance=float(np.percentile(chance, 95)),
        p=float((1 + (chance >= observed - 1e-12).sum()) / (1 + permutations)),
        pairs=int(same.sum()),
        permutations=permutations,
    )


def read_vector(model: Model, vector: SteeringVector, tokens: int = TOKENS) -> Readout:
    """The tokens that a vector speaks for and against: final norm's scale, then the head.

    A logit lens on the vector by itself. What the norm does to the state it is added to, and all
    layers in between, is left out, so it is rough. Special tokens are left out.
    """
    scores = unembedded(model, vector.values)
    special = [i for i in getattr(model.tokenizer, "all_special_ids", []) if i < len(scores)]
    scores[special] = math.nan
    known = (~scores.isnan()).nonzero()[:, 0]
    ranked = known[scores[known].argsort(descending=True)]
    ways = [
        _token_scores(model, scores, ids[:COUNTED].tolist()) for ids in (ranked, ranked.flip(0))
    ]
    shares = [math.nan, math.nan]
    if not share_script(vector.language, vector.pivot):
        shares = [_share_of_script(way, vector.language) for way in ways]
    up, down = ways
    return Readout(tuple(up[:tokens]), tuple(down[:tokens]), *shares)


def unembedded(model: Model, values: Tensor) -> Tensor:
    """Logits [vocabulary] of a vector [hidden] as a state by itself, standardised.

    Less those of a state of zeros, so that biases of norm and head do not count.
    """
    head = next(model.head.parameters())
    states = torch.stack([values, torch.zeros_like(values)]).to(head.device, model.dtype)
    with torch.inference_mode(), frozen(model):
        normed = states if model.norm is None else model.norm(states)
        logits = model.head(normed).float()
    scores = (logits[0] - logits[1]).cpu()
    return (scores - scores.mean()) / scores.std()


def _token_scores(model: Model, scores: Tensor, ids: Sequence[int]) -> list[TokenScore]:
    if model.tokenizer is None:
        return [TokenScore(i, "", float(scores[i])) for i in ids]
    return [TokenScore(i, str(model.tokenizer.decode([i])), float(scores[i])) for i in ids]


def _share_of_script(tokens: Iterable[TokenScore], language: str) -> float:
    lettered = [token.text for token in tokens if any(map(str.isalpha, token.text))]
    inside = [text for text in lettered if script_share(text, language) > 0.5]
    return len(inside) / len(lettered) if lettered else math.nan


def _record(vector: SteeringVector) -> VectorRecord:
    family = family_of(vector.language)
    length = float(vector.values.double().norm())
    return VectorRecord(
        language=vector.language,
        name=language_name(vector.language),
        family=family.name if family else "",
        branch=f"{family.name}, {family.branch}" if family else "",
        script=script_of(vector.language),
        method=vector.method,
        corpus=str(vector.corpus.get("name", "")),
        length=length,
        relative=length / vector.state_norm if vector.state_norm else math.nan,
        strength=vector.strength,
    )


def _groups(records: Sequence[VectorRecord], kind: str) -> list[str]:
    return [getattr(record, kind) for record in records]


def _notes(vectors: Sequence[SteeringVector]) -> tuple[str, ...]:
    notes = []
    for differing, names in (
        ("methods", {v.method for v in vectors}),
        ("corpora", {str(v.corpus.get("name", "unknown")) for v in vectors}),
    ):
        if len(names) > 1:
            notes.append(
                f"The vectors were fitted with different {differing} ({', '.join(sorted(names))}): what "
                "differs between them may be that, and not the languages."
            )
    if unknown := [v.language for v in vectors if family_of(v.language) is None]:
        notes.append(f"The families of {', '.join(unknown)} are not known; they count as alone.")
    return tuple(notes)


def _difference(values: Array, same: NDArray[np.bool_]) -> Array:
    """Mean over pairs that are the same less mean over the others, for each row of `same`."""
    inside = same.sum(1)
    within = same @ values
    return np.asarray(within / inside - (values.sum() - within) / (len(values) - inside))


def _clusters(cosine: Array) -> tuple[Matrix, tuple[int, ...]]:
    """Average linkage of 1 − cosine, and its leaves, neighbours as near as can be."""
    if len(cosine) < 2:
        return (), tuple(range(len(cosine)))
    hierarchy, spatial = (
        need(f"scipy.{module}", "analysis", "clustering")
        for module in ("cluster.hierarchy", "spatial.distance")
    )
    distance = spatial.squareform(1.0 - cosine, checks=False)
    merges = hierarchy.linkage(np.maximum(distance, 0.0), "average", optimal_ordering=True)
    return _matrix(merges), tuple(map(int, hierarchy.leaves_list(merges)))


def _matrix(values: Array) -> Matrix:
    return tuple(tuple(map(float, row)) for row in values)
