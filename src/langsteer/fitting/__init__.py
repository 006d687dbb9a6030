"""Fitting methods, one a file, under one registry.

Each is a function of (model, corpus, options) that returns a `SteeringVector`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from langsteer.corpus import ParallelCorpus
from langsteer.errors import FitError
from langsteer.fitting import learned, mean_difference, principal_component, probe
from langsteer.fitting.common import Options, chosen_layer
from langsteer.fitting.search import STRENGTHS, search
from langsteer.models import Model
from langsteer.vector import SteeringVector


@dataclass(frozen=True)
class Method:
    fit: Callable[..., SteeringVector]
    options: type[Options]


METHODS = {
    learned.NAME: Method(learned.fit, learned.LearnedOptions),
    mean_difference.NAME: Method(mean_difference.fit, mean_difference.MeanDifferenceOptions),
    principal_component.NAME: Method(
        principal_component.fit, principal_component.PrincipalComponentOptions
    ),
    probe.NAME: Method(probe.fit, probe.ProbeOptions),
}
DEFAULT_METHOD = mean_difference.NAME


def fit(
    model: Model,
    corpus: ParallelCorpus,
    language: str | None = None,
    method: str = DEFAULT_METHOD,
    **options: Any,
) -> SteeringVector:
    """Fit a vector with a method by name; `options` are those of the method's options class.

    `language` may be left out where the corpus has only one beside the pivot. Raises FitError for
    a method or option that does not exist.
    """
    chosen = get_method(method)
    known = [f.name for f in fields(chosen.options)]
    for name in options:
        if name not in known:
            raise FitError(f"{method} has no option {name!r}; it has {', '.join(known)}")
    pair = corpus.only(language) if language is not None else corpus
    return chosen.fit(model, pair, chosen.options(**options))


def get_method(name: str) -> Method:
    """Raises FitError where there is no such method."""
    if name not in METHODS:
        raise FitError(f"there is no method {name!r}; there are {', '.join(METHODS)}")
    return METHODS[name]


def learn(
    model: Model,
    corpus: ParallelCorpus,
    language: str | None = None,
    method: str = DEFAULT_METHOD,
    *,
    layers: Sequence[int] = (),
    strengths: Sequence[float] = STRENGTHS,
    checkpoint: str | Path | None = None,
    **options: Any,
) -> SteeringVector:
    """Fit on one part of the corpus, and choose layer and strength on another.

    A corpus that comes split keeps its parts, and its `report` part is not touched; any other is
    cut four to one. Without `layers`, at the method's own layer only. `checkpoint` is a file stem
    from which an interrupted gradient fit goes on.
    """
    chosen = get_method(method)
    pair = corpus.only(language) if language is not None else corpus
    parts = pair.split(fit=0.8, choose=0.2, report=0.0)
    default = chosen_layer(model, chosen.options(**options))

    def fit_layer(layer: int) -> SteeringVector:
        more: dict[str, Any] = {}
        if checkpoint is not None and method == learned.NAME:
            more["checkpoint"] = Path(f"{checkpoint}.layer{layer}.fit")
        return chosen.fit(
            model, parts["fit"], chosen.options(**{**options, "layer": layer}), **more
        )

    vector = search(model, parts["choose"], fit_layer, list(layers) or [default], strengths)
    if checkpoint is not None and method == learned.NAME:
        for layer in list(layers) or [default]:
            Path(f"{checkpoint}.layer{layer}.fit").unlink(missing_ok=True)
    return vector
