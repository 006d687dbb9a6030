"""Fitting methods, one a file, under one registry.

Each is a function of (model, corpus, options) that returns a `SteeringVector`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from langsteer.errors import FitError, SaveError, VectorError
from langsteer.fitting import learned, mean_difference, principal_component, probe
from langsteer.fitting.descent import DescentOptions
from langsteer.fitting.options import Options, PooledOptions, chosen_layer
from langsteer.fitting.readings import Pivot
from langsteer.fitting.search import check_strengths, search
from langsteer.model.model import Model
from langsteer.progress import announce
from langsteer.steering.vector import SteeringVector
from langsteer.storage.files import check_writable
from langsteer.text.corpus import ParallelCorpus
from langsteer.text.languages import parse_tag


@dataclass(frozen=True)
class Method:
    """`resumable`: whether `fit_layers` takes a `checkpoint`."""

    name: str
    fit: Callable[..., SteeringVector]
    fit_layers: Callable[..., list[SteeringVector]]
    options: type[Options] = PooledOptions
    resumable: bool = False

    def make_options(self, given: Mapping[str, Any]) -> Options:
        """Raises FitError for an option that the method does not have."""
        known = [f.name for f in fields(self.options)]
        for name in given:
            if name not in known:
                raise FitError(f"{self.name} has no option {name!r}; it has {', '.join(known)}")
        return self.options(**given)


METHODS = {
    method.name: method
    for method in (
        Method(
            learned.NAME, learned.fit, learned.fit_layers, learned.LearnedOptions, resumable=True
        ),
        Method(mean_difference.NAME, mean_difference.fit, mean_difference.fit_layers),
        Method(principal_component.NAME, principal_component.fit, principal_component.fit_layers),
        Method(probe.NAME, probe.fit, probe.fit_layers, probe.ProbeOptions),
    )
}
DEFAULT_METHOD = learned.NAME
TOGETHER_STEPS = 400  # of all languages, where one alone has 100


def get_method(name: str) -> Method:
    """Raises FitError where there is no such method."""
    if name not in METHODS:
        raise FitError(f"there is no method {name!r}; there are {', '.join(METHODS)}")
    return METHODS[name]


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
    pair = corpus.only(language) if language is not None else corpus
    return chosen.fit(model, pair, chosen.make_options(options))


def learn(
    model: Model,
    corpus: ParallelCorpus,
    language: str | None = None,
    method: str = DEFAULT_METHOD,
    *,
    layers: Sequence[int] = (),
    strengths: Sequence[float] | None = None,
    checkpoint: str | Path | None = None,
    **options: Any,
) -> SteeringVector:
    """Fit on one part of the corpus, and choose layer and strength on another.

    A corpus that comes split keeps its parts, and its `report` part is not touched; any other is
    cut four to one. Without `layers`, at the method's own layer only, and without `strengths` at the
    method's usual ones, of which `learned` has one. `checkpoint` is a file stem
    from which an interrupted gradient fit goes on.
    """
    learning = _Learning(model, corpus, method, layers, strengths, options)
    vector = learning.vector(language or corpus.language, checkpoint)
    learning.discard_checkpoints(checkpoint)
    return vector


def learn_all(
    model: Model,
    corpus: ParallelCorpus,
    method: str = DEFAULT_METHOD,
    *,
    layers: Sequence[int] = (),
    strengths: Sequence[float] | None = None,
    files: Mapping[str, str | Path] | None = None,
    overwrite: bool = False,
    together: bool = False,
    **options: Any,
) -> dict[str, SteeringVector]:
    """Like `learn`, for every language of the corpus; what it reads of the pivot, it reads once.

    `together`: one vector for all, fitted on pairs of all languages, by `learned` in four times the
    steps that one takes, with layer and strength chosen for each.

    With `files`, by language, each vector is saved as soon as it is there. A file that already
    holds what the same call would give is read instead, unless `overwrite`; an interrupted
    gradient fit goes on from beside it. Raises SaveError where a file cannot be written, or would
    replace something other than a vector without `overwrite`.
    """
    learning = _Learning(model, corpus, method, layers, strengths, options, together)
    places = {parse_tag(tag): Path(file) for tag, file in (files or {}).items()}
    if missing := [tag for tag in corpus.languages if places and tag not in places]:
        raise FitError(f"{', '.join(missing)} of {corpus.name}: no file was named for it")
    done = {} if overwrite else learning.done(places)
    for tag, place in places.items():
        if tag not in done:
            check_writable(place)
    return {
        tag: done[tag] if tag in done else learning.saved_vector(tag, places.get(tag))
        for tag in corpus.languages
    }


class _Learning:
    """A method on a corpus: fitted on one part, with layer and strength chosen on another.

    Its languages have their lines, and what is read of the pivot's, in common.
    """

    def __init__(
        self,
        model: Model,
        corpus: ParallelCorpus,
        method: str,
        layers: Sequence[int],
        strengths: Sequence[float] | None,
        options: Mapping[str, Any],
        together: bool = False,
    ) -> None:
        self.model, self.method = model, get_method(method)
        more = together and issubclass(self.method.options, DescentOptions)
        self.options = self.method.make_options(
            {"steps": TOGETHER_STEPS, **options} if more else options
        )
        usual = self.options.usual_strengths
        self.strengths = list(usual if strengths is None else strengths)
        check_strengths(self.strengths)
        named = [model.check_layer(layer) for layer in dict.fromkeys(layers)]
        self.layers = named or [chosen_layer(model, self.options)]
        parts = corpus.split(fit=0.8, choose=0.2, report=0.0)
        self.to_fit, self.to_choose = parts["fit"], parts["choose"]
        self.mixed = self._mixed() if together else None
        self.shared: list[SteeringVector] = []  # fitted on those
        self.fit_pivot = Pivot(model, self.to_fit if self.mixed is None else self.mixed)
        self.choose_pivot = Pivot(model, self.to_choose)

    def vector(self, language: str, checkpoint: str | Path | None = None) -> SteeringVector:
        vectors = self.shared or self._fit(language, checkpoint)
        if self.mixed is not None:
            self.shared = vectors
        there = self.options.fitted_at
        own = [replace(vector, language=language, positions=there) for vector in vectors]
        held_out = self.to_choose.only(language)
        best = search(self.model, held_out, own, self.strengths, self.choose_pivot)
        return replace(best, positions=self.options.acts_at)

    def _fit(self, language: str, checkpoint: str | Path | None) -> list[SteeringVector]:
        more = {"checkpoint": checkpoint} if self.method.resumable else {}
        pairs = self._fitted_on(language)
        return self.method.fit_layers(
            self.model, pairs, self.layers, self.options, self.fit_pivot, **more
        )

    def _fitted_on(self, language: str) -> ParallelCorpus:
        return self.mixed if self.mixed is not None else self.to_fit.only(language)

    def _mixed(self) -> ParallelCorpus:
        """Pairs of all languages: as many as are learned from, where the method learns from some."""
        most = self.options.pairs if isinstance(self.options, DescentOptions) else None
        return self.to_fit.mixed(most, self.options.seed)

    def saved_vector(self, language: str, file: Path | None) -> SteeringVector:
        vector = self.vector(language, file)
        if file is not None:
            vector.save(file)
            self.discard_checkpoints(file)
        return vector

    def discard_checkpoints(self, stem: str | Path | None) -> None:
        if self.method.resumable:
            for file in learned.checkpoint_files(stem, self.layers):
                if file is not None:
                    file.unlink(missing_ok=True)

    def done(self, files: Mapping[str, Path]) -> dict[str, SteeringVector]:
        """Vectors in those of `files` that hold what `vector` would give."""
        found: dict[str, SteeringVector] = {}
        for language, file in files.items():
            vector = _existing(file)
            if vector is not None and self._would_give(vector, language):
                announce(f"{language}: already in {file}")
                found[language] = vector
        return found

    def _would_give(self, vector: SteeringVector, language: str) -> bool:
        trials = [(t["layer"], t["strength"]) for t in vector.scores.get("trials", ())]
        return (
            (vector.language, vector.method) == (language, self.method.name)
            and vector.model.get("fingerprint") == self.model.fingerprint
            and vector.corpus == self._fitted_on(language).describe()
            and vector.scores.get("chosen_on") == self.to_choose.only(language).describe()
            and trials == [(layer, s) for layer in self.layers for s in self.strengths]
            and vector.options | {"layer": None} == _as_saved(self.options) | {"layer": None}
        )


def _existing(file: Path) -> SteeringVector | None:
    if not file.exists():
        return None
    try:
        return SteeringVector.load(file)
    except VectorError as error:
        raise SaveError(
            f"{file} is there already and holds no vector that can be read: name another file, "
            "or overwrite it (overwrite=True, --overwrite)"
        ) from error


def _as_saved(options: Options) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(asdict(options)))
    return found
