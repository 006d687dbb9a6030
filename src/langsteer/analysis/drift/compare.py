"""What training moved: a base model and its tuned (SFT, RLHF, DPO) or steered versions, read on the same text.

For each language and layer, the displacement is the mean over sentences of the version's pooled states less the
base's. What the pivot's sentences undergo too is common to all languages; the rest, displacement minus the pivot's,
is the language's own, and is what may bring it nearer to the pivot: the only thing that a steering vector can do.

One half of the lines fits directions (the mean difference to the pivot in the base, at every layer); everything is
measured on the other half, so that no direction is held against the sentences that made it. One model is open at a
time; of each text one pooled state a layer is kept.
"""

import functools
import gc
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from langsteer.analysis.drift.gains import gain_fits, read_gains
from langsteer.analysis.drift.measures import (
    Ground,
    Measured,
    States,
    measure,
    nearness,
    version_pairs,
)
from langsteer.analysis.drift.results import Drift, VectorFacts
from langsteer.errors import AnalysisError, CorpusError, ModelError, VectorError
from langsteer.fitting.options import Options, chosen_layer
from langsteer.model.model import Model, load_model
from langsteer.model.tokens import Tokens, batches, count_batches, encode, pad_mask, token_budget
from langsteer.progress import track
from langsteer.states.capture import Pool, sentence_states
from langsteer.steering.folder import load_vectors
from langsteer.steering.vector import SteeringVector
from langsteer.storage.tensors import FileKind, write_tensors
from langsteer.text.corpus import SMALLEST_PART, ParallelCorpus, spread
from langsteer.text.languages import language_name

T = TypeVar("T")
Source = str | Path | Model
"""Whatever `load_model` opens, or an open model"""

DISPLACEMENTS = FileKind("langsteer displacements", 1, "displacements")


@dataclass(frozen=True)
class DriftOptions:
    """`draws`: bootstrap samples, and random vectors and spans. `layer`: the one that tables and

    maps show; None for the vectors' own, or where `langsteer fit` would put one. `lines`: use so
    many of the corpus, None for all.
    """

    layer: int | None = None
    lines: int | None = None
    pool: Pool = "mean"
    draws: int = 1000
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Drifted:
    """What was found, and the displacements: by version and tag, float32 [layers, hidden]."""

    results: Drift
    displacements: dict[str, dict[str, Tensor]]

    def write_displacements(self, path: str | Path) -> Path:
        """A safetensors file with `VERSION/TAG` → [layers, hidden]. Raises SaveError."""
        tensors = {
            f"{version}/{tag}": values
            for version, by_tag in self.displacements.items()
            for tag, values in by_tag.items()
        }
        record = {"base": self.results.base, "corpus": self.results.corpus}
        return write_tensors(path, DISPLACEMENTS, tensors, record)


def drift(
    base: Source,
    tuned: Sequence[Source | tuple[str, Source]],
    corpus: ParallelCorpus,
    *,
    vectors: Iterable[str | Path | SteeringVector] = (),
    gains: str | Path | None = None,
    options: DriftOptions = DriftOptions(),
    dtype: str = "auto",
    device: str | None = None,
    device_map: str | None = None,
) -> Drifted:
    """Read a base and its versions on the same text, and measure what moved.

    `base` and `tuned` are whatever `load_model` opens, or open models; a version may come with
    a name, (name, source). Tuned models are opened in the base's data type. `vectors` are files, folders of
    files or vectors of the base: displacements are held against them, and the base steered with
    them is a version more, one for each method. `gains` is a file or folder for `read_gains`.
    Raises ModelError for versions that cannot be compared with the base, and CorpusError where
    the text is too short.
    """
    start = time.perf_counter()
    sources = named_versions(tuned)
    steering = load_vectors(vectors)
    if not sources and not steering:
        raise AnalysisError("name a tuned version of the base, or vectors to steer it with")
    if gains is not None:
        read_gains(gains)  # a mistake in it shows before the models are read
    for source in sources.values():
        _check_there(source)
    lines = split_lines(corpus, options.lines)
    opening: dict[str, Any] = {"device": device, "device_map": device_map}

    def read_base(model: Model) -> tuple[_Base, list[Measured]]:
        kept = _Base.read(model, corpus, lines, _grouped(steering, model, corpus), options)
        kinds = kept.ground.vectors.items()
        return kept, [_steered(model, kept, kind, group) for kind, group in kinds]

    kept, versions = _with_model(base, read_base, dtype=dtype, **opening)
    same = str(kept.fingerprint["dtype"])
    for name, source in sources.items():
        versions.append(
            _with_model(
                source,
                functools.partial(_tuned, base=kept, name=name, source=source_name(source)),
                dtype=same,
                **opening,
            )
        )
    results = replace(
        _results(kept, versions, corpus, lines),
        vectors=_facts(kept.ground.vectors, corpus, lines),
        options=_plain_options(options),
    )
    if gains is not None:
        results = _with_gains(results, gains)
    results = replace(results, seconds=time.perf_counter() - start)
    return Drifted(results, {one.drift.name: one.displacements for one in versions})


def named_versions(tuned: Sequence[Source | tuple[str, Source]]) -> dict[str, Source]:
    """Versions by their names; else by the last part of a path or hub id, where that is enough."""
    sources = [item[1] if isinstance(item, tuple) else item for item in tuned]
    whole = [source_name(source) for source in sources]
    short = [Path(name).name or name for name in whole]
    names = [s if short.count(s) == 1 else w for s, w in zip(short, whole, strict=True)]
    given = [
        item[0] if isinstance(item, tuple) else name
        for item, name in zip(tuned, names, strict=True)
    ]
    for name in given:
        if given.count(name) > 1:
            raise ModelError(f"two versions are called {name}: give one another name, NAME=PATH")
    return dict(zip(given, sources, strict=True))


def source_name(source: Source) -> str:
    return source.name if isinstance(source, Model) else str(source)


def _check_there(source: Source) -> None:
    """Refuse a path with nothing at it before the base is read; the hub is asked only then."""
    path = Path(source_name(source)).expanduser()
    local = path.is_absolute() or len(path.parts) > 2 or source_name(source).startswith(".")
    if not isinstance(source, Model) and local and not path.exists():
        raise ModelError(f"there is no model {source_name(source)}: no such file or folder")


@dataclass(frozen=True)
class Lines:
    """Places of lines in a corpus: those that fit directions, and those that are measured on."""

    fit: tuple[int, ...]
    measured: tuple[int, ...]


def split_lines(corpus: ParallelCorpus, limit: int | None = None) -> Lines:
    """The lines that fit and those that are measured, disjoint.

    A corpus that comes split is fitted on its `fit` part, as vectors are, and measured on the
    rest. `limit` takes so many lines, evenly spaced, in the same proportion. Raises CorpusError
    where a side would have under 4.
    """
    if corpus.parts:
        fit = [i for i, part in enumerate(corpus.parts) if part == "fit"]
    else:
        numbered = replace(corpus, topics=tuple(map(str, range(len(corpus)))))
        fit = sorted(map(int, numbered.split(fit=0.5, choose=0, report=0.5)["fit"].topics))
    chosen = set(fit)
    rest = [i for i in range(len(corpus)) if i not in chosen]
    if limit is not None and limit < len(corpus):
        count = round(limit * len(fit) / len(corpus))
        fit, rest = (
            [fit[i] for i in spread(len(fit), count)],
            [rest[i] for i in spread(len(rest), limit - count)],
        )
    if min(len(fit), len(rest)) < SMALLEST_PART:
        raise CorpusError(
            f"{corpus.name} is too small: {len(fit)} lines to fit directions on and {len(rest)} "
            f"to measure on, and each needs {SMALLEST_PART}"
        )
    return Lines(tuple(fit), tuple(rest))


def _with_model(source: Source, use: Callable[[Model], T], **options: Any) -> T:
    """What `use` makes of a model, which is closed afterwards where it was opened here."""
    if isinstance(source, Model):
        return use(source)
    try:
        return use(load_model(source, **options))
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


# The base


@dataclass(frozen=True, eq=False)
class _Base:
    """What is kept of the base when it is closed: `tokens` of the measured lines, which every

    version reads, and what versions are measured against.
    """

    name: str
    fingerprint: dict[str, str | int]
    texts: dict[str, list[str]]
    tokens: dict[str, list[Tokens]]
    ground: Ground
    pool: Pool

    @classmethod
    def read(
        cls,
        model: Model,
        corpus: ParallelCorpus,
        lines: Lines,
        vectors: dict[str, dict[str, SteeringVector]],
        options: DriftOptions,
    ) -> "_Base":
        texts, fit = (
            {tag: [every[i] for i in chosen] for tag, every in corpus.texts.items()}
            for chosen in (lines.measured, lines.fit)
        )
        tokens, to_fit = (
            {tag: encode(model, found) for tag, found in part.items()} for part in (texts, fit)
        )
        layer = _layer(model, vectors, options)
        ground = Ground(
            pivot=corpus.pivot,
            fit=read_states(model, to_fit, options.pool, "states to fit on"),
            states=read_states(model, tokens, options.pool),
            vectors=vectors,
            layer=layer,
            draws=options.draws,
            seed=options.seed,
        )
        return cls(model.name, model.fingerprint, texts, tokens, ground, options.pool)


def read_states(
    model: Model, tokens: Mapping[str, Sequence[Tokens]], pool: Pool, what: str = "states"
) -> States:
    """Pooled states of each language's lines at all layers, in one pass over each."""
    layers = range(model.layers)
    return {
        tag: sentence_states(
            model, list(lines), layers, pool=pool, progress=f"{model.name}: {tag} {what}"
        )
        for tag, lines in tokens.items()
    }


def _layer(
    model: Model, vectors: Mapping[str, Mapping[str, SteeringVector]], options: DriftOptions
) -> int:
    """The layer asked for; else the one that most vectors have; else where `fit` puts one."""
    if options.layer is not None:
        return model.check_layer(options.layer)
    layers = [vector.layer for group in vectors.values() for vector in group.values()]
    return max(sorted(set(layers)), key=layers.count) if layers else chosen_layer(model, Options())


def _grouped(
    vectors: Sequence[SteeringVector], model: Model, corpus: ParallelCorpus
) -> dict[str, dict[str, SteeringVector]]:
    """Vectors by kind, then tag: by method, and by layer where a method has several a language."""
    wanted = [vector for vector in vectors if vector.language in corpus.languages]
    if vectors and not wanted:
        tags = ", ".join(sorted({vector.language for vector in vectors}))
        raise VectorError(f"the vectors are for {tags}, which is none of the languages compared")
    keys = [(vector.method, vector.language) for vector in wanted]
    groups: dict[str, dict[str, SteeringVector]] = {}
    for vector, key in zip(wanted, keys, strict=True):
        vector.check_fits(model)
        _check_pivot(vector, corpus.pivot)
        name = vector.method if keys.count(key) == 1 else f"{vector.method}, layer {vector.layer}"
        group = groups.setdefault(name, {})
        if vector.language in group:
            raise VectorError(
                f"there are two vectors of {name} for {vector.language}: keep one of them"
            )
        group[vector.language] = vector
    return groups


def _check_pivot(vector: SteeringVector, pivot: str) -> None:
    if vector.pivot != pivot:
        raise VectorError(
            f"the vector for {vector.language} leads to {vector.pivot}, and the text's pivot is "
            f"{pivot}: give --pivot {vector.pivot}"
        )
    if vector.positions == "generated":
        raise VectorError(
            f"the vector for {vector.language} acts on generated tokens, and none are generated "
            "here: use one with positions source, prompt or all"
        )


# Versions


def _tuned(model: Model, base: _Base, name: str, source: str) -> Measured:
    check_comparable(model, base.name, base.fingerprint)
    check_tokens(model, base.name, base.texts, base.tokens)
    notes = []
    if model.fingerprint["weights"] == base.fingerprint["weights"] != "":
        notes.append(f"{name} has the same weights as the base.")
    if model.fingerprint["dtype"] != base.fingerprint["dtype"]:
        notes.append(
            f"{name} was read in {model.fingerprint['dtype']} and the base in "
            f"{base.fingerprint['dtype']}: rounding moves states too."
        )
    found = measure(base.ground, read_states(model, base.tokens, base.pool), name)
    about: dict[str, Any] = {
        "source": source,
        "fingerprint": model.fingerprint,
        "notes": tuple(notes),
    }
    return replace(found, drift=replace(found.drift, **about))


def _steered(
    model: Model, base: _Base, kind: str, vectors: Mapping[str, SteeringVector]
) -> Measured:
    """The base with each language steered by its vector, and the pivot as it is."""
    states = {base.ground.pivot: base.ground.states[base.ground.pivot]}
    for tag, vector in vectors.items():
        label = f"{model.name}: {tag} states, {kind}"
        states[tag] = _steered_states(model, base.tokens[tag], vector, base.pool, label)
    found = measure(base.ground, states, f"steered: {kind}")
    about: dict[str, Any] = {"source": kind, "steered": True, "fingerprint": base.fingerprint}
    return replace(found, drift=replace(found.drift, **about))


def _steered_states(
    model: Model, tokens: Sequence[Tokens], vector: SteeringVector, pool: Pool, label: str
) -> Tensor:
    """Pooled states [lines, layers, hidden], steered at the very tokens that count as source."""
    found = torch.empty(len(tokens), model.layers, model.hidden_size)
    budget = token_budget(model)
    for index in track(batches(tokens, budget), label, count_batches(tokens, budget)):
        rows = [tokens[i] for i in index]
        with vector.applied(model, mask=pad_mask([row.source for row in rows])):
            found[index] = sentence_states(
                model, rows, range(model.layers), pool=pool, budget=budget
            )
    return found


def check_comparable(model: Model, base: str, fingerprint: Mapping[str, str | int]) -> None:
    """Raise ModelError, with the reason, where states of `model` and the base cannot be compared."""
    for key, noun in (
        ("architecture", "architecture"),
        ("hidden_size", "hidden size"),
        ("layers", "number of layers"),
    ):
        if model.fingerprint[key] != fingerprint[key]:
            raise ModelError(
                f"{model.name} cannot be compared with {base}: its {noun} is "
                f"{model.fingerprint[key]} and the base's is {fingerprint[key]}"
            )


def check_tokens(
    model: Model,
    base: str,
    texts: Mapping[str, Sequence[str]],
    tokens: Mapping[str, Sequence[Tokens]],
) -> None:
    """Raise ModelError where the text's own tokens, special ones aside, have other ids than `tokens`.

    Every model then reads the base's tokens, so that their states differ by their weights alone.
    """
    size = int(model.network.get_input_embeddings().weight.shape[0])
    for tag, lines in texts.items():
        for number, (text, there) in enumerate(zip(lines, tokens[tag], strict=True), 1):
            here = _source_ids(encode(model, [text])[0])
            if here != _source_ids(there) or max(there.ids) >= size:
                raise ModelError(
                    f"{model.name} cannot be compared with {base}: its tokeniser reads other "
                    f"tokens in {language_name(tag)} ({tag}), first in line {number}: "
                    f"{len(here)} against {len(_source_ids(there))}, from {text[:30]!r}"
                )


def _source_ids(tokens: Tokens) -> list[int]:
    return [i for i, source in zip(tokens.ids, tokens.source, strict=True) if source]


# Results


def _results(
    base: _Base, versions: Sequence[Measured], corpus: ParallelCorpus, lines: Lines
) -> Drift:
    ground = base.ground
    pivot = ground.states[ground.pivot]
    return Drift(
        base={"name": base.name, "fingerprint": base.fingerprint},
        corpus=corpus.describe(),
        pivot=ground.pivot,
        pivot_name=language_name(ground.pivot),
        languages={tag: language_name(tag) for tag in ground.tags},
        layers=ground.layers,
        layer=ground.layer,
        fitted=len(lines.fit),
        measured=len(lines.measured),
        lengths={
            tag: tuple(ground.length(tag, layer) for layer in range(ground.layers))
            for tag in ground.states
        },
        alignment={tag: nearness(ground.states[tag], pivot) for tag in ground.tags},
        versions=tuple(one.drift for one in versions),
        pairs=version_pairs(ground.tags, versions),
    )


def _facts(
    groups: Mapping[str, Mapping[str, SteeringVector]], corpus: ParallelCorpus, lines: Lines
) -> tuple[VectorFacts, ...]:
    return tuple(
        VectorFacts(
            kind=kind,
            language=tag,
            layer=vector.layer,
            strength=vector.strength,
            relative_strength=vector.relative_strength,
            text=_text_of(vector, corpus, lines),
        )
        for kind, group in groups.items()
        for tag, vector in group.items()
    )


def _text_of(vector: SteeringVector, corpus: ParallelCorpus, lines: Lines) -> str:
    """What is known of the text that a vector was fitted on, beside the lines measured on."""
    if vector.corpus.get("name") != corpus.name:
        return "other text"
    pair = corpus.only(vector.language)
    apart = [i for i in range(len(corpus)) if i not in set(lines.measured)]
    candidates = [apart, [i for i, part in enumerate(corpus.parts) if part == "fit"]]
    prints = [pair.lines(index).fingerprint for index in candidates if index]
    if vector.corpus.get("fingerprint") in prints:
        return "lines kept apart"
    return "this corpus, perhaps the lines measured on: cosines may be too high"


def _with_gains(results: Drift, path: str | Path) -> Drift:
    base = [results.base["name"], Path(results.base["name"]).name]
    names = {one.name: [one.name, one.source, Path(one.source).name] for one in results.versions}
    by_source = read_gains(path).of(base, names)
    known = {version for found in by_source.values() for version in found}
    missing = [one.name for one in results.versions if one.name not in known]
    notes = (f"{path} has no gains of {', '.join(missing)}.",) if missing else ()
    fits = gain_fits(results, by_source, int(results.options["seed"]))
    return replace(results, gains=fits, notes=(*results.notes, *notes))


def _plain_options(options: DriftOptions) -> dict[str, Any]:
    pool = options.pool if isinstance(options.pool, str) else list(options.pool)
    return {**asdict(options), "pool": pool}
