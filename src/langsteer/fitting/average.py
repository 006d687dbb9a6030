"""Average: a vector for a language that has no parallel text, from those of other languages.

Vectors learned for different languages have most of their direction in common (`langsteer vectors`
says how much); what is a language's own, and the noise of its fit, is averaged out.
"""

from collections.abc import Iterable
from dataclasses import replace

import torch

from langsteer.errors import VectorError
from langsteer.languages import parse_tag
from langsteer.vector import SteeringVector, check_comparable

NAME = "average"
FEWEST = 2


def average(vectors: Iterable[SteeringVector], language: str) -> SteeringVector:
    """The mean of the vectors, at the mean of their strengths, as one of `language`.

    A vector of the language itself is left out. Raises VectorError where fewer than two are left,
    or they are not of one model, layer and pivot.
    """
    tag = parse_tag(language)
    others = [vector for vector in vectors if vector.language != tag]
    if len(others) < FEWEST:
        raise VectorError(
            f"an average needs the vectors of {FEWEST} languages or more beside {tag}, "
            f"and there {'is 1' if len(others) == 1 else f'are {len(others)}'}"
        )
    found = check_comparable(others)
    if tag == found[0].pivot:
        raise VectorError(f"{tag} is the language that the vectors lead to")
    positions = sorted({vector.positions for vector in found})
    if len(positions) > 1:
        raise VectorError(f"the vectors act on different positions: {', '.join(positions)}")
    count = len(found)
    return replace(
        found[0],
        values=torch.stack([vector.values.float() for vector in found]).mean(0),
        language=tag,
        method=NAME,
        strength=sum(vector.strength for vector in found) / count,
        state_norm=sum(vector.state_norm for vector in found) / count,
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
