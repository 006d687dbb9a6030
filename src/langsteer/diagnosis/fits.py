"""What a search chooses among: changes that are fitted once, and kept, and the ways to use them."""

import contextlib
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from langsteer.diagnosis.answer_candidates import DEPTHS as WRITING_DEPTHS
from langsteer.diagnosis.answer_candidates import AnswerCandidates, clamp_name
from langsteer.diagnosis.trials import Trials
from langsteer.errors import FitError, LangsteerError, VectorError
from langsteer.fitting.average import average
from langsteer.fitting.descent import checkpoint_files
from langsteer.fitting.methods import get_method
from langsteer.fitting.names import DEFAULT_METHOD
from langsteer.fitting.options import chosen_layer
from langsteer.fitting.projection import layers_at
from langsteer.fitting.readings import PivotReadings
from langsteer.model.model import Model
from langsteer.states.intervention import PositionKind
from langsteer.steering.change import Change
from langsteer.steering.clamp import Clamp
from langsteer.steering.folder import load
from langsteer.steering.sequence import ChangeSequence
from langsteer.steering.vector import SteeringVector
from langsteer.storage.files import write_json
from langsteer.storage.kept import read_record
from langsteer.text.corpus import ParallelCorpus

DEPTHS = (0.45, 0.3, 0.6, 0.2, 0.7, 0.1, 0.8)  # the likelier first: time may not do for all
PROJECTED = (0.45, 0.3, 0.6)
SECONDS = "seconds.json"  # beside the fitted changes: what each took
READING: tuple[PositionKind, ...] = ("source", "prompt")


@dataclass(frozen=True)
class Candidate:
    """A change, and its name as a recipe: METHOD:LAYER@POSITIONS*STRENGTH, parts joined by +.

    `label` is the method and its options, of a change that is one; empty for others. `halves` are of
    one that is learned from the items to choose on: the change for items at even places, and for
    those at odd ones, each learned from the others; `change` is learned from all.
    """

    name: str
    change: Change
    label: str = ""
    halves: tuple[Change, Change] | None = None

    @property
    def reads(self) -> bool:
        """Whether it acts on what is read, and on nothing that is written."""
        return self.change.positions in READING


def used(
    label: str, fitted: Change, positions: PositionKind, strength: float, keep: bool = False
) -> Candidate:
    """A fitted change at some positions and strength; with `keep`, a vector that keeps lengths."""
    change = fitted.at(positions).with_strength(strength)
    if keep and isinstance(change, SteeringVector):
        change = replace(change, keeps_length=True)
    layer = f":{fitted.layers[0]}" if len(fitted.layers) == 1 else ""
    kept = ", length kept" if keep else ""
    return Candidate(f"{label}{layer}@{positions}*{strength:g}{kept}", change, label)


def used_crosswise(label: str, fitted: Sequence[Change], strength: float) -> Candidate:
    """A change that is learned from the items to choose on, at its own positions: `fitted` from all of them, and
    for items at even and at odd places, each from the others.
    """
    whole, *halves = (change.with_strength(strength) for change in fitted)
    assert whole.positions is not None
    even, odd = halves
    return replace(used(label, whole, whole.positions, strength), label="", halves=(even, odd))


def together(first: Candidate, second: Candidate) -> Candidate:
    """Two changes, one after another."""
    both = ChangeSequence.of([first.change, second.change])
    return Candidate(f"{first.name} + {second.name}", both)


class Fits:
    """Fitted changes of one model, language and corpus, kept in a folder as they come."""

    def __init__(
        self, model: Model, corpus: ParallelCorpus, folder: Path, trials: Trials, seed: int = 0
    ) -> None:
        self.model, self.corpus, self.folder = model, corpus, folder
        self.trials, self.seed = trials, seed
        self.readings = PivotReadings(model, corpus)
        self.layers = tuple(dict.fromkeys(layers_at(model, DEPTHS)))

    def at_layers(self, method: str, layers: Sequence[int], **options: object) -> list[Change]:
        """A method's changes at some layers: those that are kept are read, the others fitted together."""
        label = "".join([method, *(f".{value}" for value in options.values())])
        files = {layer: self.folder / f"{label}.{layer}.safetensors" for layer in layers}
        there = {layer: change for layer, file in files.items() if (change := self._kept(file))}
        missing = [layer for layer in layers if layer not in there]
        if missing:
            chosen = get_method(method)
            own = chosen.make_options({"seed": self.seed, **options})
            started = time.perf_counter()
            stem = self.folder / label
            made = chosen.at_layers(self.model, self.corpus, missing, own, self.readings, stem)
            for layer, change in zip(missing, made, strict=True):
                change.save(files[layer])
                there[layer] = change
            for file in checkpoint_files(stem, missing):
                if file is not None:
                    file.unlink(missing_ok=True)
            seconds = time.perf_counter() - started
            self.trials.tell(f"fit {label} {missing}", seconds, fitted=label)
            write_json(
                self.folder / SECONDS, {**read_record(self.folder / SECONDS), label: seconds}
            )
        return [there[layer] for layer in layers]

    def longest(self) -> float:
        """The seconds of the fit that took longest, of those that are kept too."""
        took = read_record(self.folder / SECONDS).values()
        return max((float(s) for s in took if isinstance(s, int | float)), default=0.0)

    def default(self) -> Candidate:
        """What `fit` learns where nothing is said, with its own layer, positions and strength."""
        method = get_method(DEFAULT_METHOD)
        options = method.make_options({"seed": self.seed})
        layer = chosen_layer(self.model, options)
        (change,) = self.at_layers(DEFAULT_METHOD, [layer])
        strengths = options.usual_strengths
        strength = strengths[0] if len(strengths) == 1 else 1.0
        return used(DEFAULT_METHOD, change, options.acts_at, strength)

    def _kept(self, file: Path) -> Change | None:
        if not file.is_file():
            return None
        try:
            change = load(file, self.model)
        except LangsteerError:
            return None
        same = change.corpus.get("fingerprint") == self.corpus.describe().get("fingerprint")
        return change if same and change.options.get("seed") == self.seed else None


def cheap_candidates(fits: Fits, may_fit: Callable[[], bool]) -> list[Candidate]:
    """Mean differences at several layers, positions and strengths, the likelier first; and
    projections, where `may_fit` says that there is time.
    """
    differences = fits.at_layers("mean_difference", fits.layers)
    uses: list[tuple[PositionKind, float]] = [
        ("source", 0.5),
        ("prompt", 0.5),
        ("generated", -0.5),
        ("source", 1.0),
        ("prompt", 1.0),
        ("generated", 0.5),
        ("all", 0.5),
    ]
    candidates = [
        used("mean_difference", change, positions, strength)
        for positions, strength in uses
        for change in differences
    ]
    if not may_fit():
        return candidates
    projected = fits.at_layers("projection", layers_at(fits.model, PROJECTED))
    maps = [used("projection", change, "source", s) for s in (0.5, 1.0) for change in projected]
    half = len(differences) * 2
    return [*candidates[:half], *maps, *candidates[half:]]


def written_candidates(fits: Fits) -> list[Candidate]:
    """What acts on a text that is written in the language: clamps at several layers and biases by turns, the
    likelier first; none where the corpus is too small for them.
    """
    clamps: list[Candidate] = []
    biases: list[Candidate] = []
    with contextlib.suppress(FitError):
        made = fits.at_layers("answers", layers_at(fits.model, WRITING_DEPTHS))
        clamps = [Candidate(clamp_name(c), c) for c in made if isinstance(c, Clamp)]
    with contextlib.suppress(FitError):
        by_name = AnswerCandidates(fits.model, fits.corpus, fits.seed).biases
        biases = [Candidate(name, bias) for name, bias in reversed(by_name.items())]
    return by_turns(clamps, biases)


def by_turns(first: Sequence[Candidate], second: Sequence[Candidate]) -> list[Candidate]:
    """Of both, so that where time does for a few there are some of each."""
    pairs = itertools.zip_longest(first, second)
    return [candidate for pair in pairs for candidate in pair if candidate is not None]


def learned_candidates(
    fits: Fits, layers: Sequence[int], may_fit: Callable[[], bool]
) -> list[Candidate]:
    """The default's vector used otherwise, and learned ones at other layers, by other objectives
    and of low rank, while `may_fit` says that there is time.
    """
    default = fits.default()
    usual = default.change.layers[0]
    candidates = _uses(DEFAULT_METHOD, default.change)
    others = [layer for layer in layers if layer != usual and layer < fits.model.layers - 1]
    for layer in others[:2]:
        if not may_fit():
            return candidates
        (change,) = fits.at_layers(DEFAULT_METHOD, [layer])
        candidates += _uses(DEFAULT_METHOD, change)
    best = next((layer for layer in layers if layer < fits.model.layers - 1), usual)
    for method, options in (
        (DEFAULT_METHOD, {"objective": "translation"}),
        ("low_rank", {}),
        (DEFAULT_METHOD, {"objective": "fisher"}),
    ):
        if not may_fit():
            return candidates
        (change,) = fits.at_layers(method, [best], **options)
        own = "".join(f"({key}={value})" for key, value in options.items())
        candidates += _uses(f"{method}{own}", change)
    return candidates


def _uses(name: str, change: Change) -> list[Candidate]:
    uses: list[tuple[PositionKind, float]] = [
        ("source", 0.5), ("prompt", 0.5), ("prompt", 0.75), ("source", 1.0), ("prompt", 1.0), ("all", 0.5),
    ]  # fmt: skip
    return [used(name, change, positions, strength) for positions, strength in uses]


def averaged_candidates(
    vectors: Mapping[str, Change], language: str, own: Change | None
) -> list[Candidate]:
    """Averages of other languages' vectors, alone and with the language's own; and its own vector
    among them.
    """
    singles = [vector for vector in vectors.values() if isinstance(vector, SteeringVector)]
    candidates = []
    if (given := vectors.get(language)) is not None:
        name = f"given {given.method}"
        positions = given.positions
        if positions is not None and len(given.parts) == 1:
            candidates += [used(name, given, positions, s * given.strength) for s in (1.0, 0.5)]
        else:
            candidates.append(Candidate(name, given))
    for mine in (None, own if isinstance(own, SteeringVector) else None):
        try:
            made = average(singles, language, mine)
        except VectorError:
            continue
        name = "average" if mine is None else "average with own"
        candidates += [used(name, made, made.positions, s) for s in (0.5, made.strength, 1.0)]
    return list({candidate.name: candidate for candidate in candidates}.values())


def refined(best: Sequence[Candidate]) -> list[Candidate]:
    """Around the best: strengths between those tried, each state's length kept, and two together."""
    candidates: list[Candidate] = []
    for candidate in best[:3]:
        label, change = candidate.label, candidate.change
        kept = isinstance(change, SteeringVector) and change.keeps_length
        if not label or change.positions is None or kept:
            continue
        for factor in (0.7, 1.4):
            strength = round(change.strength * factor, 3)
            candidates.append(used(label, change, change.positions, strength))
        if isinstance(change, SteeringVector):
            candidates.append(used(label, change, change.positions, change.strength, keep=True))
    reading = [c for c in best if c.reads and c.label]
    writing = [c for c in best if c.change.positions == "generated" and not c.halves]
    candidates += [together(r, w) for r in reading[:2] for w in writing[:2]]
    moving = [c for c in writing if c.change.layers]
    biases = [c for c in writing if not c.change.layers]
    candidates += [together(m, b) for m in moving[:1] for b in biases[:2]]
    if len(reading) > 1 and reading[0].change.layers != reading[1].change.layers:
        candidates.append(together(reading[0], reading[1]))
    return candidates
