"""Fit a change by a method's name, and choose its layer and strength."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from langsteer.errors import FitError
from langsteer.fitting.asked import SHARES, Asked, made_otherwise
from langsteer.fitting.descent import checkpoint_files
from langsteer.fitting.methods import get_method
from langsteer.fitting.names import DEFAULT_METHOD
from langsteer.fitting.options import Method, chosen_layer
from langsteer.fitting.readings import PivotReadings
from langsteer.fitting.recipe import is_recipe, recipe_method
from langsteer.fitting.search import search
from langsteer.model.model import Model
from langsteer.progress import announce
from langsteer.steering.change import Change
from langsteer.steering.folder import load
from langsteer.storage.files import check_replaceable
from langsteer.storage.kept import Difference, first_difference
from langsteer.text.corpus import ParallelCorpus
from langsteer.text.languages import parse_tag


def method_of(name: str) -> Method:
    """The method of a name, or of a recipe (see `recipe`). Raises FitError where there is none."""
    return recipe_method(name, get_method, learn) if is_recipe(name) else get_method(name)


def fit(
    model: Model,
    corpus: ParallelCorpus,
    language: str | None = None,
    method: str = DEFAULT_METHOD,
    **options: Any,
) -> Change:
    """Fit by a method's name, or by a recipe; `options` are those of the method's options class.

    `language` may be left out where the corpus has only one beside the pivot. Raises FitError for
    a method or option that does not exist.
    """
    chosen = method_of(method)
    pair = corpus.only(language) if language is not None else corpus
    more = {"whole": corpus} if chosen.all_languages else {}
    return chosen.fit(model, pair, chosen.make_options(options), **more)


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
) -> Change:
    """Fit on one part of the corpus, and choose layer and strength on another.

    A corpus that comes split keeps its parts, and its `report` part is not touched; any other is
    cut four to one. Without `layers`, at the method's own layer only, and without `strengths` at the
    method's usual ones, of which `learned` has one. `checkpoint` is a file stem
    from which an interrupted gradient fit goes on.
    """
    learning = _Learning(model, Asked(corpus, method_of(method), layers, strengths, options))
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
    whole: ParallelCorpus | None = None,
    **options: Any,
) -> dict[str, Change]:
    """Like `learn`, for every language of the corpus; what it reads of the pivot, it reads once.

    `together`: one vector for all, fitted on pairs of all languages, by `learned` in four times the
    steps that one takes, with layer and strength chosen for each.

    `whole` is the corpus in more languages, for methods that read all that there are; without it,
    those of `corpus`.

    With `files`, by language, each vector is saved as soon as it is there. A file that already
    holds what the same call would give is read instead, unless `overwrite`; an interrupted
    gradient fit goes on from beside it. Raises SaveError where a file cannot be written, or without
    `overwrite` where there is something else: another file, or a vector that was made otherwise.
    """
    asked = Asked(corpus, method_of(method), layers, strengths, options, together, whole)
    learning = _Learning(model, asked)
    places = {parse_tag(tag): Path(file) for tag, file in (files or {}).items()}
    if missing := [tag for tag in corpus.languages if places and tag not in places]:
        raise FitError(f"{', '.join(missing)} of {corpus.name}: no file was named for it")
    asked.check_kept(places, overwrite)
    kept = {} if overwrite else learning.kept(places)
    return {
        tag: kept[tag] if tag in kept else learning.saved_vector(tag, places.get(tag))
        for tag in corpus.languages
    }


def dealt_alike(corpus: ParallelCorpus, method: str = DEFAULT_METHOD) -> ParallelCorpus:
    """A corpus of which each language alone has the lines in each part that it has among the others.

    `learn` on one of its languages gives what it gives on all of the corpus.
    """
    chosen = method_of(method)
    by_itself = chosen.learn is not None and not chosen.all_languages  # it deals the lines itself
    return corpus if by_itself else corpus.dealt(**SHARES)


class _Learning:
    """A method on a corpus: fitted on one part, with layer and strength chosen on another.

    Its languages have their lines, and what is read of the pivot's, in common.
    """

    def __init__(self, model: Model, asked: Asked) -> None:
        self.asked, self.model = asked, model
        self.method, self.options = asked.method, asked.options
        for layer in asked.layers:
            model.check_layer(layer)
        self.layers = asked.layers or [chosen_layer(model, self.options)]
        self.to_choose, self.mixed = asked.to_choose, asked.mixed
        self.shared: Sequence[Change] = []  # fitted on those
        to_fit = asked.to_fit if self.mixed is None else self.mixed
        self.fit_pivot = PivotReadings.of(model, to_fit)
        self.choose_pivot = PivotReadings.of(model, self.to_choose)

    def vector(self, language: str, checkpoint: str | Path | None = None) -> Change:
        if self.method.learn is not None:
            return self._learned_by_method(language)
        vectors = self.shared or self._fit(language, checkpoint)
        if self.mixed is not None:
            self.shared = vectors
        there = self.options.fitted_at
        own = [_of_language(vector, language).at(there) for vector in vectors]
        held_out = self.to_choose.only(language)
        best = search(self.model, held_out, own, self.asked.strengths, self.choose_pivot)
        return best.at(self.options.acts_at)

    def _fit(self, language: str, checkpoint: str | Path | None) -> Sequence[Change]:
        pairs = self.asked.fitted_on(language)
        return self.method.at_layers(
            self.model, pairs, self.layers, self.options, self.fit_pivot, checkpoint
        )

    def _learned_by_method(self, language: str) -> Change:
        """By the method's own search; what was asked of it is kept, to be known again."""
        assert self.method.learn is not None
        asked = self.asked
        more = {} if asked.whole is None else {"whole": asked.whole}
        learned = self.method.learn(
            self.model,
            asked.corpus.only(language),
            asked.layers,
            asked.given,
            self.options,
            **more,
        )
        scores = {**learned.scores, "asked": asked.record}
        return replace(learned, scores=scores)  # type: ignore[type-var]

    def saved_vector(self, language: str, file: Path | None) -> Change:
        vector = self.vector(language, file)
        if file is not None:
            vector.save(file)
            self.discard_checkpoints(file)
        return vector

    def discard_checkpoints(self, stem: str | Path | None) -> None:
        if self.method.resumable:
            for file in checkpoint_files(stem, self.layers):
                if file is not None:
                    file.unlink(missing_ok=True)

    def kept(self, files: Mapping[str, Path]) -> dict[str, Change]:
        """Vectors in those of `files` that are there. Raises SaveError for one made otherwise."""
        there: dict[str, Change] = {}
        for language, file in files.items():
            if not file.exists():
                continue
            vector = load(file)
            check_replaceable(file, partial(self._refusal, vector, language))
            announce(f"{language}: already in {file}")
            there[language] = vector
        return there

    def _refusal(self, vector: Change, language: str, _: Path) -> str | None:
        fingerprint = vector.model.get("fingerprint")
        other = self.asked.difference(vector, language, self.layers)
        if other is None and fingerprint != self.model.fingerprint:
            other = _other_model(vector, self.model)
        return made_otherwise(other)


def _other_model(vector: Change, model: Model) -> Difference:
    name, made = model.name, vector.model.get("name")
    if name != made:
        return Difference("model", name, made)
    other = first_difference(model.fingerprint, vector.model.get("fingerprint"))
    assert other is not None
    return Difference(f"model's {other.key}", other.wanted, other.made)


def _of_language(change: Change, language: str) -> Change:
    return replace(change, language=language)  # type: ignore[type-var]
