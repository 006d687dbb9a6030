"""An analysis: read parallel text in a model's layers, and measure, before and after steering."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from langsteer.analysis import alignment
from langsteer.analysis.inputs import checked_vectors, chosen_lines
from langsteer.analysis.layers.identity import FOLDS, identities
from langsteer.analysis.layers.latent import (
    TextItems,
    first_tokens,
    text_items,
    word_items,
    word_starts,
)
from langsteer.analysis.layers.lens import LOGIT, TUNED, TunedLens, read_out
from langsteer.analysis.layers.maps import MAPS, draw_map
from langsteer.analysis.layers.norms import norms
from langsteer.analysis.layers.reading import Pick, Reading, read_texts
from langsteer.analysis.layers.results import (
    Alignment,
    Identity,
    LanguageResults,
    Latent,
    LayerResults,
    Measures,
    Norms,
    Steering,
    TokenSets,
)
from langsteer.errors import AnalysisError
from langsteer.extras import need
from langsteer.model.model import Model
from langsteer.model.tokens import Tokens, encode
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import ParallelCorpus
from langsteer.text.languages import language_name

Lenses = dict[str, Latent]


@dataclass(frozen=True)
class AnalysisOptions:
    """How an analysis is made.

    `strength` replaces the vectors' own; `other_weights` permits those of another model of the
    same shape. `items`: how many tokens of each language's texts, and how many words, are read
    out with the lenses (0: none). `map`: `pca` or `umap`; `shown`: how many sentences of each
    language it keeps. `folds` of the probe.
    """

    strength: float | None = None
    other_weights: bool = False
    items: int = 32
    map: str = "pca"
    shown: int = 100
    folds: int = FOLDS
    seed: int = 0


def analyze(
    model: Model,
    corpus: ParallelCorpus,
    vectors: Mapping[str, SteeringVector] | None = None,
    *,
    lines: int | None = None,
    tuned_lens: str | Path | None = None,
    options: AnalysisOptions = AnalysisOptions(),
) -> LayerResults:
    """Measure every layer for each language of the corpus, against its pivot.

    `vectors` are by language; a language without one is only measured unsteered. Of a corpus that
    comes split, its `report` part is read, which no vector is fitted on; `lines` takes so many of
    them, evenly spread. `tuned_lens` is a file; see `TunedLens.read`. Raises AnalysisError,
    VectorError, or StateError for hidden states that are not finite.
    """
    text = chosen_lines(corpus, lines)
    vectors = checked_vectors(model, corpus, vectors or {}, other_weights=options.other_weights)
    _need_libraries(options)
    lens = None if tuned_lens is None else TunedLens.read(tuned_lens, model)
    results = _Analyst(model, text, vectors, lens, options).results()
    return replace(results, notes=(*_seen_lines(corpus, vectors), *results.notes))


def _need_libraries(options: AnalysisOptions) -> None:
    if options.map not in MAPS:
        raise AnalysisError(f"there is no map {options.map!r}: choose from {', '.join(MAPS)}")
    need("sklearn", "analysis", "the analysis")
    need("scipy", "analysis", "the analysis")
    if options.map == "umap":
        need("umap", "umap", "the analysis")


def _seen_lines(corpus: ParallelCorpus, vectors: Mapping[str, SteeringVector]) -> list[str]:
    if corpus.parts:
        return []
    return [
        f"The vector for {language_name(tag)} was fitted on lines of this corpus, so its steered "
        "numbers flatter it."
        for tag, vector in vectors.items()
        if vector.corpus.get("name") == corpus.name
    ]


@dataclass(frozen=True, eq=False)
class _Side:
    """One language, unsteered or steered: mean-pooled states by layer, and what it shows alone."""

    states: list[Tensor]
    alignment: Alignment
    norms: Norms
    next_token: Lenses
    words: Lenses

    def measures(self, identity: Identity) -> Measures:
        return Measures(self.alignment, identity, self.norms, self.next_token, self.words)


class _Analyst:
    """Reads languages one by one; of each, only mean-pooled states are kept."""

    def __init__(
        self,
        model: Model,
        corpus: ParallelCorpus,
        vectors: Mapping[str, SteeringVector],
        tuned: TunedLens | None,
        options: AnalysisOptions,
    ) -> None:
        self.model, self.corpus, self.vectors, self.options = model, corpus, vectors, options
        self.lenses: dict[str, TunedLens | None] = {LOGIT: None}
        if tuned is not None:
            self.lenses[TUNED] = tuned
        self.notes: list[str] = []
        self.seconds = dict.fromkeys(("reading", "lenses", "measures"), 0.0)
        encoded = encode(model, corpus.texts[corpus.pivot])
        self.pivot_firsts = self._firsts(encoded) if options.items else set()
        self.pivot, _ = self._read(encoded, corpus.pivot)

    def language(self, tag: str) -> tuple[list[_Side], TokenSets | None]:
        """The language unsteered and, where it has a vector, steered; which tokens counted."""
        encoded = encode(self.model, self.corpus.texts[tag])
        items = self._text_items(tag, encoded)
        readings = self._read(encoded, tag, items.picks)
        with self._timed("lenses"):
            next_token = self._next_tokens(items, readings, tag)
            words, asked, left_out = self._words(tag)
        with self._timed("measures"):
            sides = [
                _Side(reading.mean, align(reading, self.pivot), norms(reading.norms), *latent)
                for reading, *latent in zip(readings, next_token, words, strict=True)
                if reading is not None
            ]
        tokens = TokenSets(len(items.pivot), len(items.language), asked, left_out)
        return sides, tokens if self.options.items else None

    def results(self) -> LayerResults:
        corpus, pivot = self.corpus, self.corpus.pivot
        read = {tag: self.language(tag) for tag in corpus.languages}
        before = {tag: sides[0] for tag, (sides, _) in read.items()}
        after = {tag: sides[1] for tag, (sides, _) in read.items() if len(sides) > 1}
        states = {tag: side.states for tag, side in before.items()} | {pivot: self.pivot.mean}
        steered = {tag: side.states for tag, side in after.items()}
        options = self.options
        with self._timed("measures"):
            told = identities(
                states,
                steered,
                pivot,
                folds=options.folds,
                seed=options.seed,
                progress="Telling languages apart",
            )
            places = draw_map(
                states,
                steered,
                pivot,
                method=options.map,
                shown=options.shown,
                seed=options.seed,
                progress="Mapping languages",
            )
        return LayerResults(
            model={"name": self.model.name, "fingerprint": self.model.fingerprint},
            corpus=corpus.describe(),
            pivot=pivot,
            pivot_name=language_name(pivot),
            layers=self.model.layers,
            languages={
                tag: LanguageResults(
                    language_name(tag),
                    before[tag].measures(told.before[tag]),
                    after[tag].measures(told.after[tag]) if tag in after else None,
                    self._steering(tag),
                    tokens,
                )
                for tag, (_, tokens) in read.items()
            },
            pivot_norms=norms(self.pivot.norms),
            together_before=told.together_before,
            together_after=told.together_after,
            chance=1 / len(states),
            map=places,
            options=asdict(options),
            seconds=self.seconds,
            notes=tuple(self.notes),
        )

    def _read(
        self, tokens: Sequence[Tokens], tag: str, picks: Sequence[Pick] = (), label: str = "Reading"
    ) -> tuple[Reading, Reading | None]:
        with self._timed("reading"):
            return read_texts(
                self.model,
                tokens,
                picks=picks,
                vector=self.vectors.get(tag),
                strength=self.options.strength,
                other_weights=self.options.other_weights,
                progress=f"{label} {language_name(tag)}",
            )

    def _firsts(self, encoded: Sequence[Tokens]) -> set[int]:
        pivot = self.corpus.pivot
        starts = word_starts(self.model, self.corpus.texts[pivot], encoded, pivot)
        return first_tokens(self.model, encoded, starts)

    def _text_items(self, tag: str, encoded: Sequence[Tokens]) -> TextItems:
        if not self.options.items:
            return TextItems([], torch.empty(0), torch.empty(0))
        lines = self.corpus.texts[tag]
        items = text_items(
            self.model,
            lines,
            encoded,
            word_starts(self.model, lines, encoded, tag),
            self.pivot_firsts,
            self.options.items,
            self.options.seed,
        )
        if not items.picks:
            self.notes.append(
                f"No word of the {language_name(tag)} texts starts with a token that no "
                f"{language_name(self.corpus.pivot)} word starts with: their next tokens were not "
                "read out."
            )
        return items

    def _next_tokens(
        self, items: TextItems, readings: tuple[Reading, Reading | None], tag: str
    ) -> tuple[Lenses, Lenses]:
        count = len(items.picks)
        if not count:
            return {}, {}
        label = f"Next tokens of {language_name(tag)}"
        return self._by_lens(readings, [items.pivot] * count, [items.language] * count, label)

    def _words(self, tag: str) -> tuple[tuple[Lenses, Lenses], int, int]:
        """What word translations show; how many words were asked for, and how many left out."""
        options, name = self.options, language_name(tag)
        if not options.items:
            return ({}, {}), 0, 0
        items = word_items(self.model, tag, self.corpus.pivot, options.items, options.seed)
        if items is None:
            self.notes.append(f"The word list lacks {name} or the pivot: no word was translated.")
            return ({}, {}), 0, 0
        if not items.prompts:
            self.notes.append(f"No {name} word can be told by its first token from the others.")
            return ({}, {}), 0, items.left_out
        readings = self._read(items.prompts, tag, items.picks, "Translating words to")
        latent = self._by_lens(readings, items.pivot, items.language, f"Words of {name}")
        return latent, len(items.prompts), items.left_out

    def _by_lens(
        self,
        readings: tuple[Reading, Reading | None],
        pivot: Sequence[Tensor],
        language: Sequence[Tensor],
        label: str,
    ) -> tuple[Lenses, Lenses]:
        before, after = readings
        latents: tuple[Lenses, Lenses] = ({}, {})
        for name, lens in self.lenses.items():
            plain, steered = read_out(
                self.model,
                before.picked,
                None if after is None else after.picked,
                pivot,
                language,
                lens,
                f"{label}, {name} lens",
            )
            latents[0][name] = plain
            if steered is not None:
                latents[1][name] = steered
        return latents

    def _steering(self, tag: str) -> Steering | None:
        vector = self.vectors.get(tag)
        if vector is None:
            return None
        if self.options.strength is not None:
            vector = vector.with_strength(self.options.strength)
        return Steering(
            layer=vector.layer,
            strength=vector.strength,
            relative_strength=vector.relative_strength,
            method=vector.method,
            positions=vector.positions,
            fitted_on=str(vector.corpus.get("name", "")),
        )

    @contextlib.contextmanager
    def _timed(self, kind: str) -> Iterator[None]:
        """Count the seconds inside towards `kind`, and not towards what it is inside of."""
        start, inner = time.perf_counter(), sum(self.seconds.values())
        yield
        spent = time.perf_counter() - start
        self.seconds[kind] += spent - (sum(self.seconds.values()) - inner)


def align(here: Reading, there: Reading) -> Alignment:
    """The alignment of a language's texts with the pivot's, at each layer."""
    pairs = list(zip(here.mean, there.mean, strict=True))
    cosines = [alignment.pair_cosines(*pair) for pair in pairs]
    retrievals = [alignment.retrieval(*pair) for pair in pairs]
    return Alignment(
        pair_cosine=tuple(cosine.pairs for cosine in cosines),
        other_cosine=tuple(cosine.others for cosine in cosines),
        mexa=tuple(map(alignment.mexa, here.weighted, there.weighted)),
        mexa_last=tuple(map(alignment.mexa, here.last, there.last)),
        cka=tuple(alignment.linear_cka(*pair) for pair in pairs),
        to_pivot=tuple(retrieval.to_pivot for retrieval in retrievals),
        from_pivot=tuple(retrieval.from_pivot for retrieval in retrievals),
        cka_chance=tuple(
            alignment.linear_cka(states, other.roll(len(other) // 2, 0)) for states, other in pairs
        ),
    )
