"""In which order cells are made, so that the first are soon there, and which may not be made at once.

The model as it is and the upper bound come first, then what is asked in other words or fitted in closed form,
then what is trained or written out at length.
"""

import re
from enum import IntEnum

_NOW = ("direct", "english")
_SOON = (
    "few_shot",
    "few_shot_english",
    "native_instruction",
    "english_instruction",
    "xlt",
    "mean_difference",
    "principal_component",
    "probe",
    "lrp2",
    "mrre",
    "language_vector",
)
_FOR_ALL = ("learned_together", "lora_english")  # what they make serves every language


class Stage(IntEnum):
    """What is made before what."""

    NOW = 0
    SOON = 1
    LATE = 2


def parts_of(method: str) -> tuple[str, ...]:
    """The names of the methods that a stack or a recipe is of, without what they are given."""
    names = (re.match(r"\w+", piece.strip()) for piece in re.split(r"\+(?![\d.])", method))
    return tuple(name[0] for name in names if name)


def stage_of(method: str) -> Stage:
    """That of the slowest part; what is not known is late."""
    parts = parts_of(method)
    if all(part in _NOW for part in parts):
        return Stage.NOW
    return Stage.SOON if all(part in _NOW + _SOON for part in parts) else Stage.LATE


def claims_of(model: str, language: str, method: str) -> frozenset[str]:
    """What a method keeps between cells, such as a vector: two that claim the same would both make it."""
    return frozenset(
        f"{model} {part}" if part in _FOR_ALL else f"{model} {part} {language}"
        for part in parts_of(method)
        if part not in _NOW
    )
