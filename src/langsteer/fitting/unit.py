"""Fits as units of work: a language's vector, and a folder's router, made by whichever process is given them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langsteer.errors import FitError
from langsteer.fitting.learning import dealt_alike, learn_all
from langsteer.fitting.names import DEFAULT_METHOD
from langsteer.fitting.router import fit_router
from langsteer.model.model import Model
from langsteer.model.opening import load_model
from langsteer.scale.queue import run_units
from langsteer.scale.units import Ended, Held, Resources, Workers
from langsteer.storage.files import check_writable
from langsteer.text.corpus import ParallelCorpus

Opened = Callable[[], Workers]


@dataclass(frozen=True)
class ModelPlace:
    """A model by its name or folder, how it is opened, and what a process takes that holds it."""

    name: str
    dtype: str = "auto"
    device: str | None = None
    device_map: str | None = None
    needs: Resources = field(default_factory=Resources)

    def opened(self, held: Held) -> Model:
        key = (self.name, self.dtype, self.device, self.device_map)
        options: dict[str, Any] = {
            "dtype": self.dtype,
            "device": self.device,
            "device_map": self.device_map,
        }
        return held.get(key, lambda: load_model(self.name, **options))


@dataclass(frozen=True)
class _WrittenUnit:
    """What is made with a model and written to `file`."""

    model: ModelPlace
    file: Path

    @property
    def where(self) -> str:
        return self.model.name

    @property
    def claims(self) -> frozenset[str]:
        return frozenset({str(self.file)})

    @property
    def needs(self) -> Resources:
        return self.model.needs


@dataclass(frozen=True)
class FitUnit(_WrittenUnit):
    """One language's change, learned on a corpus of that language."""

    corpus: ParallelCorpus
    method: str
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.corpus.language

    def run(self, held: Held) -> Sequence[Any]:
        model = self.model.opened(held)
        learn_all(model, self.corpus, self.method, files={self.name: self.file}, **self.options)
        return [str(self.file)]


@dataclass(frozen=True)
class RouterUnit(_WrittenUnit):
    """What tells the languages of a folder apart."""

    texts: Mapping[str, Sequence[str]]
    pivot: str
    name: str = "router"

    def run(self, held: Held) -> Sequence[Any]:
        fit_router(self.model.opened(held), self.texts, self.pivot).save(self.file)
        return [str(self.file)]


@dataclass(frozen=True)
class Outcome:
    """Files that were written or had been there, and why others were not: by language or `router`."""

    written: Mapping[str, Path]
    failed: Mapping[str, str]


def learn_shared(
    model: ModelPlace,
    corpus: ParallelCorpus,
    files: Mapping[str, Path],
    workers: Opened,
    method: str = DEFAULT_METHOD,
    *,
    router: Path | None = None,
    on_end: Callable[[str, str | None, int], None] = lambda name, error, done: None,
    **options: Any,
) -> Outcome:
    """Like `learn_all` with `files`, a language at a time on each of the processes that `workers` opens.

    What is written is what `learn_all` writes, and what was written by either goes on with the
    other. A language that cannot be learned does not stop the others. `router` is where the folder's
    router goes, made once its vectors are there. `on_end` is told of each language, or `router`, as it
    ends: its error, if any, and how many have ended. `options` are those of `learn_all`.
    """
    if options.pop("together", False):
        raise FitError(
            "one vector for all languages is learned in one process: leave --jobs and --on out"
        )
    dealt = dealt_alike(corpus, method)
    units = [
        FitUnit(model, files[tag], dealt.only(tag), method, options) for tag in corpus.languages
    ]
    for place in (*files.values(), *([router] if router else [])):
        check_writable(place)
    told = _Told(on_end)
    with closing(workers()) as opened:
        told.take(run_units(units, opened))
        if router and not told.failed:
            told.take(run_units([RouterUnit(model, router, corpus.texts, corpus.pivot)], opened))
    return Outcome(told.written, told.failed)


class _Told:
    """What became of each unit, told as it ends."""

    def __init__(self, on_end: Callable[[str, str | None, int], None]) -> None:
        self.on_end = on_end
        self.written: dict[str, Path] = {}
        self.failed: dict[str, str] = {}

    def take(self, units: Iterable[Ended]) -> None:
        for ended in units:
            name, error = ended.unit.name, None
            if ended.error is None:
                self.written[name] = ended.unit.file
            else:
                error = self.failed[name] = ended.error + ended.place
            self.on_end(name, error, len(self.written) + len(self.failed))
