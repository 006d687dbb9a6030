"""Mean differences at all layers, of many languages, against the libraries that fit vectors from pairs.

Each is given the pairs language by language, as its own examples do, in batches of its default size.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

import langsteer
from benchmarks.peers.part import OURS, Part, Peer, library
from langsteer.fitting import mean_difference, principal_component
from langsteer.fitting.options import PooledOptions
from langsteer.fitting.readings import PivotReadings
from langsteer.model.model import Model
from langsteer.model.tokens import batches, encode, token_budget
from langsteer.text.corpus import ParallelCorpus

BATCH = 32  # the default of repeng and dialz
SINGLE = "steering-vectors, line by line"
BATCHES = {"steering-vectors": 8, SINGLE: 1}  # 1 is its default
PLAIN = "transformers"
DECODER = "transformers, without the head"
Vectors = dict[str, dict[int, Tensor]]  # by language and layer, [hidden]


@dataclass(frozen=True, eq=False)
class Case:
    model: Model
    corpus: ParallelCorpus

    def pairs(self, tag: str) -> list[tuple[str, str]]:
        """English lines and their translations."""
        texts = self.corpus.texts
        return list(zip(texts[self.corpus.pivot], texts[tag], strict=True))


def make(model: Model, settings: Mapping[str, Any]) -> Case:
    builtin = langsteer.builtin()
    corpus = builtin.only(*builtin.languages[: settings["languages"]])
    count, lines = settings["pairs"], corpus.texts[corpus.pivot]
    index = [i % len(corpus) for i in range(count)]
    if settings.get(
        "of_length"
    ):  # of the corpus's lines, those about this share of the way up in length
        order = sorted(range(len(lines)), key=lambda i: len(lines[i]))
        start = int(settings["of_length"] * len(lines))
        index = order[start : start + count]
    return Case(model, corpus.lines(index))


def ours(
    case: Case, pool: str = "last", fit: Callable[..., Any] = mean_difference.fit_layers
) -> Vectors:
    """All layers in one pass over each text; English is read once for all languages."""
    readings = PivotReadings(case.model, case.corpus)
    options, layers = PooledOptions(pool=pool), range(case.model.layers)
    return {
        tag: {
            v.layer: v.values
            for v in fit(case.model, case.corpus.only(tag), layers, options, readings)
        }
        for tag in case.corpus.languages
    }


def ours_of_length_one(case: Case) -> Vectors:
    """Principal components, of which repeng gives the direction only."""
    fitted = ours(case, "last", principal_component.fit_layers)
    return {tag: {k: v / v.norm() for k, v in by.items()} for tag, by in fitted.items()}


def by_steering_vectors(case: Case, batch_size: int = BATCHES["steering-vectors"]) -> Vectors:
    train = library("steering_vectors").train_steering_vector
    model = case.model
    return {
        tag: train(
            model.network, model.tokenizer, case.pairs(tag), batch_size=batch_size
        ).layer_activations
        for tag in case.corpus.languages
    }


def by_repeng(case: Case) -> Vectors:
    """Pairs less their midpoints, whose first component is that of the differences, not centred."""
    repeng = library("repeng")
    vectors = {}
    for tag in case.corpus.languages:
        entries = [repeng.DatasetEntry(*pair) for pair in case.pairs(tag)]
        fitted = repeng.ControlVector.train(
            case.model.network, case.model.tokenizer, entries, method="pca_center"
        )
        vectors[tag] = {k: torch.from_numpy(v) for k, v in fitted.directions.items()}
    return vectors


def by_dialz(case: Case) -> Vectors:
    """Its reader, on the network that is open: its own model class loads in float16 and in no other way."""
    read = library("dialz.vector").read_representations
    vectors = {}
    for tag in case.corpus.languages:
        pairs = library("dialz.dataset").Dataset()
        for pair in case.pairs(tag):
            pairs.add_entry(*pair)
        fitted = read(case.model.network, case.model.tokenizer, pairs, method="mean_diff")
        vectors[tag] = {k: torch.from_numpy(v) for k, v in fitted.items()}
    return vectors


def by_transformers(case: Case, network: Callable[..., Any] | None = None) -> Vectors:
    """As one writes it by hand: `output_hidden_states`, the mean over a text's tokens, summed up."""
    network = network or case.model.network
    return {
        tag: dict(enumerate(_hand_mean(case, network, here=False) - _hand_mean(case, network, tag)))
        for tag in case.corpus.languages
    }


def _hand_mean(case: Case, network: Any, tag: str = "", here: bool = True) -> Tensor:
    """The mean over the lines of a language, or of the pivot: [layers, hidden]."""
    lines = case.corpus.texts[tag if here else case.corpus.pivot]
    total = torch.zeros(case.model.layers, case.model.hidden_size)
    for start in range(0, len(lines), BATCH):
        batch = case.model.tokenizer(
            list(lines[start : start + BATCH]), return_tensors="pt", padding=True
        )
        with torch.inference_mode():
            states = network(**batch, output_hidden_states=True).hidden_states[1:]
        weights = batch["attention_mask"].float()
        weights[batch["input_ids"] == case.model.tokenizer.bos_token_id] = 0
        weights /= weights.sum(1, keepdim=True)
        total += torch.stack([torch.einsum("bth,bt->h", layer, weights) for layer in states])
    return total / len(lines)


def compare(theirs: Vectors, own: Vectors) -> dict[str, Any]:
    """The least cosine and the largest relative difference; of the last layer apart, which some read after the norm."""
    last = max(next(iter(own.values())))
    pairs = [
        (layer, v.float().cpu(), own[tag][layer].float())
        for tag, vectors in theirs.items()
        for layer, v in vectors.items()
    ]
    return {
        "layers": len(next(iter(theirs.values()))),
        **_apart([(a, b) for layer, a, b in pairs if layer != last], ""),
        **_apart([(a, b) for layer, a, b in pairs if layer == last], "last_"),
    }


def _apart(pairs: Sequence[tuple[Tensor, Tensor]], prefix: str) -> dict[str, float]:
    if not pairs:
        return {}
    cosines = [float(torch.cosine_similarity(a.double(), b.double(), dim=0)) for a, b in pairs]
    return {
        f"{prefix}cosine": round(min(cosines), 6),
        f"{prefix}difference": float(
            f"{max(float((a - b).norm() / b.norm()) for a, b in pairs):.2g}"
        ),
    }


def operations(case: Case, name: str) -> int:
    """Multiplications and additions with weights, from the tokens of each batch with its padding."""
    model, corpus = case.model, case.corpus
    blocks = sum(p.numel() for block in model.blocks for p in block.parameters() if p.dim() > 1)
    head = model.network.get_output_embeddings().weight.numel()
    encoded = {tag: encode(model, lines) for tag, lines in corpus.texts.items()}
    if name == OURS:
        budget = token_budget(model)
        read = [
            [lines[i] for i in i_s] for lines in encoded.values() for i_s in batches(lines, budget)
        ]
        return 2 * blocks * sum(map(padded, read))
    weights = blocks + (0 if name == DECODER else head)
    total = 0
    for tag in corpus.languages:
        there, here = encoded[corpus.pivot], encoded[tag]
        total += sum(map(padded, _their_batches(name, there, here)))
    return 2 * weights * total


def _their_batches(
    name: str, there: Sequence[Sized], here: Sequence[Sized]
) -> Iterator[Sequence[Sized]]:
    if name in ("repeng", "dialz"):  # pairs side by side, in the order of the lines
        return split([t for pair in zip(there, here, strict=True) for t in pair], BATCH)
    size = BATCHES.get(name, BATCH)
    return itertools.chain(split(there, size), split(here, size))


def split(texts: Sequence[Sized], size: int) -> Iterator[Sequence[Sized]]:
    return (texts[start : start + size] for start in range(0, len(texts), size))


def padded(texts: Sequence[Sized]) -> int:
    """How many tokens a batch holds with its padding."""
    return len(texts) * max(map(len, texts))


PEERS = {
    "steering-vectors": Peer("mean difference of last tokens", by_steering_vectors),
    SINGLE: Peer("the same", lambda case: by_steering_vectors(case, 1)),
    PLAIN: Peer(
        "mean difference of means over tokens, by hand",
        by_transformers,
        lambda case: ours(case, "mean"),
    ),
    "repeng": Peer(
        "first principal component of differences of last tokens, of length 1; none of layer 0",
        by_repeng,
        ours_of_length_one,
    ),
    DECODER: Peer(
        "the same, on the decoder alone",
        lambda case: by_transformers(case, case.model.decoder),
        lambda case: ours(case, "mean"),
    ),
    "dialz": Peer(
        "mean difference of last tokens, read as repeng does; none of layer 0", by_dialz, rounds=1
    ),
    "EasySteer": Peer(
        "",
        cannot="the package of this name on PyPI is empty; the library is a fork of vLLM that needs a GPU",
    ),
}
PARTS = {
    "fitting": Part(
        "mean differences",
        {"languages": 14, "pairs": 4, "of_length": 0.3},
        make,
        ours,
        PEERS,
        compare,
        memory={"languages": 1, "pairs": 16, "of_length": None},
        counted={"pairs": 500, "of_length": None},
        operations=operations,
    ),
    "fitting-16": Part(
        "16 pairs, of all lengths",
        {"languages": 14, "pairs": 16, "of_length": None},
        make,
        ours,
        {name: replace(PEERS[name], rounds=1) for name in ("steering-vectors", PLAIN, "repeng")},
        compare,
        memory={"languages": 1, "pairs": 16, "of_length": None},
        counted={"pairs": 500, "of_length": None},
        operations=operations,
    ),
}
