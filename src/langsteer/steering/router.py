"""Which language a text is in, so which vector: from its hidden states at an early layer.

Linear discriminant analysis with shrinkage: the language whose mean is nearest, in the metric of the scatter
within languages, which all share. The states are averaged over a text's tokens. It is fitted on beginnings of
lines as well as on whole ones, so that short texts are told apart too. How sure it may be is learned for each
length on lines held out (temperature scaling; Guo et al., arXiv 1706.04599).
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from langsteer.errors import FitError, MissingExtraError, VectorError
from langsteer.model.model import Model
from langsteer.model.tokens import Prompt, encode
from langsteer.states.capture import capture, sentence_states
from langsteer.steering.vector import ROUTER_NAME, SteeringVector, check_model
from langsteer.storage.tensors import FileKind, read_tensors, write_tensors
from langsteer.text.corpus import spread
from langsteer.text.identify import Identified
from langsteer.version import __version__

FILE = FileKind("langsteer router", 1, "router")

DEPTH = 0.2
BEGINNINGS = (2, 4, 8, 16)  # tokens
HELD_OUT = 5  # every fifth line
TEMPERATURES = torch.logspace(-1, 2, 61, dtype=torch.float64)
CONFIDENT = 0.9
FEWEST_LINES = 20
MOST_LINES = 100


@dataclass(frozen=True, eq=False)
class Router:
    """Tells a text's language from its mean hidden state x at a layer.

    The chances are softmax((x · weightᵀ + bias) ÷ t): `weight` is [languages, hidden], `bias`
    [languages], and `temperatures` holds the t of texts of up to 3, 7 and 15 tokens, and of more.
    `model` holds the name and fingerprint
    of the model whose states they read, `corpus` what text they were fitted on.
    """

    weight: Tensor
    bias: Tensor
    temperatures: Tensor
    languages: tuple[str, ...]
    pivot: str
    layer: int
    model: dict[str, Any]
    corpus: dict[str, Any] = field(default_factory=dict)
    version: str = __version__

    def __post_init__(self) -> None:
        count = len(self.languages)
        if self.weight.dim() != 2 or self.weight.shape[0] != count or self.bias.shape != (count,):
            raise VectorError("the router's numbers and its languages do not agree")
        if self.temperatures.shape != (len(BEGINNINGS),):
            raise VectorError(f"the router has not {len(BEGINNINGS)} temperatures")
        for numbers in (self.weight, self.bias, self.temperatures):
            if not bool(torch.isfinite(numbers).all()):
                raise VectorError("the router holds NaN or infinity")

    def identify(self, model: Model, texts: Sequence[str | Prompt]) -> list[Identified]:
        """The likeliest language of each text's source, among those that were fitted."""
        self.check_fits(model)
        tokens = encode(model, texts)
        states = sentence_states(model, tokens, [self.layer])[:, 0].double()
        counts = torch.tensor([sum(text.source) for text in tokens])
        scores = states @ self.weight.double().T + self.bias.double()
        best = torch.softmax(scores / self.temperatures[_length(counts), None], -1).max(-1)
        return [
            Identified(self.languages[int(place)], float(chance))
            for place, chance in zip(best.indices, best.values, strict=True)
        ]

    def route(
        self,
        model: Model,
        texts: Sequence[str | Prompt],
        vectors: Mapping[str, SteeringVector],
        confidence: float = CONFIDENT,
    ) -> list[SteeringVector | None]:
        """The vector of each text's language; None for the pivot, for languages without a vector,
        and where the router is less sure than `confidence`.
        """
        found = self.identify(model, texts)
        return [self.choose(one, vectors, confidence) for one in found]

    def choose(
        self,
        found: Identified,
        vectors: Mapping[str, SteeringVector],
        confidence: float = CONFIDENT,
    ) -> SteeringVector | None:
        """The vector for a text that `identify` said this of."""
        if found.language == self.pivot or found.confidence < confidence:
            return None
        return vectors.get(found.language)

    def check_fits(self, model: Model) -> None:
        """Raise VectorError, naming the first property that differs, where `model` is another."""
        check_model("router", self.model, model, self.weight.shape[1], other_weights=False)
        model.check_layer(self.layer)

    def save(self, path: str | Path) -> Path:
        """Write a safetensors file, whole or not at all. Raises SaveError."""
        record = {
            "languages": list(self.languages),
            "pivot": self.pivot,
            "layer": self.layer,
            "model": self.model,
            "corpus": self.corpus,
            "version": self.version,
        }
        names = ("weight", "bias", "temperatures")
        return write_tensors(path, FILE, {name: getattr(self, name) for name in names}, record)

    @classmethod
    def load(cls, path: str | Path) -> "Router":
        """Read a file that `save` wrote. Raises VectorError where it is damaged or something else."""
        tensors, record = read_tensors(path, FILE)
        try:
            return cls(
                weight=tensors["weight"],
                bias=tensors["bias"],
                temperatures=tensors["temperatures"],
                languages=tuple(record["languages"]),
                pivot=str(record["pivot"]),
                layer=int(record["layer"]),
                model=dict(record["model"]),
                corpus=dict(record.get("corpus", {})),
                version=str(record.get("version", "")),
            )
        except (KeyError, TypeError, ValueError, VectorError) as error:
            raise VectorError(f"{path} is damaged: {error}") from error


def fit_router(
    model: Model,
    texts: Mapping[str, Sequence[str]],
    pivot: str = "en",
    *,
    layer: int | None = None,
    most: int = MOST_LINES,
) -> Router:
    """Learn to tell languages apart; `texts` holds lines of each, and of the pivot.

    The lines need not be translations of each other; of more than `most`, so many are read, spread
    evenly. `layer` None means the one at a fifth of the
    depth. Raises FitError where there are too few languages or lines, and MissingExtraError
    without scikit-learn.
    """
    _check_texts(texts, pivot)
    where = model.check_layer(layer if layer is not None else round(DEPTH * model.layers))
    fitted: list[tuple[int, Tensor]] = []
    held_out: list[tuple[int, Tensor]] = []
    for place, (tag, lines) in enumerate(texts.items()):
        read = [lines[i] for i in spread(len(lines), most)]
        found = _beginnings(model, read, where, f"{tag} states")
        for line, states in enumerate(found):
            (fitted if line % HELD_OUT else held_out).append((place, states))
    temperatures = _temperatures(*_discriminant(fitted, len(texts)), held_out)
    weight, bias = _discriminant(fitted + held_out, len(texts))
    return Router(
        weight=weight,
        bias=bias,
        temperatures=temperatures,
        languages=tuple(texts),
        pivot=pivot,
        layer=where,
        model={"name": model.name, "fingerprint": model.fingerprint},
        corpus={"lines": {tag: min(most, len(lines)) for tag, lines in texts.items()}},
    )


def _temperatures(weight: Tensor, bias: Tensor, lines: Sequence[tuple[int, Tensor]]) -> Tensor:
    """For each length of beginning, the temperature at which the right languages are likeliest."""
    found = torch.ones(len(BEGINNINGS))
    for length in range(len(BEGINNINGS)):
        long_enough = [(place, states[length]) for place, states in lines if len(states) > length]
        if not long_enough:
            found[length] = found[length - 1] if length else 1.0
            continue
        right = torch.tensor([place for place, _ in long_enough])
        states = torch.stack([states for _, states in long_enough])
        scores = states @ weight.double().T + bias.double()
        losses = [torch.nn.functional.cross_entropy(scores / t, right).item() for t in TEMPERATURES]
        found[length] = TEMPERATURES[int(np.argmin(losses))]
    return found


def _check_texts(texts: Mapping[str, Sequence[str]], pivot: str) -> None:
    if len(texts) < 2 or pivot not in texts:
        raise FitError(f"a router tells languages from {pivot}: give lines of it, and of others")
    for tag, lines in texts.items():
        if len(lines) < FEWEST_LINES:
            raise FitError(
                f"{tag} has {len(lines)} lines to tell it by, and {FEWEST_LINES} are the least"
            )


def read_router(folder: str | Path) -> Router:
    """The router that lies in a folder of vectors. Raises VectorError where there is none."""
    file = Path(folder) / ROUTER_NAME
    if not file.is_file():
        raise VectorError(
            f"there is no {ROUTER_NAME} in {folder}, which tells languages apart: make one "
            "(fit --router), or name the vector of one language"
        )
    return Router.load(file)


def _discriminant(lines: Sequence[tuple[int, Tensor]], count: int) -> tuple[Tensor, Tensor]:
    """Weight [languages, hidden] and bias [languages] from lines' languages and mean states."""
    try:
        module = importlib.import_module("sklearn.discriminant_analysis")
    except ImportError as error:
        raise MissingExtraError("telling languages apart", "scikit-learn", "analysis") from error
    classifier = module.LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    classifier.fit(
        torch.cat([states for _, states in lines]).numpy(),
        np.repeat([place for place, _ in lines], [len(states) for _, states in lines]),
    )
    weight, bias = torch.tensor(classifier.coef_), torch.tensor(classifier.intercept_)
    if count == 2:  # scikit-learn gives the second against the first
        weight = torch.cat([torch.zeros_like(weight), weight])
        bias = torch.cat([torch.zeros_like(bias), bias])
    return weight.float(), bias.float()


def _beginnings(model: Model, lines: Sequence[str], layer: int, progress: str) -> list[Tensor]:
    """For each line the mean states of its first 2, 4, … tokens, and of all of them, float64
    [beginnings, hidden].

    A causal model's states of a beginning are those it has in the whole line.
    """
    found: list[Tensor] = [torch.empty(0)] * len(lines)
    for batch in capture(model, lines, [layer], progress=progress):
        for i, states, source in zip(batch.index, batch.layers[layer], batch.source, strict=True):
            sums = states[source].double().cpu().cumsum(0)
            counts = [n for n in BEGINNINGS if n < len(sums)] + [len(sums)]
            found[i] = torch.stack([sums[n - 1] / n for n in counts])
    return found


def _length(tokens: Tensor) -> Tensor:
    """Which of the lengths of beginnings a number of tokens comes up to."""
    return (torch.bucketize(tokens, torch.tensor(BEGINNINGS), right=True) - 1).clamp(min=0)
