"""Gradient descent on a small change of the hidden states at one layer, through the layers above it.

The states of the tokens of a sentence s in the language are changed at the output of layer l, so that the
model goes on after it as after its translation: see `objectives` for what is lowered.

Below layer l nothing depends on the change, so those states are computed once and kept on disk, and each
step runs only the layers above. After the setting of Mahmoud et al. (arXiv 2505.12584).
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import torch
from pydantic import PositiveInt
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from langsteer.errors import FitError
from langsteer.fitting.objectives import (
    Objective,
    ObjectiveName,
    Targets,
    get_objective,
    suffix_turns,
)
from langsteer.fitting.options import Options, check_corpus
from langsteer.fitting.readings import PivotReadings
from langsteer.model.devices import device_of
from langsteer.model.finite import check_finite
from langsteer.model.model import Model, frozen
from langsteer.model.tokens import Tokens, batches, encode, pad_mask
from langsteer.progress import track
from langsteer.states.capture import check_states, visit_states
from langsteer.states.intervention import PositionKind, resumed, steered_tokens
from langsteer.storage.files import save_errors, write_whole
from langsteer.text.corpus import ParallelCorpus, spread

LAST_RATE = 0.05  # of the first
SAVE_STEPS, SAVE_SECONDS = 25, 10.0  # of learning, between checkpoints: what comes first
FLATTEST = 1e-6  # the least deviation of a dimension, of the largest

SUFFIXES = (
    "\nIn other words,",
    "\nThis text is about",
    "\nThe main point is that",
    "\nIn English, this means",
)


@dataclass(frozen=True)
class DescentOptions(Options):
    """Options of a gradient fit.

    `objective`: see `objectives`. `still`: how much of the mean that `centred` leaves out it counts after
    all, to keep still what the model says after any sentence; 0 is none and 1 nearly `fisher`.
    `start`: the share of the mean difference to start from. `steps`: of Adam, each on `batch` pairs
    with the same words; pairs that the steps do not come to are not read. `rate`: how far a step
    goes, relative to the mean length of the states at the layer; it falls to a twentieth.
    `suffixes`: the English words appended, one a pair in turn. `top`: tokens of the English
    distribution that `output` keeps apart.
    """

    objective: ObjectiveName = "centred"
    still: float = 0.0
    start: float = 0.5
    steps: PositiveInt = 100
    rate: float = 0.01
    batch: PositiveInt = 8
    suffixes: tuple[str, ...] = SUFFIXES
    top: PositiveInt = 256

    @property
    def pairs(self) -> int:
        """How many are learned from, at most, each once."""
        return self.steps * self.batch


class Learnable(Protocol):
    """A change of the states: leaf tensors by name, and how far a step of Adam moves each number."""

    parameters: dict[str, Tensor]
    rates: dict[str, float]

    def shift(self, states: Tensor) -> Tensor:
        """What is added to states [rows, tokens, hidden], of that shape or broadcast to it."""
        ...


L = TypeVar("L", bound=Learnable)


@dataclass(frozen=True)
class Descended(Generic[L]):
    """What was learned, the mean length of the states there, and the mean loss of every 25 steps."""

    change: L
    state_norm: float
    losses: tuple[float, ...]


class Descent:
    """A corpus to descend on, with what is read of the pivot's lines once for all layers."""

    def __init__(
        self,
        model: Model,
        corpus: ParallelCorpus,
        layers: Sequence[int],
        options: DescentOptions,
        readings: PivotReadings | None = None,
    ) -> None:
        """Raises FitError where a layer has none above it, or an option makes no sense."""
        check_corpus(corpus)
        self.objective = _checked_objective(model, layers, options)
        check_gradients(model)
        self.model, self.options = model, options
        shared = PivotReadings.of(model, corpus, readings)
        self.corpus, shared = _as_many_as_learned_from(model, corpus, shared, options)
        started = tuple(layers) if options.start else ()
        self.targets = shared.once(
            ("descent", options.objective, options.suffixes, options.top),
            lambda: self.objective.read(shared, options.suffixes, started),
        )
        self._there = shared.mean_states(started, "mean").mean if started else {}

    def run(
        self, layer: int, make: Callable[["Pairs", Tensor], L], checkpoint: str | Path | None
    ) -> Descended[L]:
        """`make` gets the pairs and the vector to start from: a share of the mean difference."""
        model, options = self.model, self.options
        with frozen(model), tempfile.TemporaryDirectory(prefix="langsteer-") as folder:
            pairs = Pairs(self, layer, Path(folder))
            start = torch.zeros(model.hidden_size)
            if options.start:
                start = options.start * (self._there[layer] - pairs.mean).float()
            change = make(pairs, start)
            key = _key(model, self.corpus, options, layer)
            run = _Run(pairs, change, checkpoint, key)
            run.descend()
        return Descended(change, pairs.norm, tuple(run.losses))


def checkpoint_files(stem: str | Path | None, layers: Sequence[int]) -> list[Path | None]:
    """Where a gradient fit keeps its progress at each layer."""
    return [Path(f"{stem}.layer{layer}.fit") if stem is not None else None for layer in layers]


def step_rate(options: DescentOptions, pairs: "Pairs") -> float:
    """How far a step moves each number of a vector: all together by the rate, or nearly."""
    return options.rate * pairs.norm / float(pairs.mean.shape[0] ** 0.5)


def _as_many_as_learned_from(
    model: Model, corpus: ParallelCorpus, readings: PivotReadings, options: DescentOptions
) -> tuple[ParallelCorpus, PivotReadings]:
    """The corpus and its pivot, cut to lines spread evenly where the steps do not come to all."""
    if len(corpus) <= options.pairs:
        return corpus, readings
    part = corpus.lines(spread(len(corpus), options.pairs))
    return part, readings.once(
        ("descent", "lines", options.pairs), lambda: PivotReadings(model, part)
    )


def _checked_objective(model: Model, layers: Sequence[int], options: DescentOptions) -> Objective:
    for layer in layers:
        if layer >= model.layers - 1:
            raise FitError(
                f"layer {layer} is the last of {model.name}: learning looks at the layers above, "
                f"so choose one from 0 to {model.layers - 2}"
            )
    if not options.suffixes or options.steps < 1 or options.batch < 1:
        raise FitError("learning needs at least one suffix, one step and one pair a step")
    objective = get_objective(options.objective, options.still, options.top)
    if options.batch < objective.least:
        raise FitError(f"the objective {options.objective} needs two pairs a step or more")
    return objective


def check_gradients(model: Model) -> None:
    """Raise FitError where none passes through the weights.

    bitsandbytes' 4-bit kernels for some processors pass none on, and do not say so.
    """
    with torch.inference_mode(), frozen(model):
        model.run_decoder(model.batch([[model.pad_id]]))  # weights are packed on first use
    states = (getattr(weight, "quant_state", None) for weight in model.network.parameters())
    if any(getattr(state, "packing_format_for_cpu", False) for state in states):
        raise FitError(
            f"no gradient passes through the 4-bit weights of {model.name} on this processor: "
            "load it in 8 bits, unquantised or on a GPU, or fit by another method"
        )


class Pairs:
    """What the steps need of each pair and suffix: states at the layer (on disk), and targets."""

    def __init__(self, descent: Descent, layer: int, folder: Path) -> None:
        self.model, self.options = descent.model, descent.options
        self.objective, self.targets = descent.objective, descent.targets
        self.layer, self.folder = layer, folder
        corpus = descent.corpus
        self.language = corpus.language
        texts = encode(self.model, corpus.texts[self.language])
        self.turns = suffix_turns(self.model, self.options.suffixes, len(texts))
        self.texts = [
            text.followed_by(turn + self.objective.appended(self.targets, i))
            for i, (text, turn) in enumerate(zip(texts, self.turns, strict=True))
        ]
        self.steered = [
            _steered(whole, len(text), len(turn), self.options.fitted_at)
            for whole, text, turn in zip(self.texts, texts, self.turns, strict=True)
        ]
        self.mean = torch.zeros(self.model.hidden_size, dtype=torch.float64)
        self.norm = 0.0
        self._keep_states(f"{self.language} states")

    def batches(self) -> list[list[int]]:
        """Pairs of like length with the same words after them, as many as the objective needs."""
        groups: list[list[int]] = []
        for words in sorted(set(map(tuple, self.turns))):
            own = [i for i, turn in enumerate(self.turns) if tuple(turn) == words]
            texts = [self.texts[i] for i in own]
            parts = batches(texts, budget=2**30, most=self.options.batch)
            groups += [[own[i] for i in part] for part in parts]
        return [part for part in groups if len(part) >= self.objective.least]

    def states(self, index: Sequence[int]) -> Tensor:
        """States at the layer [rows, longest, hidden], left-padded with zeros."""
        rows = [_read(self.folder / f"{i}.safetensors") for i in index]
        longest = max(len(row) for row in rows)
        padded = torch.zeros(len(rows), longest, rows[0].shape[1], dtype=rows[0].dtype)
        for i, row in enumerate(rows):
            padded[i, longest - len(row) :] = row
        return padded

    def token_moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the steered tokens' states in each dimension [hidden]."""
        total = torch.zeros(2, len(self.mean), dtype=torch.float64)
        count = 0
        for i, text in enumerate(self.texts):
            states = self.states([i])[0, torch.tensor(text.source)].double()
            total += torch.stack([states.sum(0), states.pow(2).sum(0)])
            count += len(states)
        mean, square = total / count
        deviation = (square - mean.pow(2)).clamp(min=0).sqrt()
        return mean.float(), deviation.clamp(min=FLATTEST * deviation.max()).float()

    def _keep_states(self, label: str) -> None:
        """Write the states of each text; note the mean of their means, and these ones' length."""
        groups = list(batches(self.texts))
        for index in track(groups, label, len(groups)):
            inputs = self.model.batch([self.texts[i].ids for i in index])
            source = pad_mask([self.texts[i].source for i in index]).to(self.model.device)
            by_layer: dict[int, Tensor] = {}
            visit_states(self.model, inputs, [self.layer], by_layer.__setitem__)
            states = by_layer[self.layer]
            weights = (source / source.sum(1, keepdim=True)).to(states)
            pooled = torch.einsum("bth,bt->bh", states, weights).float()
            check_states(self.model, pooled, self.layer, index)
            self.mean += pooled.double().sum(0).cpu() / len(self.texts)
            self.norm += float(pooled.norm(dim=1).sum()) / len(self.texts)
            for row, i in enumerate(index):
                length = len(self.texts[i])
                kept = {"states": states[row, -length:].cpu().contiguous()}
                with save_errors(self.folder, "set TMPDIR to another folder"):
                    save_file(kept, self.folder / f"{i}.safetensors")


def _steered(text: Tokens, source: int, words: int, positions: PositionKind) -> list[bool]:
    """Which tokens of a text are steered, with `words` after the `source` first tokens of it.

    What is read after the words stands for what would be written, and stays as it is.
    """
    own, place = torch.tensor(text.source), torch.arange(len(text))
    kind: PositionKind = "source" if positions == "source" else "prompt"
    return steered_tokens(
        kind, source=own, prompt=place < source + words, never=(place < source) & ~own
    ).tolist()


class _Run:
    """Adam on what is learned, with what is needed to go on after an interruption."""

    def __init__(
        self, pairs: Pairs, change: Learnable, checkpoint: str | Path | None, key: str
    ) -> None:
        self.model, self.pairs, self.options, self.key = pairs.model, pairs, pairs.options, key
        self.checkpoint = Path(checkpoint) if checkpoint is not None else None
        self.change = change
        groups = [{"params": [p], "lr": change.rates[n]} for n, p in change.parameters.items()]
        self.adam = torch.optim.Adam(groups, betas=(0.9, 0.99))
        self.done = 0
        self.losses: list[float] = []
        self.recent: list[float] = []  # losses since the last that were averaged
        self.saved = time.monotonic()
        self._resume()

    def descend(self) -> None:
        schedule = self._schedule()
        label = f"{self.pairs.language}: learning, {self.options.steps} steps"
        for index in track(schedule[self.done :], label, len(schedule) - self.done):
            share = self.done / self.options.steps
            for group, rate in zip(self.adam.param_groups, self.change.rates.values(), strict=True):
                group["lr"] = rate * (1 - share * (1 - LAST_RATE))
            self.recent.append(self._step(index))
            self.done += 1
            if self.done % SAVE_STEPS == 0 or self.done == self.options.steps:
                self.losses.append(sum(self.recent) / len(self.recent))
                self.recent = []
                self._save()
            elif time.monotonic() - self.saved > SAVE_SECONDS:
                self._save()

    def _schedule(self) -> list[list[int]]:
        """The pairs of each step: all of them, in another order each time round."""
        groups = self.pairs.batches()
        if not groups:
            raise FitError("learning needs two pairs with the same words after them, or more")
        order = torch.Generator().manual_seed(self.options.seed)
        steps: list[list[int]] = []
        while len(steps) < self.options.steps:
            steps += [groups[i] for i in torch.randperm(len(groups), generator=order).tolist()]
        return steps[: self.options.steps]

    def _step(self, index: list[int]) -> float:
        self.adam.zero_grad()
        loss = self._loss(index)
        what = f"the losses at layer {self.pairs.layer}"
        check_finite(loss, what, self.model.dtype, "lower the rate")
        loss.backward()
        self.adam.step()
        return float(loss.detach())

    def _loss(self, index: list[int]) -> Tensor:
        """Mean over the pairs of a batch, and over the words after them."""
        pairs, model = self.pairs, self.model
        inputs = model.batch([pairs.texts[i].ids for i in index])
        device = device_of(model.blocks[pairs.layer])
        steered_tokens = pad_mask([pairs.steered[i] for i in index]).to(device)
        states = pairs.states(index).to(device)
        steered = states + steered_tokens[..., None] * self.change.shift(states).to(states.dtype)
        words = len(pairs.turns[index[0]])
        wanted = Targets([pairs.targets.words[i] for i in index], pairs.targets.root)
        with resumed(model, pairs.layer, steered):
            return pairs.objective.loss(model, inputs, words, wanted)

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        tensors = {"step": torch.tensor(float(self.done))}
        for name, parameter in self.change.parameters.items():
            state = self.adam.state[parameter]
            tensors[f"{name}.value"] = parameter.detach().clone()
            tensors[f"{name}.first"] = state["exp_avg"].clone()
            tensors[f"{name}.second"] = state["exp_avg_sq"].clone()
        losses = {name: json.dumps(getattr(self, name)) for name in ("losses", "recent")}
        metadata = {"key": self.key, **losses}
        write_whole(self.checkpoint, lambda part: save_file(tensors, part, metadata=metadata))
        self.saved = time.monotonic()

    def _resume(self) -> None:
        if self.checkpoint is None or not self.checkpoint.is_file():
            return
        try:
            with safe_open(self.checkpoint, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("key") != self.key:
                    return
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError:
            return
        self.losses = json.loads(metadata["losses"])
        self.recent = json.loads(metadata.get("recent", "[]"))
        self.done = int(tensors["step"])
        for name, parameter in self.change.parameters.items():
            with torch.no_grad():
                parameter.copy_(tensors[f"{name}.value"])
            self.adam.state[parameter] = {
                "step": tensors["step"].clone(),
                "exp_avg": tensors[f"{name}.first"],
                "exp_avg_sq": tensors[f"{name}.second"],
            }


def _read(path: Path) -> Tensor:
    with safe_open(path, framework="pt") as file:
        return file.get_tensor("states")


def _key(model: Model, corpus: ParallelCorpus, options: DescentOptions, layer: int) -> str:
    about = [type(options).__name__, model.fingerprint, corpus.fingerprint, asdict(options), layer]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
