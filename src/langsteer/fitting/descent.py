"""Gradient descent on a small change of the hidden states at one layer, through the layers above it.

The same English words w are put after a sentence s in the language and after its translation e. With
the states of the tokens of s changed at the output of layer l, the change c minimises over pairs

    fisher:  ‖(f(c(s), w) − f(e, w)) R‖²               f: final-norm hidden states at the words w
    centred: the same, each difference less the mean   R: the metric of the output, see `metric`
             over a batch of pairs with the same w
    hidden:  ‖f(c(s), w) − f(e, w)‖² ÷ ‖f(e, w)‖²
    output:  KL( p(· | e, w) ‖ p(· | c(s), w) )        p: next-token distributions at the words w
    translation: −log p(e | c(s), w) ÷ tokens of e
    continuation: the same of what the model writes, greedily, after e and w
    contrastive: −log of the share of e in Σ over the batch's e′ of exp(−½‖(f(c(s), w) − f(e′, w)) R‖²)

Centred, the change is to bring over what a sentence says, and gains nothing by moving what the model says
after any sentence. For the translation, e itself is read after w, up to 32 tokens of it, and for the
continuation the 12 tokens that were written.

Below layer l nothing depends on c, so those states are computed once and kept on disk, and each step
runs only the layers above. After the setting of Mahmoud et al. (arXiv 2505.12584).
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeVar, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from langsteer.capture import check_finite, visit_states
from langsteer.corpus import ParallelCorpus, spread
from langsteer.errors import FitError, StateError
from langsteer.files import save_errors, write_whole
from langsteer.fitting.common import Options, check_corpus
from langsteer.fitting.metric import output_root
from langsteer.fitting.pivot import Pivot
from langsteer.generation import generate
from langsteer.intervention import PositionKind, resumed
from langsteer.models import Model, frozen
from langsteer.progress import track
from langsteer.tokens import (
    Prompt,
    Tokens,
    batches,
    encode,
    encode_suffix,
    pad_mask,
    token_budget,
)

Objective = Literal[
    "centred", "continuation", "contrastive", "fisher", "hidden", "output", "translation"
]
AMONG_OTHERS = ("centred", "contrastive")  # a pair is compared with the others of its batch
IN_METRIC = ("centred", "contrastive", "fisher")
LIKELY_TEXT = ("continuation", "translation")
TRANSLATED, CONTINUED = 32, 12  # tokens at most
LAST_RATE = 0.05  # of the first
SAVE_STEPS = 25
FLATTEST = 1e-6  # the least deviation of a dimension, of the largest
METRIC_STATES = 512  # about as many states are enough to know the metric by

SUFFIXES = (
    "\nIn other words,",
    "\nThis text is about",
    "\nThe main point is that",
    "\nIn English, this means",
)


@dataclass(frozen=True)
class DescentOptions(Options):
    """Options of a gradient fit.

    `objective`: as above. `still`: how much of the mean that `centred` leaves out it counts after
    all, to keep still what the model says after any sentence; 0 is none and 1 nearly `fisher`.
    `start`: the share of the mean difference to start from. `steps`: of Adam, each on `batch` pairs with the same words; pairs that the steps do not come to are not
    read. `rate`: how far a step goes, relative to the mean length of the states at the layer; it
    falls to a twentieth. `suffixes`: the English words appended, one a pair in turn. `top`: tokens
    of the English distribution that `output` keeps apart.
    """

    objective: Objective = "centred"
    still: float = 0.0
    start: float = 0.5
    steps: int = 100
    rate: float = 0.01
    batch: int = 8
    suffixes: tuple[str, ...] = SUFFIXES
    top: int = 256

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
        pivot: Pivot | None = None,
    ) -> None:
        """Raises FitError where a layer has none above it, or an option makes no sense."""
        check_corpus(corpus)
        _check_options(model, layers, options)
        _check_gradients(model)
        self.model, self.options = model, options
        shared = Pivot.of(model, corpus, pivot)
        self.corpus, shared = _as_many_as_learned_from(model, corpus, shared, options)
        self.targets = _targets(model, options, shared)
        self._there = shared.mean_states(tuple(layers), "mean").mean if options.start else {}

    def run(
        self, layer: int, make: Callable[["Pairs", Tensor], L], checkpoint: str | Path | None
    ) -> Descended[L]:
        """`make` gets the pairs and the vector to start from: a share of the mean difference."""
        model, options = self.model, self.options
        with frozen(model), tempfile.TemporaryDirectory(prefix="langsteer-") as folder:
            pairs = Pairs(model, self.corpus, self.targets, layer, options, Path(folder))
            start = torch.zeros(model.hidden_size)
            if options.start:
                start = options.start * (self._there[layer] - pairs.mean).float()
            change = make(pairs, start)
            key = _key(model, self.corpus, options, layer)
            run = _Run(model, pairs, options, change, checkpoint, key)
            run.descend()
        return Descended(change, pairs.norm, tuple(run.losses))


def step_rate(options: DescentOptions, pairs: "Pairs") -> float:
    """How far a step moves each number of a vector: all together by the rate, or nearly."""
    return options.rate * pairs.norm / float(pairs.mean.shape[0] ** 0.5)


def _as_many_as_learned_from(
    model: Model, corpus: ParallelCorpus, pivot: Pivot, options: DescentOptions
) -> tuple[ParallelCorpus, Pivot]:
    """The corpus and its pivot, cut to lines spread evenly where the steps do not come to all."""
    if len(corpus) <= options.pairs:
        return corpus, pivot
    part = corpus.lines(spread(len(corpus), options.pairs))
    return part, pivot.once(("descent", "lines", options.pairs), lambda: Pivot(model, part))


def _check_options(model: Model, layers: Sequence[int], options: DescentOptions) -> None:
    for layer in layers:
        if layer >= model.layers - 1:
            raise FitError(
                f"layer {layer} is the last of {model.name}: learning looks at the layers above, "
                f"so choose one from 0 to {model.layers - 2}"
            )
    if not options.suffixes or options.steps < 1 or options.batch < 1:
        raise FitError("learning needs at least one suffix, one step and one pair a step")
    if options.objective not in get_args(Objective):
        known = ", ".join(get_args(Objective))
        raise FitError(f"there is no objective {options.objective!r}; there are {known}")
    if options.objective in AMONG_OTHERS and options.batch < 2:
        raise FitError(f"the objective {options.objective} needs two pairs a step or more")


def _check_gradients(model: Model) -> None:
    """bitsandbytes' 4-bit kernels for some processors pass no gradient on, and do not say so."""
    with torch.inference_mode(), frozen(model):
        model.run_decoder(model.batch([[model.pad_id]]))  # weights are packed on first use
    states = (getattr(weight, "quant_state", None) for weight in model.network.parameters())
    if any(getattr(state, "packing_format_for_cpu", False) for state in states):
        raise FitError(
            f"no gradient passes through the 4-bit weights of {model.name} on this processor: "
            "load it in 8 bits, unquantised or on a GPU, or fit by another method"
        )


def _suffix_turns(model: Model, options: DescentOptions, lines: int) -> list[list[int]]:
    """Pair i has suffix i mod n, so that each text is read once and the suffixes are shared out."""
    suffixes = [encode_suffix(model, text) for text in options.suffixes]
    return [suffixes[i % len(suffixes)] for i in range(lines)]


def _likely_texts(model: Model, options: DescentOptions, lines: Sequence[str]) -> list[list[int]]:
    """The tokens that are to be likely after each pair's words."""
    if options.objective == "translation":
        return [encode_suffix(model, f" {line}")[:TRANSLATED] for line in lines]
    suffixes = options.suffixes
    prompts = [Prompt(line, after=suffixes[i % len(suffixes)]) for i, line in enumerate(lines)]
    found: list[list[int]] = [[]] * len(lines)
    groups = list(batches(encode(model, prompts), token_budget(model)))
    for index in track(groups, "What the model writes", len(groups)):
        texts = generate(model, [prompts[i] for i in index], max_new_tokens=CONTINUED)
        for i, text in zip(index, texts, strict=True):
            found[i] = encode_suffix(model, text)[:CONTINUED] if text else [model.pad_id]
    return found


@dataclass(frozen=True)
class _Targets:
    """What the steered model should give at each pair's suffix words.

    `words[i]` is what the objective compares with: states [words, hidden], or log-probabilities and
    ids of tokens, each [words, top], or the ids of the text to be likely [tokens]. `root` is the metric of
    the output, where it is asked for.
    """

    words: dict[int, tuple[Tensor, ...]]
    root: Tensor | None = None


def _targets(model: Model, options: DescentOptions, pivot: Pivot) -> _Targets:
    """What the steered model should give, read once for all languages and layers."""

    def read() -> _Targets:
        if options.objective in LIKELY_TEXT:
            lines = _likely_texts(model, options, pivot.lines)
            return _Targets({i: (torch.tensor(line),) for i, line in enumerate(lines)})
        with frozen(model), torch.no_grad():
            words = _read_targets(model, options, pivot)
        if options.objective not in IN_METRIC:
            return _Targets(words)
        states = torch.cat([words[i][0] for i in range(len(words))])
        sample = states[:: max(1, len(states) // METRIC_STATES)]
        return _Targets(words, output_root(model, sample))

    return pivot.once(("descent", options.objective, options.suffixes, options.top), read)


def _read_targets(
    model: Model, options: DescentOptions, pivot: Pivot
) -> dict[int, tuple[Tensor, ...]]:
    turns = _suffix_turns(model, options, len(pivot.lines))
    texts = [t.followed_by(s) for t, s in zip(encode(model, pivot.lines), turns, strict=True)]
    targets: dict[int, tuple[Tensor, ...]] = {}
    groups = list(batches(texts))
    for index in track(groups, f"{pivot.tag} targets", len(groups)):
        inputs = model.batch([texts[i].ids for i in index])
        keep = max(len(turns[i]) for i in index)
        if options.objective != "output":
            states = model.run_decoder(inputs)[:, -keep:].float().cpu()
            check_finite(states.flatten(1), model.layers - 1, index)
            found: tuple[Tensor, ...] = (states,)
        else:
            logits = model.last_logits(inputs, keep).float()
            top = torch.log_softmax(logits, -1).topk(min(options.top, logits.shape[-1]), -1)
            found = (top.values.cpu(), top.indices.cpu())
        for row, i in enumerate(index):
            targets[i] = tuple(part[row, keep - len(turns[i]) :].clone() for part in found)
    return targets


class Pairs:
    """What the steps need of each pair and suffix: states at the layer (on disk), and targets."""

    def __init__(
        self,
        model: Model,
        corpus: ParallelCorpus,
        targets: _Targets,
        layer: int,
        options: DescentOptions,
        folder: Path,
    ) -> None:
        self.model, self.layer, self.folder = model, layer, folder
        self.targets = targets
        texts = encode(model, corpus.texts[corpus.language])
        self.turns = _suffix_turns(model, options, len(texts))
        self.texts = [t.followed_by(s) for t, s in zip(texts, self.turns, strict=True)]
        if options.objective in LIKELY_TEXT:
            lines = (targets.words[i][0].tolist() for i in range(len(texts)))
            self.texts = [t.followed_by(line) for t, line in zip(self.texts, lines, strict=True)]
        self.steered = [
            _steered(whole, len(text), len(turn), options.positions)
            for whole, text, turn in zip(self.texts, texts, self.turns, strict=True)
        ]
        self.mean = torch.zeros(model.hidden_size, dtype=torch.float64)
        self.norm = 0.0
        self._keep_states(f"{corpus.language} states")

    def batches(self, size: int) -> list[list[int]]:
        """Pairs of like length with the same words after them."""
        found: list[list[int]] = []
        for words in sorted(set(map(tuple, self.turns))):
            own = [i for i, turn in enumerate(self.turns) if tuple(turn) == words]
            texts = [self.texts[i] for i in own]
            found += [[own[i] for i in part] for part in batches(texts, budget=2**30, most=size)]
        return found

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
            found: dict[int, Tensor] = {}
            visit_states(self.model, inputs, [self.layer], found.__setitem__)
            states = found[self.layer]
            weights = (source / source.sum(1, keepdim=True)).to(states)
            pooled = torch.einsum("bth,bt->bh", states, weights).float()
            check_finite(pooled, self.layer, index)
            self.mean += pooled.double().sum(0).cpu() / len(self.texts)
            self.norm += float(pooled.norm(dim=1).sum()) / len(self.texts)
            for row, i in enumerate(index):
                length = len(self.texts[i])
                kept = {"states": states[row, -length:].cpu().contiguous()}
                with save_errors(self.folder, "set TMPDIR to a folder with more of it"):
                    save_file(kept, self.folder / f"{i}.safetensors")


def _steered(text: Tokens, source: int, words: int, positions: PositionKind) -> list[bool]:
    """Which tokens of a text are steered, with `words` after the `source` first tokens of it."""
    more = range(source, source + words) if positions != "source" else ()
    return [own or i in more for i, own in enumerate(text.source)]


class _Run:
    """Adam on what is learned, with what is needed to go on after an interruption."""

    def __init__(
        self,
        model: Model,
        pairs: Pairs,
        options: DescentOptions,
        change: Learnable,
        checkpoint: str | Path | None,
        key: str,
    ) -> None:
        self.model, self.pairs, self.options, self.key = model, pairs, options, key
        self.checkpoint = Path(checkpoint) if checkpoint is not None else None
        self.change = change
        groups = [{"params": [p], "lr": change.rates[n]} for n, p in change.parameters.items()]
        self.adam = torch.optim.Adam(groups, betas=(0.9, 0.99))
        self.done = 0
        self.losses: list[float] = []
        self._resume()

    def descend(self) -> None:
        schedule = self._schedule()
        recent: list[float] = []
        label = f"Learning, {self.options.steps} steps"
        for index in track(schedule[self.done :], label, len(schedule) - self.done):
            share = self.done / self.options.steps
            for group, rate in zip(self.adam.param_groups, self.change.rates.values(), strict=True):
                group["lr"] = rate * (1 - share * (1 - LAST_RATE))
            recent.append(self._step(index))
            self.done += 1
            if self.done % SAVE_STEPS == 0 or self.done == self.options.steps:
                self.losses.append(sum(recent) / len(recent))
                recent = []
                self._save()

    def _schedule(self) -> list[list[int]]:
        """The pairs of each step: all of them, in another order each time round."""
        groups = self.pairs.batches(self.options.batch)
        if self.options.objective in AMONG_OTHERS:
            groups = [group for group in groups if len(group) > 1]
        if not groups:
            raise FitError("learning needs two pairs with the same words after them, or more")
        order = torch.Generator().manual_seed(self.options.seed)
        found: list[list[int]] = []
        while len(found) < self.options.steps:
            found += [groups[i] for i in torch.randperm(len(groups), generator=order).tolist()]
        return found[: self.options.steps]

    def _step(self, index: list[int]) -> float:
        self.adam.zero_grad()
        loss = self._loss(index)
        if not bool(torch.isfinite(loss)):
            raise StateError(
                f"the loss is not finite at layer {self.pairs.layer}: load the model with "
                "dtype='float32' or 'bfloat16', or lower the rate"
            )
        loss.backward()
        self.adam.step()
        return float(loss.detach())

    def _loss(self, index: list[int]) -> Tensor:
        """Mean over the pairs of a batch, and over the words after them."""
        pairs, model = self.pairs, self.model
        inputs = model.batch([pairs.texts[i].ids for i in index])
        device = next(model.blocks[pairs.layer].parameters()).device
        steered_tokens = pad_mask([pairs.steered[i] for i in index]).to(device)
        states = pairs.states(index).to(device)
        steered = states + steered_tokens[..., None] * self.change.shift(states).to(states.dtype)
        if self.options.objective in LIKELY_TEXT:
            with resumed(model, pairs.layer, steered):
                return self._surprise(index, inputs)
        keep = len(pairs.turns[index[0]])
        wanted = [
            torch.stack(part) for part in zip(*(pairs.targets.words[i] for i in index), strict=True)
        ]
        with resumed(model, pairs.layer, steered):
            if self.options.objective == "output":
                found = torch.log_softmax(model.last_logits(inputs, keep).float(), -1)
                log_p, ids = (part.to(found.device) for part in wanted)
                return _divergence(log_p, found.gather(-1, ids))
            found = model.run_decoder(inputs)[:, -keep:].float()
        return self._distance(found, wanted[0].to(found.device))

    def _surprise(self, index: list[int], inputs: Mapping[str, Tensor]) -> Tensor:
        """Mean over the tokens of the likely texts at the ends of the rows of −log p, in nats."""
        lines = [self.pairs.targets.words[i][0] for i in index]
        longest = max(map(len, lines))
        states = self.model.run_decoder(inputs)[:, -longest - 1 : -1]
        there = pad_mask([[True] * len(line) for line in lines]).to(states.device)
        logits = self.model.logits_of(states[there]).float()
        return torch.nn.functional.cross_entropy(logits, torch.cat(lines).to(logits.device))

    def _distance(self, found: Tensor, wanted: Tensor) -> Tensor:
        """Mean squared distance of states [rows, words, hidden] in the objective's metric."""
        if self.options.objective == "contrastive":
            return self._contrast(found, wanted)
        apart = found - wanted
        if self.options.objective == "hidden":
            return (apart.pow(2).sum(-1) / wanted.pow(2).sum(-1)).mean()
        assert self.pairs.targets.root is not None
        apart = apart @ self.pairs.targets.root.to(apart.device)
        if self.options.objective == "fisher":
            return apart.pow(2).sum(-1).mean()
        mean, rows = apart.mean(0), len(apart)
        spread = (apart - mean).pow(2).sum(-1).mean() * rows / (rows - 1)
        return spread + self.options.still * mean.pow(2).sum(-1).mean()

    def _contrast(self, found: Tensor, wanted: Tensor) -> Tensor:
        """Mean over words of how badly each state is told to be nearest to its own pair's, in nats."""
        assert self.pairs.targets.root is not None
        root = self.pairs.targets.root.to(found.device)
        ours, theirs = ((states @ root).transpose(0, 1) for states in (found, wanted))
        logits = -torch.cdist(ours, theirs).pow(2) / 2  # [words, rows, rows]
        own = torch.arange(len(found), device=found.device).expand(len(ours), -1)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), own.flatten())

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        tensors = {"step": torch.tensor(float(self.done))}
        for name, parameter in self.change.parameters.items():
            state = self.adam.state[parameter]
            tensors[f"{name}.value"] = parameter.detach().clone()
            tensors[f"{name}.first"] = state["exp_avg"].clone()
            tensors[f"{name}.second"] = state["exp_avg_sq"].clone()
        metadata = {"key": self.key, "losses": json.dumps(self.losses)}
        write_whole(self.checkpoint, lambda part: save_file(tensors, part, metadata=metadata))

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
        self.done = int(tensors["step"])
        for name, parameter in self.change.parameters.items():
            with torch.no_grad():
                parameter.copy_(tensors[f"{name}.value"])
            self.adam.state[parameter] = {
                "step": tensors["step"].clone(),
                "exp_avg": tensors[f"{name}.first"],
                "exp_avg_sq": tensors[f"{name}.second"],
            }


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Mean KL in nats over the tokens given [..., tokens], the others together as one more."""
    rest_p, rest_q = _rest(log_p), _rest(log_q)
    return ((log_p.exp() * (log_p - log_q)).sum(-1) + rest_p * (rest_p / rest_q).log()).mean()


def _rest(log_p: Tensor) -> Tensor:
    return (1 - log_p.exp().sum(-1)).clamp(min=1e-6)


def _read(path: Path) -> Tensor:
    with safe_open(path, framework="pt") as file:
        return file.get_tensor("states")


def _key(model: Model, corpus: ParallelCorpus, options: DescentOptions, layer: int) -> str:
    about = [type(options).__name__, model.fingerprint, corpus.fingerprint, asdict(options), layer]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
