"""Which language a text is in, so which vector: from its hidden states at an early layer.

Linear discriminant analysis with shrinkage: the language whose mean is nearest, in the metric of the scatter
within languages, which all share. The states are averaged over a text's tokens. How sure it may be depends on
how long the text is. A text that is farther from the mean of every language than texts of these languages are is in
none of them (Lee et al., arXiv 1807.03888). `langsteer.fitting.router` says how both are learned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from langsteer.errors import VectorError
from langsteer.model.model import Model
from langsteer.model.tokens import Text, Tokens, encode
from langsteer.states.capture import sentence_states
from langsteer.steering.change import Change, check_finite, check_model
from langsteer.steering.files import ROUTER_NAME, local_path, router_file
from langsteer.steering.sharing import Shareable
from langsteer.storage.tensors import FileKind, read_tensors, write_tensors
from langsteer.text.identify import Identified
from langsteer.text.languages import UNDETERMINED, canonical
from langsteer.version import __version__

FILE = FileKind("langsteer router", 1, "router")
BEGINNINGS = (2, 4, 8, 16)  # tokens
LENGTHS = (*BEGINNINGS, 32)  # tokens, of bounds
CONFIDENT = 0.9


@dataclass(frozen=True, eq=False)
class Bounds:
    """How far texts of a language lie from its mean, in the metric of the scatter within languages.

    The distance of a mean state x from language k is |x · directionsᵀ − centres[k]|: `directions` is
    [directions, hidden], `centres` [languages, directions]; `farthest` holds the largest distance
    of texts of 2, 4, 8 and 16 tokens, and of 32 or more; of numbers between, what lies between.
    """

    directions: Tensor
    centres: Tensor
    farthest: Tensor

    def distances(self, states: Tensor, languages: Tensor) -> Tensor:
        """Of states [texts, hidden], each from the language at its place [texts]."""
        places = states.double() @ self.directions.double().T
        return (places - self.centres.double()[languages]).norm(dim=-1)

    def allowed(self, tokens: Tensor) -> Tensor:
        """How far texts of so many tokens [texts] may lie."""
        places = torch.log2(tokens.clamp(LENGTHS[0], LENGTHS[-1]).double()) - 1
        below = places.floor().long()
        above = (below + 1).clamp(max=len(LENGTHS) - 1)
        return torch.lerp(
            self.farthest[below].double(), self.farthest[above].double(), places - below
        )

    def check(self, languages: int, hidden: int) -> None:
        """Raise VectorError where the numbers are not of so many languages and so wide states."""
        count = len(self.directions)
        shapes = [tuple(t.shape) for t in (self.directions, self.centres, self.farthest)]
        if shapes != [(count, hidden), (languages, count), (len(LENGTHS),)]:
            raise VectorError("the router's bounds and its languages do not agree")
        check_finite("router", self.directions, self.centres, self.farthest)

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Bounds | None":
        """Those in a file; None in one of before there were any."""
        names = [part.name for part in fields(cls)]
        return cls(*(tensors[name] for name in names)) if names[0] in tensors else None


@dataclass(frozen=True, eq=False)
class Router(Shareable):
    """Tells a text's language from its mean hidden state x at a layer.

    The chances are softmax((x · weightᵀ + bias) ÷ t): `weight` is [languages, hidden], `bias`
    [languages], and `temperatures` holds the t of texts of up to 3, 7 and 15 tokens, and of more.
    `model` holds the name and fingerprint of the model whose states they read, `corpus` what text
    they were fitted on. `bounds` says how far from its language's mean a text may lie; without, as
    in files of earlier versions, it may lie anywhere.
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
    bounds: Bounds | None = None

    def __post_init__(self) -> None:
        count = len(self.languages)
        if self.weight.dim() != 2 or self.weight.shape[0] != count or self.bias.shape != (count,):
            raise VectorError("the router's numbers and its languages do not agree")
        if self.temperatures.shape != (len(BEGINNINGS),):
            raise VectorError(f"the router has not {len(BEGINNINGS)} temperatures")
        check_finite("router", self.weight, self.bias, self.temperatures)
        if self.bounds is not None:
            self.bounds.check(*self.weight.shape)

    def identify(self, model: Model, texts: Sequence[Text]) -> list[Identified]:
        """The likeliest language of each text's source, among those that were fitted; `und`, with
        no confidence, for a text that is far from them all, or empty.

        The source is read by itself, as it was when the router was fitted, without what a prompt has around it.
        """
        own = [text if isinstance(text, str) else text.source for text in texts]
        told = [Identified(UNDETERMINED, 0.0)] * len(own)
        there = [i for i, text in enumerate(own) if text.strip()]
        if there:
            read = self.identify_tokens(model, encode(model, [own[i] for i in there]))
            for i, identified in zip(there, read, strict=True):
                told[i] = identified
        return told

    def identify_tokens(self, model: Model, texts: Sequence[Tokens]) -> list[Identified]:
        """`identify`, of texts that are tokens already."""
        self.check_fits(model)
        states = sentence_states(model, texts, [self.layer])[:, 0].double()
        return self.identify_states(states, torch.tensor([sum(text.source) for text in texts]))

    def identify_states(self, states: Tensor, counts: Tensor) -> list[Identified]:
        """`identify`, of mean states [texts, hidden], of so many tokens each [texts]."""
        states = states.double()
        scores = states @ self.weight.double().T + self.bias.double()
        lengths = length_class(counts)
        best = torch.softmax(scores / self.temperatures[lengths, None], -1).max(-1)
        far = torch.zeros(len(states), dtype=torch.bool)
        if self.bounds is not None:
            far = self.bounds.distances(states, best.indices) > self.bounds.allowed(counts)
        return [
            Identified(UNDETERMINED, 0.0)
            if is_far
            else Identified(self.languages[int(place)], float(chance))
            for place, chance, is_far in zip(best.indices, best.values, far, strict=True)
        ]

    def choose(
        self,
        identified: Identified,
        changes: Mapping[str, Change],
        confidence: float = CONFIDENT,
    ) -> Change | None:
        """The change for a text that `identify` said this of: that of its language.

        None for the pivot, for languages without one, for a text that is in none that the router
        knows, and where it is less sure than `confidence`.
        """
        if identified.language == self.pivot or identified.confidence < confidence:
            return None
        return changes.get(identified.language)

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
        tensors = {name: getattr(self, name) for name in names}
        return write_tensors(
            path, FILE, tensors | (vars(self.bounds) if self.bounds else {}), record
        )

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file that `save` wrote, or that of a folder or a repository of the hub.

        Raises VectorError where it is missing, damaged, or something else.
        """
        path = router_file(path)
        tensors, record = read_tensors(path, FILE)
        try:
            return cls(
                weight=tensors["weight"],
                bias=tensors["bias"],
                temperatures=tensors["temperatures"],
                languages=tuple(map(canonical, record["languages"])),
                pivot=canonical(record["pivot"]),
                layer=int(record["layer"]),
                model=dict(record["model"]),
                corpus=dict(record.get("corpus", {})),
                version=str(record.get("version", "")),
                bounds=Bounds.of(tensors),
            )
        except (KeyError, TypeError, ValueError, VectorError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else error
            raise VectorError(f"{path} is damaged: {reason}") from error


def read_router(folder: str | Path) -> Router:
    """The router that lies in a folder of vectors. Raises VectorError where there is none."""
    file = local_path(folder) / ROUTER_NAME
    if not file.is_file():
        raise VectorError(
            f"there is no {ROUTER_NAME} in {folder}, which tells languages apart: make one "
            "(fit --router), or name the vector of one language"
        )
    return Router.load(file)


def length_class(tokens: Tensor) -> Tensor:
    """Which of the lengths of beginnings a number of tokens comes up to."""
    return (torch.bucketize(tokens, torch.tensor(BEGINNINGS), right=True) - 1).clamp(min=0)
