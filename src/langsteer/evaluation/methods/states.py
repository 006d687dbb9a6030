"""Steering, by every fitting method that there is; a low-rank map; projection, at one layer and at all.

Fitted on the setting's parallel corpus, without labels of the benchmark, and kept between runs.
"""

import functools
import inspect
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from langsteer.errors import MethodError
from langsteer.evaluation.methods.common import (
    Change,
    EvaluationMethod,
    Plan,
    Setting,
    asked_docs,
    form_of,
)
from langsteer.fitting import learning as fitting
from langsteer.fitting.low_rank import LowRankOptions, learn_low_rank
from langsteer.fitting.projection import Moments, Projection, learn_projection, pair_moments
from langsteer.model.model import Model
from langsteer.steering.vector import SteeringVector
from langsteer.storage.kept import kept
from langsteer.text.corpus import ParallelCorpus

LARGEST_MOMENTS = 2**30  # bytes

Maker = Callable[..., tuple[Change, float]]


def steering_change(setting: Setting, method: str, **options: Any) -> tuple[Change, float]:
    """The vector of a fitting method, and the seconds that it took to learn."""
    learn = functools.partial(fitting.learn, method=method)
    return _learned(setting, method, "vectors", options, learn, SteeringVector.load)


def together_change(setting: Setting, method: str, **options: Any) -> tuple[Change, float]:
    """One vector that is learned from all languages of the corpus, at the language's strength.

    The seconds are a language's share of those that it takes for all.
    """
    pair = _pair(setting, method)
    corpus = setting.all_languages() if setting.all_languages else pair
    path = _place(setting, "vectors", method, options)

    def make() -> dict[str, SteeringVector]:
        files = {tag: path.parent / f"{tag}.safetensors" for tag in corpus.languages}
        more: dict[str, Any] = {"seed": setting.seed, "files": files, "overwrite": True} | options
        return fitting.learn_all(setting.model, corpus, together=True, **more)

    def load(folder: Path) -> dict[str, SteeringVector]:
        return {setting.language: SteeringVector.load(path, setting.model)}

    about = _about(setting, corpus, options)
    vectors, seconds = kept(path.parent / "all", about, load, make)
    return vectors[pair.language], seconds / len(corpus.languages)


def projection_change(
    setting: Setting, method: str = "projection", **options: Any
) -> tuple[Change, float]:
    """A projection at the best layer, or (`projection_all`) at all."""
    pair = _pair(setting, method)
    path = setting.work / "projections" / method / f"{setting.language}.safetensors"

    _check_options(method, options, list(inspect.signature(learn_projection).parameters)[4:-1])
    clock = _Clock()

    def make() -> Projection:
        clock.start()
        moments = None if options else _shared_moments(setting.model, pair, clock)
        every = method == "projection_all"
        found = learn_projection(
            setting.model, pair, setting.language, all_layers=every, moments=moments, **options
        )
        found.save(path)
        return found

    about = _about(setting, pair, options)
    return kept(path, about, lambda p: Projection.load(p, setting.model), make, clock.seconds)


def low_rank_change(setting: Setting, method: str, **options: Any) -> tuple[Change, float]:
    """A vector that depends on the token, learned as `learned` is."""
    _check_options(method, options, ["strengths", *(f.name for f in fields(LowRankOptions))])
    return _learned(setting, method, "projections", options, learn_low_rank, Projection.load)


def _learned(
    setting: Setting,
    method: str,
    folder: str,
    options: dict[str, Any],
    learn: Callable[..., Change],
    load: Callable[..., Change],
) -> tuple[Change, float]:
    """What `learn` gives, kept in a folder of the work; an interrupted fit goes on beside it."""
    pair = _pair(setting, method)
    path = _place(setting, folder, method, options)

    def make() -> Change:
        checkpoint = path.parent / f"{setting.language}.fit"
        more = {"seed": setting.seed} | options
        found = learn(setting.model, pair, setting.language, checkpoint=checkpoint, **more)
        found.save(path)
        return found

    about = _about(setting, pair, options)
    return kept(path, about, lambda p: load(p, setting.model), make)


def _place(setting: Setting, folder: str, method: str, options: Mapping[str, Any]) -> Path:
    """Where a change is kept: apart for the positions named, as one comparison may have several."""
    name = f"{method}@{options['positions']}" if "positions" in options else method
    return setting.work / folder / name / f"{setting.language}.safetensors"


def _check_options(method: str, given: Iterable[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise MethodError(f"{method} has no option {name!r}: it has {', '.join(known)}")


class _Clock:
    """Seconds since its start, and those of work that was done before it and is used again."""

    def __init__(self) -> None:
        self.started, self.before = 0.0, 0.0

    def start(self) -> None:
        self.started = time.perf_counter()

    def seconds(self) -> float:
        return time.perf_counter() - self.started + self.before


def _shared_moments(model: Model, pair: ParallelCorpus, clock: _Clock) -> dict[int, Moments] | None:
    """Those of all layers, which both kinds of projection need; None where they are too large."""
    if model.layers * model.hidden_size**2 * 16 > LARGEST_MOMENTS:
        return None
    part = pair.split(fit=0.8, choose=0.2, report=0.0)["fit"]
    name, found, seconds = model._memo.get("moments", ("", None, 0.0))
    if name == part.fingerprint:
        clock.before = seconds
        return cast(dict[int, Moments], found)
    started = time.perf_counter()
    moments = pair_moments(model, part, range(model.layers))
    model._memo["moments"] = (part.fingerprint, moments, time.perf_counter() - started)
    return moments


def _pair(setting: Setting, method: str) -> ParallelCorpus:
    if setting.corpus is None:
        raise MethodError(f"{method} needs a parallel corpus to fit on")
    if setting.language == setting.corpus.pivot:
        raise MethodError(
            f"{method}: {setting.language} is the language that others are aligned to"
        )
    return setting.corpus.only(setting.language)


def _about(setting: Setting, pair: ParallelCorpus, options: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": setting.model.fingerprint,
        "corpus": pair.describe(),
        "options": options,
        "seed": setting.seed,
    }


def _method(name: str, title: str, maker: Maker) -> EvaluationMethod:
    def prepare(setting: Setting, **options: Any) -> Plan:
        change, seconds = maker(setting, name, **options)
        return Plan(
            asked_docs(setting),
            setting.language,
            form_of(setting),
            change=change,
            settings=describe_change(change),
            training_seconds=seconds,
        )

    return EvaluationMethod(name, title, prepare, kind="states")


def describe_change(change: Change) -> dict[str, Any]:
    """What a record says of a vector or projection: all that was chosen."""
    about: dict[str, Any] = {"corpus": change.corpus, "scores": change.scores}
    if isinstance(change, Projection):
        return {
            "layers": list(change.layers),
            **{k: change.options[k] for k in ("ridge", "rank") if k in change.options},
            "alpha": change.alpha,
            "form": change.form,
            **about,
        }
    return {
        "layer": change.layer,
        "strength": change.strength,
        "relative_strength": change.relative_strength,
        **about,
    }


def _title(name: str) -> str:
    return f"Steering: {name.replace('_', ' ')}"


CHANGES: dict[str, Maker] = dict.fromkeys(fitting.METHODS, steering_change) | {
    "learned_together": together_change,
    "low_rank": low_rank_change,
    "projection": projection_change,
    "projection_all": projection_change,
}
TOGETHER = _method("learned_together", "Steering: learned, one for all languages", together_change)
LOW_RANK = _method("low_rank", "Steering: low-rank map", low_rank_change)
PROJECTION = _method("projection", "Projection, one layer", projection_change)
PROJECTION_ALL = _method("projection_all", "Projection, all layers", projection_change)
STEERING = tuple(
    _method(name, _title(name), steering_change)
    for name in sorted(fitting.METHODS, key=lambda name: name == fitting.DEFAULT_METHOD)
)
STATES = (PROJECTION, PROJECTION_ALL, *STEERING, LOW_RANK, TOGETHER)
"""in the order of a report: the usual fitting method after those that it is compared with"""
