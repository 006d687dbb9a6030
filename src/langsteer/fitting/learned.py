"""Learned: gradient descent on the vector alone, through the layers above it.

The same English words w are put after a sentence s in the language and after its translation e. With
v added at the tokens of s, at the output of layer l, the vector minimises over pairs

    hidden:  ‖f(s + v, w) − f(e, w)‖² ÷ ‖f(e, w)‖²      f: final-norm hidden states at the words w
    output:  KL( p(· | e, w) ‖ p(· | s + v, w) )        p: next-token distributions at the words w

Below layer l nothing depends on v, so those states are computed once and kept on disk, and each step
runs only the layers above. After the setting of Mahmoud et al. (arXiv 2505.12584).
"""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from langsteer.capture import check_finite, visit_states
from langsteer.corpus import ParallelCorpus
from langsteer.errors import FitError, StateError
from langsteer.files import save_errors, write_whole
from langsteer.fitting.common import Options, check_corpus, chosen_layer, make_vector
from langsteer.fitting.pivot import Pivot
from langsteer.intervention import resumed
from langsteer.models import Model, frozen
from langsteer.progress import track
from langsteer.tokens import batches, encode, encode_suffix, pad_mask
from langsteer.vector import SteeringVector

NAME = "learned"

SUFFIXES = (
    "\nIn other words,",
    "\nThis text is about",
    "\nThe main point is that",
    "\nIn English, this means",
)


@dataclass(frozen=True)
class LearnedOptions(Options):
    """Options of the gradient fit.

    `objective`: `hidden` or `output`. `passes`: most passes over the corpus. `rate`: Adam's step,
    relative to the mean length of the states at the layer. `batch`: pairs a step. `patience`: stop
    after so many passes without a lower loss. `suffixes`: the English words appended, one each
    pair and pass in turn. `top`: tokens of the English distribution that `output` keeps apart.
    """

    objective: Literal["hidden", "output"] = "hidden"
    passes: int = 4
    rate: float = 0.003
    batch: int = 8
    patience: int = 2
    suffixes: tuple[str, ...] = SUFFIXES
    top: int = 256


def fit(
    model: Model,
    corpus: ParallelCorpus,
    options: LearnedOptions = LearnedOptions(),
    checkpoint: str | Path | None = None,
    pivot: Pivot | None = None,
) -> SteeringVector:
    """Fit a vector; `loss` of the result is the mean loss of each pass.

    With `checkpoint`, progress is saved there after every pass and an interrupted fit with the
    same model, corpus and options goes on from it. Raises FitError where the layer has none above
    it, and StateError where states or the loss are not finite.
    """
    check_corpus(corpus)
    layer = chosen_layer(model, options)
    if layer >= model.layers - 1:
        raise FitError(
            f"layer {layer} is the last of {model.name}: learning looks at the layers above, "
            f"so choose one from 0 to {model.layers - 2}"
        )
    if not options.suffixes or options.passes < 1 or options.batch < 1:
        raise FitError("learning needs at least one suffix, one pass and one pair a step")
    _check_gradients(model)
    targets = _targets(model, options, Pivot.of(model, corpus, pivot))
    with frozen(model), tempfile.TemporaryDirectory(prefix="langsteer-") as folder:
        pairs = _Pairs(model, corpus, targets, layer, options, Path(folder))
        run = _Run(model, pairs, options, checkpoint, _key(model, corpus, options, layer))
        run.descend()
    return make_vector(
        model,
        corpus,
        options,
        values=run.best,
        layer=layer,
        method=NAME,
        state_norm=pairs.norm,
        loss=tuple(run.losses),
    )


def fit_layers(
    model: Model,
    corpus: ParallelCorpus,
    layers: Sequence[int],
    options: LearnedOptions = LearnedOptions(),
    pivot: Pivot | None = None,
    checkpoint: str | Path | None = None,
) -> list[SteeringVector]:
    """Fit at several layers, with the same targets; `checkpoint` is the stem of a file a layer."""
    shared = Pivot.of(model, corpus, pivot)
    files = checkpoint_files(checkpoint, layers)
    return [
        fit(model, corpus, replace(options, layer=layer), file, shared)
        for layer, file in zip(layers, files, strict=True)
    ]


def checkpoint_files(stem: str | Path | None, layers: Sequence[int]) -> list[Path | None]:
    """Where `fit_layers` keeps its progress at each layer."""
    return [Path(f"{stem}.layer{layer}.fit") if stem is not None else None for layer in layers]


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


def _suffix_turns(model: Model, options: LearnedOptions, lines: int) -> list[list[int]]:
    """Pair i has suffix i mod n, so that each text is read once and the suffixes are shared out."""
    suffixes = [encode_suffix(model, text) for text in options.suffixes]
    return [suffixes[i % len(suffixes)] for i in range(lines)]


def _targets(model: Model, options: LearnedOptions, pivot: Pivot) -> dict[int, tuple[Tensor, ...]]:
    """What the steered model should give at each pair's suffix words."""

    def read() -> dict[int, tuple[Tensor, ...]]:
        with frozen(model), torch.no_grad():
            return _read_targets(model, options, pivot)

    return pivot.once((NAME, options.objective, options.suffixes, options.top), read)


def _read_targets(
    model: Model, options: LearnedOptions, pivot: Pivot
) -> dict[int, tuple[Tensor, ...]]:
    turns = _suffix_turns(model, options, len(pivot.lines))
    texts = [t.followed_by(s) for t, s in zip(encode(model, pivot.lines), turns, strict=True)]
    targets: dict[int, tuple[Tensor, ...]] = {}
    groups = list(batches(texts))
    for index in track(groups, f"{pivot.tag} targets", len(groups)):
        inputs = model.batch([texts[i].ids for i in index])
        keep = max(len(turns[i]) for i in index)
        if options.objective == "hidden":
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


class _Pairs:
    """What the steps need of each pair and suffix: states at the layer (on disk), and targets."""

    def __init__(
        self,
        model: Model,
        corpus: ParallelCorpus,
        targets: dict[int, tuple[Tensor, ...]],
        layer: int,
        options: LearnedOptions,
        folder: Path,
    ) -> None:
        self.model, self.layer, self.folder, self.targets = model, layer, folder, targets
        texts = encode(model, corpus.texts[corpus.language])
        turns = _suffix_turns(model, options, len(texts))
        self.words = [len(suffix) for suffix in turns]
        self.texts = [t.followed_by(s) for t, s in zip(texts, turns, strict=True)]
        self.norm = self._keep_states(f"{corpus.language} states")

    def states(self, index: Sequence[int]) -> Tensor:
        """States at the layer [rows, longest, hidden], left-padded with zeros."""
        rows = [_read(self.folder / f"{i}.safetensors") for i in index]
        longest = max(len(row) for row in rows)
        padded = torch.zeros(len(rows), longest, rows[0].shape[1], dtype=rows[0].dtype)
        for i, row in enumerate(rows):
            padded[i, longest - len(row) :] = row
        return padded

    def _keep_states(self, label: str) -> float:
        groups = list(batches(self.texts))
        norms = 0.0
        for index in track(groups, label, len(groups)):
            inputs = self.model.batch([self.texts[i].ids for i in index])
            source = pad_mask([self.texts[i].source for i in index]).to(self.model.device)
            found: dict[int, Tensor] = {}
            visit_states(self.model, inputs, [self.layer], found.__setitem__)
            states = found[self.layer]
            weights = (source / source.sum(1, keepdim=True)).to(states)
            pooled = torch.einsum("bth,bt->bh", states, weights).float()
            check_finite(pooled, self.layer, index)
            norms += float(pooled.norm(dim=1).sum())
            for row, i in enumerate(index):
                length = len(self.texts[i])
                kept = {"states": states[row, -length:].cpu().contiguous()}
                with save_errors(self.folder, "set TMPDIR to a folder with more of it"):
                    save_file(kept, self.folder / f"{i}.safetensors")
        return norms / len(self.texts)


class _Run:
    """Adam on one vector, with what is needed to stop early and to resume."""

    def __init__(
        self,
        model: Model,
        pairs: _Pairs,
        options: LearnedOptions,
        checkpoint: str | Path | None,
        key: str,
    ) -> None:
        self.model, self.pairs, self.options, self.key = model, pairs, options, key
        self.checkpoint = Path(checkpoint) if checkpoint is not None else None
        self.vector = torch.zeros(model.hidden_size, requires_grad=True)
        # A step of Adam moves each of the vector's numbers by about the rate.
        rate = options.rate * pairs.norm / model.hidden_size**0.5
        self.adam = torch.optim.Adam([self.vector], lr=rate, betas=(0.9, 0.99))
        self.losses: list[float] = []
        self.best = torch.zeros(model.hidden_size)
        self._resume()

    def descend(self) -> None:
        size = self.options.batch
        # The mean of the weights over a pass is steadier than the last of them.
        for done in range(len(self.losses), self.options.passes):
            if self._stalled():
                break
            order = torch.Generator().manual_seed(self.options.seed * 10007 + done)
            groups = list(batches(self.pairs.texts, budget=2**30, most=size))
            shuffled = [groups[i] for i in torch.randperm(len(groups), generator=order).tolist()]
            total, mean = 0.0, torch.zeros_like(self.best)
            label = f"Learning, pass {done + 1} of {self.options.passes}"
            for index in track(shuffled, label, len(shuffled)):
                total += self._step(index) * len(index)
                mean += self.vector.detach() / len(shuffled)
            loss = total / len(self.pairs.texts)
            if not self.losses or loss < min(self.losses):
                self.best = mean
            self.losses.append(loss)
            self._save()

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
        pairs, model = self.pairs, self.model
        inputs = model.batch([pairs.texts[i].ids for i in index])
        device = next(model.blocks[pairs.layer].parameters()).device
        source = pad_mask([pairs.texts[i].source for i in index]).to(device)
        states = pairs.states(index).to(device)
        steered = states + source[..., None] * self.vector.to(states)
        keep = max(pairs.words[i] for i in index)
        with resumed(model, pairs.layer, steered):
            if self.options.objective == "hidden":
                found = model.run_decoder(inputs)[:, -keep:].float()
            else:
                found = torch.log_softmax(model.last_logits(inputs, keep).float(), -1)
        losses = [
            self._pair_loss(found[row, keep - pairs.words[i] :], pairs.targets[i])
            for row, i in enumerate(index)
        ]
        return torch.stack(losses).mean()

    def _pair_loss(self, found: Tensor, target: tuple[Tensor, ...]) -> Tensor:
        if self.options.objective == "hidden":
            wanted = target[0].to(found.device)
            return ((found - wanted).pow(2).sum(-1) / wanted.pow(2).sum(-1)).mean()
        log_p, index = (part.to(found.device) for part in target)
        log_q = found.gather(-1, index)
        rest_p, rest_q = _rest(log_p), _rest(log_q)
        return ((log_p.exp() * (log_p - log_q)).sum(-1) + rest_p * (rest_p / rest_q).log()).mean()

    def _stalled(self) -> bool:
        if not self.losses:
            return False
        best = self.losses.index(min(self.losses))
        return len(self.losses) - 1 - best >= self.options.patience

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        state = self.adam.state[self.vector]
        tensors = {
            "vector": self.vector.detach().clone(),
            "best": self.best.clone(),
            "first": state["exp_avg"].clone(),
            "second": state["exp_avg_sq"].clone(),
            "step": state["step"].clone(),
        }
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
        self.best = tensors["best"]
        with torch.no_grad():
            self.vector.copy_(tensors["vector"])
        self.adam.state[self.vector] = {
            "step": tensors["step"],
            "exp_avg": tensors["first"],
            "exp_avg_sq": tensors["second"],
        }


def _rest(log_p: Tensor) -> Tensor:
    return (1 - log_p.exp().sum(-1)).clamp(min=1e-6)


def _read(path: Path) -> Tensor:
    with safe_open(path, framework="pt") as file:
        return file.get_tensor("states")


def _key(model: Model, corpus: ParallelCorpus, options: LearnedOptions, layer: int) -> str:
    about = [model.fingerprint, corpus.fingerprint, asdict(options) | {"passes": 0}, layer]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
