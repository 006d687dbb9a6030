"""Greedy generation under a vector at every token, with as many new tokens for all, by the size of a batch.

langsteer's batches hold several languages, each row under the vector of its own; a peer's vector acts on all rows, so
its batches, and those that langsteer is then compared with, are in one language and under one vector.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

import langsteer
from benchmarks.peers.part import Part, Peer, library
from langsteer.model.model import Model
from langsteer.steering.vector import SteeringVector

BATCHES = (1, 8, 32)
BEGINNING = 40  # characters of a line that are a prompt
MIXED = ("sw", "tr", "el", "hi")


@dataclass(frozen=True, eq=False)
class Case:
    """`mixed` has rows of several languages, and `vectors` one a language; `single` rows of the first."""

    model: Model
    mixed: tuple[list[str], list[str]]
    single: list[str]
    vectors: dict[str, SteeringVector]
    new_tokens: int

    @property
    def options(self) -> dict[str, Any]:
        number = self.new_tokens
        return {"max_new_tokens": number, "min_new_tokens": number, "do_sample": False}

    def plain(self, network: Any, prompts: list[str]) -> list[str]:
        """transformers' own generation, of whatever has a `generate`."""
        tokenizer = self.model.tokenizer
        batch = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
        with torch.inference_mode():
            ids = network.generate(**batch, **self.options)
        width = batch["input_ids"].shape[1]
        return list(tokenizer.batch_decode(ids[:, width:], skip_special_tokens=True))


def make(model: Model, settings: Mapping[str, Any]) -> Case:
    corpus = langsteer.builtin(*MIXED)
    rows = settings["rows"]
    tags = [MIXED[i % len(MIXED)] for i in range(rows)]
    begun = {tag: [line[:BEGINNING] for line in corpus.texts[tag]] for tag in MIXED}
    prompts = [begun[tag][i] for i, tag in enumerate(tags)]
    owner = {"name": model.name, "fingerprint": model.fingerprint}
    layer = model.layers // 2
    vectors = {
        tag: SteeringVector(
            _direction(model, seed), layer, tag, "en", owner, "random", positions="all"
        )
        for seed, tag in enumerate(MIXED)
    }
    single = begun[MIXED[0]][:rows]
    return Case(model, (prompts, tags), single, vectors, settings["new_tokens"])


def _direction(model: Model, seed: int) -> torch.Tensor:
    """As long as a state is at the beginning, which is little at the layer where it is added."""
    drawn = torch.randn(model.hidden_size, generator=torch.Generator().manual_seed(seed))
    return drawn / drawn.norm() * 10


def ours_mixed(case: Case) -> list[str]:
    prompts, tags = case.mixed
    return langsteer.generate(
        case.model, prompts, [case.vectors[tag] for tag in tags], **case.options
    )


def ours_single(case: Case) -> list[str]:
    return langsteer.generate(case.model, case.single, case.vectors[MIXED[0]], **case.options)


def by_transformers(case: Case) -> list[str]:
    """Without a vector."""
    return case.plain(case.model.network, case.mixed[0])


def by_repeng(case: Case) -> list[str]:
    repeng, vector = library("repeng"), case.vectors[MIXED[0]]
    model = repeng.ControlModel(case.model.network, [vector.layer])
    try:
        control = repeng.ControlVector("", {vector.layer: vector.values.numpy()})
        model.set_control(control, vector.strength)
        return case.plain(model, case.single)
    finally:
        model.unwrap()


def by_steering_vectors(case: Case) -> list[str]:
    vector = case.vectors[MIXED[0]]
    steering = library("steering_vectors").SteeringVector({vector.layer: vector.values})
    with steering.apply(case.model.network):
        return case.plain(case.model.network, case.single)


def compare(theirs: list[str], own: list[str]) -> dict[str, Any]:
    same = sum(a == b for a, b in zip(theirs, own, strict=True))
    return {"same_rows": same, "rows": len(own)}


PEERS = {
    "transformers": Peer("unsteered; ours steers mixed languages", by_transformers),
    "repeng": Peer("one language, one vector", by_repeng, ours_single),
    "steering-vectors": Peer("one language, one vector", by_steering_vectors, ours_single),
}
PARTS = {
    f"generation-{rows}": Part(
        f"{rows} row{'s' * (rows > 1)}",
        {"rows": rows, "new_tokens": 16},
        make,
        ours_mixed,
        PEERS,
        compare,
    )
    for rows in BATCHES
}
