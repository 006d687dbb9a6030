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
from langsteer.analysis.drift.lines import Lines, split_lines, text_of
from langsteer.analysis.drift.measures import Measured, nearness, version_pairs
from langsteer.analysis.drift.results import Drift, VectorFacts
from langsteer.analysis.drift.versions import (
    Base,
    DriftOptions,
    Source,
    check_there,
    named_versions,
    source_name,
    steered_version,
    tuned_version,
)
from langsteer.errors import AnalysisError, VectorError
from langsteer.model.model import Model
from langsteer.model.opening import load_model
from langsteer.steering.folder import load_vectors
from langsteer.steering.vector import SteeringVector
from langsteer.storage.tensors import FileKind, write_tensors
from langsteer.text.corpus import ParallelCorpus
from langsteer.text.languages import language_name

T = TypeVar("T")
DISPLACEMENTS = FileKind("langsteer displacements", 1, "displacements")


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
        check_there(source)
    lines = split_lines(corpus, options.lines)
    opening = {"device": device, "device_map": device_map}
    kept_base, versions = _measured(base, sources, steering, corpus, lines, options, dtype, opening)
    results = replace(
        _results(kept_base, versions, corpus, lines),
        vectors=_facts(kept_base.ground.vectors, corpus, lines),
        options=_plain_options(options),
    )
    if gains is not None:
        results = _with_gains(results, gains)
    results = replace(results, seconds=time.perf_counter() - start)
    return Drifted(results, {version.drift.name: version.displacements for version in versions})


def _measured(
    base: Source,
    sources: Mapping[str, Source],
    steering: Sequence[SteeringVector],
    corpus: ParallelCorpus,
    lines: Lines,
    options: DriftOptions,
    dtype: str,
    opening: Mapping[str, Any],
) -> tuple[Base, list[Measured]]:
    """What is kept of the base, and the measures of each version: the steered ones first."""

    def read_base(model: Model) -> tuple[Base, list[Measured]]:
        kept_base = Base.read(model, corpus, lines, _grouped(steering, model, corpus), options)
        kinds = kept_base.ground.vectors.items()
        return kept_base, [steered_version(model, kept_base, kind, group) for kind, group in kinds]

    kept_base, versions = _with_model(base, read_base, dtype=dtype, **opening)
    base_dtype = str(kept_base.fingerprint["dtype"])
    for name, source in sources.items():
        measure = functools.partial(
            tuned_version, base=kept_base, name=name, source=source_name(source)
        )
        versions.append(_with_model(source, measure, dtype=base_dtype, **opening))
    return kept_base, versions


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


def _results(
    base: Base, versions: Sequence[Measured], corpus: ParallelCorpus, lines: Lines
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
        versions=tuple(version.drift for version in versions),
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
            text=text_of(vector, corpus, lines),
        )
        for kind, group in groups.items()
        for tag, vector in group.items()
    )


def _with_gains(results: Drift, path: str | Path) -> Drift:
    base = [results.base["name"], Path(results.base["name"]).name]
    names = {
        version.name: [version.name, version.source, Path(version.source).name]
        for version in results.versions
    }
    by_source = read_gains(path).of(base, names)
    known = {name for gains in by_source.values() for name in gains}
    missing = [name for name in names if name not in known]
    notes = (f"{path} has no gains of {', '.join(missing)}.",) if missing else ()
    fits = gain_fits(results, by_source, int(results.options["seed"]))
    return replace(results, gains=fits, notes=(*results.notes, *notes))


def _plain_options(options: DriftOptions) -> dict[str, Any]:
    pool = options.pool if isinstance(options.pool, str) else list(options.pool)
    return {**asdict(options), "pool": pool}
