"""In which order cells are made, so that the first are soon there, and which may not be made at once."""

import re

from langsteer.errors import MethodError
from langsteer.evaluation.methods import EVALUATION_METHODS, get_method
from langsteer.evaluation.methods.common import Stage


def parts_of(method: str) -> tuple[str, ...]:
    """The names of the methods that a stack or a recipe is of, without what they are given."""
    names = (re.match(r"\w+", piece.strip()) for piece in re.split(r"\+(?![\d.])", method))
    return tuple(name[0] for name in names if name)


def stage_of(method: str) -> Stage:
    """That of the slowest part; what is not known is late."""
    try:
        return get_method(method).stage
    except MethodError:
        return Stage.LATE


def claims_of(model: str, language: str, method: str) -> frozenset[str]:
    """What a method keeps between cells, such as a vector: two that claim the same would both make it."""
    return frozenset(
        f"{model} {part}" if _serves_all(part) else f"{model} {part} {language}"
        for part in parts_of(method)
        if stage_of(part) is not Stage.NOW
    )


def _serves_all(part: str) -> bool:
    return part in EVALUATION_METHODS and EVALUATION_METHODS[part].serves_all
