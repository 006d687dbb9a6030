"""What changes hidden states: every fitting method that there is, and one vector for all languages.

Fitted on the setting's parallel corpus, without labels of the benchmark, and kept between runs.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from langsteer.errors import FitError, MethodError
from langsteer.evaluation.methods.common import (
    EvaluationMethod,
    Plan,
    Setting,
    Stage,
    asked_docs,
    check_values,
    form_of,
)
from langsteer.fitting.learning import learn, learn_all, method_of
from langsteer.fitting.methods import METHODS
from langsteer.fitting.names import DEFAULT_METHOD
from langsteer.fitting.names import METHODS as OWN
from langsteer.fitting.options import Method as FittingMethod
from langsteer.fitting.projection import Moments, pair_moments
from langsteer.fitting.readings import SharedReadings, shared_readings
from langsteer.fitting.recipe import parse_recipe
from langsteer.model.model import Model
from langsteer.steering.change import Change
from langsteer.steering.folder import load
from langsteer.steering.projection import Projection
from langsteer.steering.vector import SteeringVector
from langsteer.storage.kept import kept
from langsteer.text.corpus import ParallelCorpus

LARGEST_MOMENTS = 2**30  # bytes
MAPS = ("low_rank", "projection", "projection_all")  # kept in a folder of their own
OLD_NAMES = {"alphas": "strengths"}  # of options
# what `learn` takes beside a method's own options
CHOOSING: dict[str, Any] = {
    "layers": Sequence[int],
    **dict.fromkeys(("strengths", *OLD_NAMES), Sequence[float]),
}

Maker = Callable[..., tuple[Change, float]]


def learned_change(setting: Setting, method: str, **options: Any) -> tuple[Change, float]:
    """What a fitting method, or a recipe, learns, and the seconds that it took.

    It is kept in a folder of the work; an interrupted fit goes on beside it.
    """
    pair = _pair(setting, method)
    fitting = method_of(method)
    every = setting.all_languages if fitting.all_languages else None
    corpus = pair if every is None else every()
    path = _place(setting, "projections" if method in MAPS else "vectors", method, options)
    given = {OLD_NAMES.get(name, name): value for name, value in options.items()}
    clock = _Clock()

    def make() -> Change:
        more = {"seed": setting.seed} | given
        with shared_readings(setting.model) as shared:
            clock.start(shared)
            if method.startswith("projection") and not options:
                change = _projected(setting, pair, fitting, clock)
            else:
                file = path.parent / f"{setting.language}.fit"
                change = learn(
                    setting.model, corpus, pair.language, method, checkpoint=file, **more
                )
            clock.stop()
        change.save(path)
        return change

    about = _about(setting, corpus, options)
    return kept(path, about, lambda p: load(p, setting.model), make, lambda: clock.seconds)


def together_change(setting: Setting, method: str, **options: Any) -> tuple[Change, float]:
    """One vector that is learned from all languages of the corpus, at the language's strength.

    The seconds are a language's share of those that it takes for all.
    """
    pair = _pair(setting, method)
    corpus = setting.all_languages() if setting.all_languages else pair
    path = _place(setting, "vectors", method, options)

    def make() -> dict[str, Change]:
        files = {tag: path.parent / f"{tag}.safetensors" for tag in corpus.languages}
        more: dict[str, Any] = {"seed": setting.seed, "files": files, "overwrite": True} | options
        return learn_all(setting.model, corpus, together=True, **more)

    def read(folder: Path) -> dict[str, Change]:
        return {setting.language: SteeringVector.load(path, setting.model)}

    about = _about(setting, corpus, options)
    vectors, seconds = kept(path.parent / "all", about, read, make)
    return vectors[pair.language], seconds / len(corpus.languages)


def _projected(
    setting: Setting, pair: ParallelCorpus, fitting: FittingMethod, clock: "_Clock"
) -> Change:
    """A projection by the usual options, from moments that both kinds of it share."""
    assert fitting.learn is not None
    options = fitting.make_options({"seed": setting.seed})
    moments = _shared_moments(setting.model, pair, clock)
    return fitting.learn(setting.model, pair, (), None, options, moments=moments)


def _place(setting: Setting, folder: str, method: str, options: Mapping[str, Any]) -> Path:
    """Where a change is kept: apart for the positions named, as one comparison may have several."""
    name = f"{method}@{options['positions']}" if "positions" in options else method
    plain = re.sub(r"[^\w.+@-]", "_", name)  # a recipe has signs that no file name may have
    return setting.work / folder / plain / f"{setting.language}.safetensors"


class _Clock:
    """The seconds of a fit, and those of work that was done for other fits before it and is used again."""

    def __init__(self) -> None:
        self.seconds, self.before = 0.0, 0.0

    def start(self, shared: SharedReadings) -> None:
        self.started, self.shared = time.perf_counter(), shared

    def so_far(self) -> float:
        return time.perf_counter() - self.started + self.shared.spared

    def stop(self) -> None:
        self.seconds = self.so_far() + self.before


def _shared_moments(model: Model, pair: ParallelCorpus, clock: _Clock) -> dict[int, Moments] | None:
    """Those of all layers, which both kinds of projection need; None where they are too large."""
    if model.layers * model.hidden_size**2 * 16 > LARGEST_MOMENTS:
        return None
    part = pair.split(fit=0.8, choose=0.2, report=0.0)["fit"]
    before = clock.so_far()

    def make() -> tuple[dict[int, Moments], float]:
        moments = pair_moments(model, part, range(model.layers))
        return moments, clock.so_far() - before

    moments, seconds = model.kept.get("moments", make, part.fingerprint)
    clock.before = max(0.0, seconds - (clock.so_far() - before))  # what it took before now
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


def _method(
    name: str, title: str, maker: Maker, stage: Stage = Stage.LATE, serves_all: bool = False
) -> EvaluationMethod:
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

    fitting = DEFAULT_METHOD if maker is together_change else name

    def check(options: Mapping[str, Any]) -> None:
        method = method_of(fitting)
        check_values(name, CHOOSING, {k: v for k, v in options.items() if k in CHOOSING})
        method.make_options({k: v for k, v in options.items() if k not in CHOOSING})

    return EvaluationMethod(name, title, prepare, "states", stage, serves_all, check)


def describe_change(change: Change) -> dict[str, Any]:
    """What a record says of a change: all that was chosen."""
    about: dict[str, Any] = {"corpus": change.corpus, "scores": change.scores}
    if isinstance(change, SteeringVector):
        return {
            "layer": change.layer,
            "strength": change.strength,
            "relative_strength": change.relative_strength,
            **about,
        }
    if len(change.parts) > 1:
        parts = [describe_change(part) | {"positions": part.positions} for part in change.parts]
        return {"parts": parts, "strength": change.strength, **about}
    return {
        "layers": list(change.layers),
        **{key: change.options[key] for key in ("ridge", "rank") if key in change.options},
        "alpha": change.strength,
        **({"form": change.form} if isinstance(change, Projection) else {}),
        **about,
    }


def recipe(name: str) -> EvaluationMethod:
    """A recipe of fitting methods as a way to ask. Raises MethodError where it cannot be read."""
    try:
        whole = method_of(name).name
    except FitError as error:
        raise MethodError(str(error)) from error
    stage = max(_stage(part.method) for part in parse_recipe(whole))
    return _method(whole, f"Steering: {whole}", learned_change, stage)


def _stage(name: str) -> Stage:
    return Stage.SOON if METHODS[name].quick else Stage.LATE


def _title(name: str) -> str:
    title = (METHODS[name].title if name in OWN else "") or name.replace("_", " ")
    return title.capitalize() if name.startswith("projection") else f"Steering: {title}"


CHANGES: dict[str, Maker] = dict.fromkeys(METHODS, learned_change) | {
    "learned_together": together_change
}
TOGETHER = _method(
    "learned_together", "Steering: learned, one for all languages", together_change, serves_all=True
)
STEERING = tuple(_method(name, _title(name), learned_change, _stage(name)) for name in METHODS)
