"""A base and its versions, read on the same tokens: tuned models, and the base steered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from langsteer.analysis.drift.lines import Lines
from langsteer.analysis.drift.measures import Ground, Measured, States, measure
from langsteer.errors import ModelError
from langsteer.fitting.options import Options, chosen_layer
from langsteer.model.model import Model
from langsteer.model.tokens import Tokens, batches, count_batches, encode, pad_mask, token_budget
from langsteer.progress import track
from langsteer.states.capture import Pool, sentence_states
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import ParallelCorpus
from langsteer.text.languages import language_name

Source = str | Path | Model
"""Whatever `load_model` opens, or an open model"""


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


def named_versions(tuned: Sequence[Source | tuple[str, Source]]) -> dict[str, Source]:
    """Versions by their names; else by the last part of a path or hub id, where that is enough."""
    sources = [version[1] if isinstance(version, tuple) else version for version in tuned]
    full = [source_name(source) for source in sources]
    short = [Path(name).name or name for name in full]
    names = [s if short.count(s) == 1 else w for s, w in zip(short, full, strict=True)]
    named = [
        version[0] if isinstance(version, tuple) else name
        for version, name in zip(tuned, names, strict=True)
    ]
    for name in named:
        if named.count(name) > 1:
            raise ModelError(f"two versions are called {name}: give one another name, NAME=PATH")
    return dict(zip(named, sources, strict=True))


def source_name(source: Source) -> str:
    return source.name if isinstance(source, Model) else str(source)


def check_there(source: Source) -> None:
    """Refuse a path with nothing at it before the base is read; the hub is asked only then."""
    path = Path(source_name(source)).expanduser()
    local = path.is_absolute() or len(path.parts) > 2 or source_name(source).startswith(".")
    if not isinstance(source, Model) and local and not path.exists():
        raise ModelError(f"there is no model {source_name(source)}: no such file or folder")


@dataclass(frozen=True, eq=False)
class Base:
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
    ) -> "Base":
        texts, fit = (
            {tag: [every[i] for i in chosen] for tag, every in corpus.texts.items()}
            for chosen in (lines.measured, lines.fit)
        )
        tokens, to_fit = (
            {tag: encode(model, sentences) for tag, sentences in part.items()}
            for part in (texts, fit)
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
    model: Model, tokens: Mapping[str, Sequence[Tokens]], pool: Pool, label: str = "states"
) -> States:
    """Pooled states of each language's lines at all layers, in one pass over each."""
    layers = range(model.layers)
    return {
        tag: sentence_states(
            model, list(lines), layers, pool=pool, progress=f"{model.name}: {tag} {label}"
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


def tuned_version(model: Model, base: Base, name: str, source: str) -> Measured:
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
    measured = measure(base.ground, read_states(model, base.tokens, base.pool), name)
    about: dict[str, Any] = {
        "source": source,
        "fingerprint": model.fingerprint,
        "notes": tuple(notes),
    }
    return replace(measured, drift=replace(measured.drift, **about))


def steered_version(
    model: Model, base: Base, kind: str, vectors: Mapping[str, SteeringVector]
) -> Measured:
    """The base with each language steered by its vector, and the pivot as it is."""
    states = {base.ground.pivot: base.ground.states[base.ground.pivot]}
    for tag, vector in vectors.items():
        label = f"{model.name}: {tag} states, {kind}"
        states[tag] = _steered_states(model, base.tokens[tag], vector, base.pool, label)
    measured = measure(base.ground, states, f"steered: {kind}")
    about: dict[str, Any] = {"source": kind, "steered": True, "fingerprint": base.fingerprint}
    return replace(measured, drift=replace(measured.drift, **about))


def _steered_states(
    model: Model, tokens: Sequence[Tokens], vector: SteeringVector, pool: Pool, label: str
) -> Tensor:
    """Pooled states [lines, layers, hidden], steered at the very tokens that count as source."""
    pooled = torch.empty(len(tokens), model.layers, model.hidden_size)
    budget = token_budget(model)
    for index in track(batches(tokens, budget), label, count_batches(tokens, budget)):
        rows = [tokens[i] for i in index]
        with vector.applied(model, mask=pad_mask([row.source for row in rows])):
            pooled[index] = sentence_states(
                model, rows, range(model.layers), pool=pool, budget=budget
            )
    return pooled


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
        for number, (text, base_tokens) in enumerate(zip(lines, tokens[tag], strict=True), 1):
            ids = _source_ids(encode(model, [text])[0])
            if ids != _source_ids(base_tokens) or max(base_tokens.ids) >= size:
                raise ModelError(
                    f"{model.name} cannot be compared with {base}: its tokeniser reads other "
                    f"tokens in {language_name(tag)} ({tag}), first in line {number}: "
                    f"{len(ids)} against {len(_source_ids(base_tokens))}, from {text[:30]!r}"
                )


def _source_ids(tokens: Tokens) -> list[int]:
    return [i for i, source in zip(tokens.ids, tokens.source, strict=True) if source]
