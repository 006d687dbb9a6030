"""How an engine's log-probabilities compare with transformers', and when that is the same change.

At each place the engine names its likeliest tokens S. With p of transformers and q of the engine, all else one token:

    difference = max |log p − log q| over S        divergence = Σ p (log p − log q)

An engine rounds in its own way, in a quantised file so much that it hides what a vector does. So what is judged is how
steering moves each: with m of log p and n of log q, from unsteered to steered,

    share = Σ m n ÷ Σ m²        rest = √(Σ (n − m)² ÷ Σ m²)        noise = √(Σ (log q − log p)² ÷ Σ m²), unsteered

A share of 1 and no rest but what the noise explains is the same change; an engine without the vector has a share of 0
and a rest of 1.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from langsteer.engines.llama_cpp import Place

LEAST_REST = 1e-6  # probability below which a sum over float32 says nothing


@dataclass(frozen=True)
class Difference:
    """An engine against transformers: the largest difference of log-probabilities, the mean
    divergence (both in nats), and at how many places another token is the likeliest.
    """

    largest: float
    divergence: float
    tokens: int


CLOSE, TIMES = 0.05, 2.0  # a rest may be so large, and so many times the noise more
MOST_NOISE = 0.4
LEAST_EFFECT = 1e-5  # nats a token
NOT_THERE = 0.1


@dataclass(frozen=True)
class Checked:
    """The vector of one language in an engine, at `places` places of its texts.

    `effect` is how far steering moves transformers, and `fitted` how far the change as it was
    fitted lies from that of the export, which acts on every token: divergences, in nats a token.
    """

    language: str
    name: str
    places: int
    steered: Difference
    unsteered: Difference
    effect: float
    fitted: float
    share: float
    rest: float
    noise: float

    def problem(self) -> str | None:
        """Why this is not the same change, in words; None where it is."""
        if not all(math.isfinite(x) for x in (self.steered.largest, self.effect, self.rest)):
            return "its numbers are not finite"
        if self.effect < LEAST_EFFECT:
            return "the vector does next to nothing to these texts, so nothing can be told"
        if abs(self.share) < NOT_THERE:
            return "it answers as if the vector were not there"
        if self.noise > MOST_NOISE:
            return (
                f"it differs without the vector too, by {self.noise:.2f} times what the vector does, so "
                "nothing can be told: take a file that is quantised less"
            )
        if self.rest <= CLOSE + TIMES * self.noise:
            return None
        return (
            f"it does {self.share:.2f} times what the vector does, and something else besides that is "
            f"{self.rest:.2f} times as large"
        )

    def record(self) -> dict[str, Any]:
        return {**asdict(self), "problem": self.problem()}


@dataclass(frozen=True, eq=False)
class Ours:
    """transformers' log-probabilities [places, vocabulary] of a text: with the vector as the engine
    adds it, without one, and as langsteer adds it.
    """

    steered: Tensor
    plain: Tensor
    fitted: Tensor


@dataclass(frozen=True)
class Theirs:
    """What the engine says at the same places, with the vector and without."""

    steered: Sequence[Place]
    plain: Sequence[Place]


def compare(language: str, name: str, texts: Sequence[tuple[Ours, Theirs]]) -> Checked:
    """What holds over the places of all texts."""
    places = [len(theirs.steered) for _, theirs in texts]
    total = sum(places)
    share, rest, noise = _moves(texts)
    return Checked(
        language=language,
        name=name,
        places=total,
        steered=_difference([(ours.steered, theirs.steered) for ours, theirs in texts]),
        unsteered=_difference([(ours.plain, theirs.plain) for ours, theirs in texts]),
        effect=sum(_moved(ours.steered, ours.plain) for ours, _ in texts) / total,
        fitted=sum(_moved(ours.fitted, ours.steered) for ours, _ in texts) / total,
        share=share,
        rest=rest,
        noise=noise,
    )


def _difference(texts: Sequence[tuple[Tensor, Sequence[Place]]]) -> Difference:
    largest, divergence, tokens, count = 0.0, 0.0, 0, 0
    for ours, theirs in texts:
        for logprobs, place in zip(ours, theirs, strict=True):
            p, q = _paired(logprobs, place)
            largest = max(largest, float((p - q).abs().max()))
            divergence += _divergence(p, q)
            tokens += int(logprobs.argmax()) != max(place.logprobs, key=place.logprobs.__getitem__)
            count += 1
    return Difference(largest, divergence / max(1, count), tokens)


def _paired(logprobs: Tensor, place: Place) -> tuple[Tensor, Tensor]:
    """log p and log q of the tokens that the engine names: float64 [tokens]."""
    ids = torch.tensor(list(place.logprobs), device=logprobs.device)
    theirs = torch.tensor(list(place.logprobs.values()), dtype=torch.float64)
    return logprobs[ids].double().cpu(), theirs


def _divergence(p: Tensor, q: Tensor) -> float:
    """Kullback-Leibler divergence, all tokens that are not named being one."""
    rest = [max(LEAST_REST, 1 - float(x.exp().sum())) for x in (p, q)]
    return float((p.exp() * (p - q)).sum()) + rest[0] * (math.log(rest[0]) - math.log(rest[1]))


def _moved(ours: Tensor, other: Tensor) -> float:
    """Kullback-Leibler divergence of log-probabilities [places, vocabulary], summed over places."""
    return float((ours.double().exp() * (ours.double() - other.double())).sum())


def _moves(texts: Sequence[tuple[Ours, Theirs]]) -> tuple[float, float, float]:
    """Share, rest and noise, over tokens that the engine names both steered and not."""
    product = square = rest = noise = 0.0
    for ours, theirs in texts:
        rows = zip(ours.steered, ours.plain, theirs.steered, theirs.plain, strict=True)
        for our_steered, our_plain, their_steered, their_plain in rows:
            ids = [i for i in their_steered.logprobs if i in their_plain.logprobs]
            steered, plain = (_listed(place, ids) for place in (their_steered, their_plain))
            moved = (our_steered[ids] - our_plain[ids]).double().cpu()
            product += float(moved @ (steered - plain))
            square += float(moved @ moved)
            rest += float((steered - plain - moved).square().sum())
            noise += float((plain - our_plain[ids].double().cpu()).square().sum())
    if not square:
        return math.nan, math.nan, math.nan
    return product / square, math.sqrt(rest / square), math.sqrt(noise / square)


def _listed(place: Place, ids: Sequence[int]) -> Tensor:
    return torch.tensor([place.logprobs[i] for i in ids], dtype=torch.float64)
