"""Average: a vector for a language that has little or no parallel text, from those of other languages.

Vectors learned for different languages have most of their direction in common (`langsteer vectors`
says how much); what is a language's own, and the noise of its fit, is averaged out.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch

from langsteer.errors import VectorError
from langsteer.languages import parse_tag
from langsteer.vector import SteeringVector, check_comparable

NAME = "average"
FEWEST = 2


def average(
    vectors: Iterable[SteeringVector], language: str, own: SteeringVector | None = None
) -> SteeringVector:
    """The mean of the vectors, at the mean of their strengths, as one of `language`.

    A vector of the language itself among them is left out; `own`, one learned from what little text
    there is, counts as much as all others together. Raises VectorError where fewer than two others
    are left, or they are not of one model, layer, pivot and positions.
    """
    tag = parse_tag(language)
    others = [vector for vector in vectors if vector.language != tag]
    if len(others) < FEWEST:
        raise VectorError(
            f"an average needs the vectors of {FEWEST} languages or more beside {tag}, "
            f"and there {'is 1' if len(others) == 1 else f'are {len(others)}'}"
        )
    if own is not None and own.language != tag:
        raise VectorError(f"the vector given as {tag}'s own is one of {own.language}")
    found = check_comparable([*others, *([own] if own is not None else [])])
    if tag == found[0].pivot:
        raise VectorError(f"{tag} is the language that the vectors lead to")
    positions = sorted({vector.positions for vector in found})
    if len(positions) > 1:
        raise VectorError(f"the vectors act on different positions: {', '.join(positions)}")
    shares = [_share(vector, tag, len(others), own is not None) for vector in found]

    def mean(of: Callable[[SteeringVector], float]) -> float:
        return sum(share * of(vector) for share, vector in zip(shares, found, strict=True))

    values = torch.stack([vector.values.float() for vector in found])
    return replace(
        found[0],
        values=torch.tensor(shares) @ values,
        language=tag,
        method=NAME,
        strength=mean(lambda vector: vector.strength),
        state_norm=mean(lambda vector: vector.state_norm),
        options={
            "of": {vector.language: vector.method for vector in found},
            "strengths": {vector.language: vector.strength for vector in found},
        },
        corpus={
            "name": ", ".join(sorted({str(vector.corpus.get("name")) for vector in found})),
            "lines": sum(int(vector.corpus.get("lines") or 0) for vector in found),
            "languages": [vector.language for vector in found],
        },
        scores={},
        loss=(),
    )


def _share(vector: SteeringVector, tag: str, others: int, with_own: bool) -> float:
    if not with_own:
        return 1 / others
    return 0.5 if vector.language == tag else 0.5 / others
