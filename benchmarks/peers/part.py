"""What is measured: parts, the libraries that each is measured against, and what an outcome is compared by."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from langsteer.errors import MissingExtraError
from langsteer.model.model import Model

Case = Any
Outcome = Any
OURS = "langsteer"


@dataclass(frozen=True)
class Peer:
    """A library, or a way of using one, and what it does in a part.

    `run` does the work on the part's case, `ours` the same with langsteer where that is not the
    part's usual. `does` says in words what is computed; `cannot`, why nothing is measured; `rounds`,
    how many there are where that is not what was asked for.
    """

    does: str
    run: Callable[[Case], Outcome] | None = None
    ours: Callable[[Case], Outcome] | None = None
    cannot: str = ""
    rounds: int | None = None


@dataclass(frozen=True)
class Part:
    """Something that langsteer and its peers both do.

    `make` builds what it is done on, from the settings; `memory` replaces some of them where the peak
    memory is measured, so that batches are as large as they would be, and `counted` where operations
    are. `operations`, by the name of who does it, tells how many there are without a run; without
    it, they are counted in the run that shows the peak memory.
    """

    title: str
    settings: dict[str, Any]
    make: Callable[[Model, Mapping[str, Any]], Case]
    ours: Callable[[Case], Outcome]
    peers: Mapping[str, Peer]
    compare: Callable[[Outcome, Outcome], dict[str, Any]]
    memory: dict[str, Any] = field(default_factory=dict)
    counted: dict[str, Any] = field(default_factory=dict)
    operations: Callable[[Case, str], int] | None = None


def library(module: str) -> Any:
    """A peer's module. Raises MissingExtraError where it is not installed."""
    if not hasattr(np, "float_"):  # repeng names it, and numpy 2 has it no more
        np.float_ = np.float64  # type: ignore[attr-defined]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0].replace("_", "-")
        raise MissingExtraError("a measurement against it", package, "peers") from error
