"""Which language a text is in, so which vector: from its hidden states at an early layer.

Linear discriminant analysis with shrinkage: the language whose mean is nearest, in the metric of the scatter
within languages, which all share. The states are averaged over a text's tokens. It is fitted on beginnings of
lines as well as on whole ones, so that short texts are told apart too.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from langsteer.capture import capture, sentence_states
from langsteer.errors import FitError, MissingExtraError, VectorError
from langsteer.identify import Identified
from langsteer.models import Model
from langsteer.tensor_file import FileKind, read_tensors, write_tensors
from langsteer.tokens import Prompt
from langsteer.vector import ROUTER_NAME, SteeringVector, check_model
from langsteer.version import __version__

FILE = FileKind("langsteer router", 1, "router")

DEPTH = 0.2
BEGINNINGS = (2, 4, 8, 16)  # tokens
CONFIDENT = 0.9
FEWEST_LINES = 20
MOST_LINES = 100


@dataclass(frozen=True, eq=False)
class Router:
    """Tells a text's language from its mean hidden state x at a layer: softmax(x · weightᵀ + bias).

    `weight` is [languages, hidden] and `bias` [languages]. `model` holds the name and fingerprint
    of the model whose states they read, `corpus` what text they were fitted on.
    """

    weight: Tensor
    bias: Tensor
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
        if not bool(torch.isfinite(self.weight).all() and torch.isfinite(self.bias).all()):
            raise VectorError("the router holds NaN or infinity")

    def identify(self, model: Model, texts: Sequence[str | Prompt]) -> list[Identified]:
        """The likeliest language of each text's source, among those that were fitted."""
        self.check_fits(model)
        states = sentence_states(model, texts, [self.layer])[:, 0].double()
        chances = torch.softmax(states @ self.weight.double().T + self.bias.double(), -1)
        best = chances.max(-1)
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
        return [
            vectors.get(found.language)
            if found.language != self.pivot and found.confidence >= confidence
            else None
            for found in self.identify(model, texts)
        ]

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
        return write_tensors(path, FILE, {"weight": self.weight, "bias": self.bias}, record)

    @classmethod
    def load(cls, path: str | Path) -> "Router":
        """Read a file that `save` wrote. Raises VectorError where it is damaged or something else."""
        tensors, record = read_tensors(path, FILE)
        try:
            return cls(
                weight=tensors["weight"],
                bias=tensors["bias"],
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
    states, labels = [], []
    for place, (tag, lines) in enumerate(texts.items()):
        count = min(most, len(lines))
        read = [lines[i * len(lines) // count] for i in range(count)]
        found = _beginnings(model, read, where, f"{tag} states")
        states.append(found)
        labels += [place] * len(found)
    classifier = _discriminant()
    classifier.fit(torch.cat(states).numpy(), np.array(labels))
    weight, bias = _per_language(classifier, len(texts))
    return Router(
        weight=weight,
        bias=bias,
        languages=tuple(texts),
        pivot=pivot,
        layer=where,
        model={"name": model.name, "fingerprint": model.fingerprint},
        corpus={"lines": {tag: min(most, len(lines)) for tag, lines in texts.items()}},
    )


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


def _per_language(classifier: Any, count: int) -> tuple[Tensor, Tensor]:
    """Weight [languages, hidden] and bias [languages]; of two, the first's are zero."""
    weight, bias = torch.tensor(classifier.coef_), torch.tensor(classifier.intercept_)
    if count == 2:
        weight = torch.cat([torch.zeros_like(weight), weight])
        bias = torch.cat([torch.zeros_like(bias), bias])
    return weight.float(), bias.float()


def _discriminant() -> Any:
    try:
        module = importlib.import_module("sklearn.discriminant_analysis")
    except ImportError as error:
        raise MissingExtraError("telling languages apart", "scikit-learn", "analysis") from error
    return module.LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")


def _beginnings(model: Model, lines: Sequence[str], layer: int, progress: str) -> Tensor:
    """Mean states of each line and of its first tokens, float64 [lines and beginnings, hidden].

    A causal model's states of a beginning are those it has in the whole line.
    """
    found = []
    for batch in capture(model, lines, [layer], progress=progress):
        for states, source in zip(batch.layers[layer], batch.source, strict=True):
            own = states[source].double().cpu()
            sums = own.cumsum(0)
            found += [sums[n - 1] / n for n in (*BEGINNINGS, len(own)) if n <= len(own)]
    return torch.stack(found)
