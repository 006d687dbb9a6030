"""Average: a vector for a language that has little or no parallel text, from those of other languages.

Vectors learned for different languages have most of their direction in common (`langsteer vectors`
says how much); what is a language's own, and the noise of its fit, is averaged out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from langsteer.errors import VectorError
from langsteer.steering.folder import load
from langsteer.steering.vector import SteeringVector, check_comparable
from langsteer.storage.files import check_replaceable, check_writable
from langsteer.text.languages import parse_tag

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
    vectors_used = check_comparable([*others, *([own] if own is not None else [])])
    if tag == vectors_used[0].pivot:
        raise VectorError(f"{tag} is the language that the vectors lead to")
    _check_positions(vectors_used)
    weights = [1.0] * len(others) + [float(len(others))] * (len(vectors_used) - len(others))
    values = torch.stack([vector.values.float() for vector in vectors_used])
    return replace(
        vectors_used[0],
        values=torch.tensor(weights) @ values / sum(weights),
        language=tag,
        method=NAME,
        strength=fmean([vector.strength for vector in vectors_used], weights),
        state_norm=fmean([vector.state_norm for vector in vectors_used], weights),
        options={
            **_shared_objective(vectors_used),
            "of": {vector.language: vector.method for vector in vectors_used},
            "strengths": {vector.language: vector.strength for vector in vectors_used},
        },
        corpus={
            "name": ", ".join(sorted({str(vector.corpus.get("name")) for vector in vectors_used})),
            "lines": sum(int(vector.corpus.get("lines") or 0) for vector in vectors_used),
            "languages": [vector.language for vector in vectors_used],
        },
        scores={},
        loss=(),
    )


def _check_positions(vectors: Sequence[SteeringVector]) -> None:
    by_positions: dict[str, list[str]] = {}
    for vector in vectors:
        by_positions.setdefault(vector.positions, []).append(vector.language)
    if len(by_positions) > 1:
        told = ", ".join(f"{at} ({', '.join(tags)})" for at, tags in sorted(by_positions.items()))
        raise VectorError(
            f"the vectors act on different positions: {told}. Name the files of those that act alike, "
            "or fit the others again (langsteer fit --positions)"
        )


def check_place(file: str | Path, language: str, overwrite: bool = False) -> None:
    """Raise SaveError where an average could not be written, or would replace anything but an average
    for the same language, unless `overwrite`.
    """
    check_writable(file)
    tag = parse_tag(language)

    def refusal(path: Path) -> str | None:
        try:
            there = load(path)
        except VectorError:
            return "holds no vector that can be read"
        own = there.method == NAME and there.language == tag
        made = f"made by {there.method}"
        return None if own else f"holds a vector of {there.language} that was {made}"

    check_replaceable(file, refusal, overwrite)


def _shared_objective(vectors: Sequence[SteeringVector]) -> dict[str, Any]:
    """What all were learned with, where that is one thing: it says what a vector serves."""
    objectives = {vector.options.get("objective") for vector in vectors}
    return {} if None in objectives or len(objectives) > 1 else {"objective": objectives.pop()}
