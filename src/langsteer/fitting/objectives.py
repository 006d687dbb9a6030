"""What a gradient fit lowers: how far the model, reading a changed text, is from reading its translation.

The same English words w are put after a sentence s in the language and after its translation e. With
c(s) for s with its states changed, an objective is the mean over pairs of one of

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
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from langsteer.errors import FitError
from langsteer.fitting.metric import output_root
from langsteer.fitting.readings import PivotReadings, mean_key
from langsteer.model.model import Model, frozen
from langsteer.model.tokens import Prompt, batches, encode, encode_suffix, pad_mask, token_budget
from langsteer.progress import track
from langsteer.states.capture import StateSums, check_rows, check_states, summing
from langsteer.steering.generation import generate

ObjectiveName = Literal[
    "centred", "continuation", "contrastive", "fisher", "hidden", "output", "translation"
]
Suffixes = Sequence[str]
Layers = tuple[int, ...]
TRANSLATED, CONTINUED = 32, 12  # tokens at most
METRIC_STATES = 512  # about as many states are enough to know the metric by


@dataclass(frozen=True)
class Targets:
    """What a pair is compared with, read once for all languages and layers.

    `words[i]`, of pair i: states [words, hidden], or log-probabilities and ids of tokens, each
    [words, top], or the ids of a text that is to be likely [tokens]. `root` is the metric of the
    output, where it is asked for.
    """

    words: list[tuple[Tensor, ...]]
    root: Tensor | None = None


class Objective(ABC):
    """`least`: pairs of a batch, at the least: two, where they are compared with each other."""

    least: int = 1

    @abstractmethod
    def read(self, readings: PivotReadings, suffixes: Suffixes, layers: Layers = ()) -> Targets:
        """What to compare with, from the pivot's lines; the mean states at `layers`, where they come by, are
        kept with the readings.
        """

    def appended(self, targets: Targets, pair: int) -> list[int]:
        """Tokens that are read after the words of a pair."""
        return []

    @abstractmethod
    def loss(
        self, model: Model, inputs: Mapping[str, Tensor], words: int, wanted: Targets
    ) -> Tensor:
        """Of a batch of changed texts with as many words after them; `wanted` is that of its pairs."""


def get_objective(name: str, still: float, top: int) -> Objective:
    """The objective of a name; `still` and `top` as in `DescentOptions`."""
    known: dict[str, Objective] = {
        "centred": _AtWords(functools.partial(_centred, still), least=2),
        "contrastive": _AtWords(_contrast, least=2),
        "fisher": _AtWords(_fisher),
        "hidden": _AtWords(_hidden, metric=False),
        "output": _Output(top),
        "translation": _Likely(_translations),
        "continuation": _Likely(_continuations),
    }
    if name not in known:
        names = ", ".join(get_args(ObjectiveName))
        raise FitError(f"there is no objective {name!r}; there are {names}")
    return known[name]


T = TypeVar("T")


def suffix_turns(model: Model, suffixes: Sequence[str], lines: int) -> list[list[int]]:
    """The suffix of each pair: they take turns, so that each text is read once."""
    return _in_turn([encode_suffix(model, text) for text in suffixes], lines)


def _in_turn(items: Sequence[T], lines: int) -> list[T]:
    return [items[i % len(items)] for i in range(lines)]


Into = Callable[[Tensor], Tensor]  # into the metric of the output


@dataclass(frozen=True)
class _AtWords(Objective):
    """A distance of final-norm states [rows, words, hidden] from those after the translations."""

    distance: Callable[[Tensor, Tensor, Into], Tensor]
    metric: bool = True
    least: int = 1

    def read(self, readings: PivotReadings, suffixes: Suffixes, layers: Layers = ()) -> Targets:
        model = readings.model

        def states(inputs: Mapping[str, Tensor], keep: int, index: list[int]) -> tuple[Tensor, ...]:
            after_words = model.run_decoder(inputs)[:, -keep:].float().cpu()
            check_states(model, after_words, model.layers - 1, index)
            return (after_words,)

        words = _after_lines(readings, suffixes, states, layers)
        if not self.metric:
            return Targets(words)
        every = torch.cat([each for (each,) in words])
        sample = every[:: max(1, len(every) // METRIC_STATES)]
        return Targets(words, output_root(model, sample))

    def loss(
        self, model: Model, inputs: Mapping[str, Tensor], words: int, wanted: Targets
    ) -> Tensor:
        reached = model.run_decoder(inputs)[:, -words:].float()
        root = None if wanted.root is None else wanted.root.to(reached.device)
        states = torch.stack([states for (states,) in wanted.words]).to(reached.device)
        return self.distance(reached, states, lambda x: x if root is None else x @ root)


def _hidden(reached: Tensor, wanted: Tensor, into: Into) -> Tensor:
    return ((reached - wanted).pow(2).sum(-1) / wanted.pow(2).sum(-1)).mean()


def _fisher(reached: Tensor, wanted: Tensor, into: Into) -> Tensor:
    return into(reached - wanted).pow(2).sum(-1).mean()


def _centred(still: float, reached: Tensor, wanted: Tensor, into: Into) -> Tensor:
    apart = into(reached - wanted)
    mean, rows = apart.mean(0), len(apart)
    spread = (apart - mean).pow(2).sum(-1).mean() * rows / (rows - 1)
    return spread + still * mean.pow(2).sum(-1).mean()


def _contrast(reached: Tensor, wanted: Tensor, into: Into) -> Tensor:
    """How badly each state is told to be nearest to its own pair's, in nats."""
    ours, theirs = into(reached).transpose(0, 1), into(wanted).transpose(0, 1)
    logits = -torch.cdist(ours, theirs).pow(2) / 2  # [words, rows, rows]
    own = torch.arange(len(reached), device=reached.device).expand(len(ours), -1)
    return cross_entropy(logits.flatten(0, 1), own.flatten())


@dataclass(frozen=True)
class _Output(Objective):
    """The divergence of next-token distributions; the `top` likeliest tokens are kept apart."""

    top: int

    def read(self, readings: PivotReadings, suffixes: Suffixes, layers: Layers = ()) -> Targets:
        model = readings.model

        def likeliest(
            inputs: Mapping[str, Tensor], keep: int, index: list[int]
        ) -> tuple[Tensor, ...]:
            logits = model.last_logits(inputs, keep).float()
            likeliest = torch.log_softmax(logits, -1).topk(min(self.top, logits.shape[-1]), -1)
            check_rows(model, likeliest.values, "the logits after the translation", index)
            return likeliest.values.cpu(), likeliest.indices.cpu()

        return Targets(_after_lines(readings, suffixes, likeliest, layers))

    def loss(
        self, model: Model, inputs: Mapping[str, Tensor], words: int, wanted: Targets
    ) -> Tensor:
        log_q = torch.log_softmax(model.last_logits(inputs, words).float(), -1)
        log_p, ids = (
            torch.stack(part).to(log_q.device) for part in zip(*wanted.words, strict=True)
        )
        return _divergence(log_p, log_q.gather(-1, ids))


@dataclass(frozen=True)
class _Likely(Objective):
    """How unlikely a text is after the words, in nats a token."""

    texts: Callable[[Model, Sequence[str], Sequence[str]], list[list[int]]]

    def read(self, readings: PivotReadings, suffixes: Suffixes, layers: Layers = ()) -> Targets:
        texts = self.texts(readings.model, readings.lines, suffixes)
        return Targets([(torch.tensor(ids),) for ids in texts])

    def appended(self, targets: Targets, pair: int) -> list[int]:
        (ids,) = targets.words[pair]
        return list(ids.tolist())

    def loss(
        self, model: Model, inputs: Mapping[str, Tensor], words: int, wanted: Targets
    ) -> Tensor:
        lines = [ids for (ids,) in wanted.words]
        longest = max(map(len, lines))
        states = model.run_decoder(inputs)[:, -longest - 1 : -1]
        there = pad_mask([[True] * len(line) for line in lines]).to(states.device)
        logits = model.logits_of(states[there]).float()
        return cross_entropy(logits, torch.cat(lines).to(logits.device))


def _translations(model: Model, lines: Sequence[str], suffixes: Sequence[str]) -> list[list[int]]:
    return [encode_suffix(model, f" {line}")[:TRANSLATED] for line in lines]


def _continuations(model: Model, lines: Sequence[str], suffixes: Sequence[str]) -> list[list[int]]:
    turns = _in_turn(suffixes, len(lines))
    prompts = [Prompt(line, after=turn) for line, turn in zip(lines, turns, strict=True)]
    continuations: list[list[int]] = [[]] * len(lines)
    groups = list(batches(encode(model, prompts), token_budget(model)))
    for index in track(groups, "What the model writes", len(groups)):
        texts = generate(model, [prompts[i] for i in index], max_new_tokens=CONTINUED)
        for i, text in zip(index, texts, strict=True):
            continuations[i] = encode_suffix(model, text)[:CONTINUED] if text else [model.pad_id]
    return continuations


def _after_lines(
    readings: PivotReadings,
    suffixes: Suffixes,
    read: Callable[[Mapping[str, Tensor], int, list[int]], tuple[Tensor, ...]],
    layers: Layers,
) -> list[tuple[Tensor, ...]]:
    """What `read` finds at the words after each line; it gets a batch, how many words and which lines.

    The lines' own states do not depend on the words after them, so that their means are taken on the way.
    """
    model = readings.model
    turns = suffix_turns(model, suffixes, len(readings.lines))
    encoded = encode(model, readings.lines)
    texts = [text.followed_by(turn) for text, turn in zip(encoded, turns, strict=True)]
    targets: list[tuple[Tensor, ...]] = [()] * len(texts)
    groups = list(batches(texts))
    sums = StateSums(model.hidden_size, layers)
    with frozen(model), torch.no_grad():
        for index in track(groups, f"{readings.tag} targets", len(groups)):
            keep = max(len(turns[i]) for i in index)
            source = pad_mask([texts[i].source for i in index]).to(model.device)
            with summing(model, sums, source, index):
                parts = read(model.batch([texts[i].ids for i in index]), keep, index)
            for row, i in enumerate(index):
                targets[i] = tuple(part[row, keep - len(turns[i]) :].clone() for part in parts)
    if layers:
        readings.keep(mean_key(layers, "mean"), sums.mean())
    return targets


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Mean KL in nats over the tokens given [..., tokens], the others together as one more."""
    rest_p, rest_q = _rest(log_p), _rest(log_q)
    return ((log_p.exp() * (log_p - log_q)).sum(-1) + rest_p * (rest_p / rest_q).log()).mean()


def _rest(log_p: Tensor) -> Tensor:
    return (1 - log_p.exp().sum(-1)).clamp(min=1e-6)
