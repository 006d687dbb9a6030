"""Results of a drift made of random states with planted displacements: no model is run."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from langsteer.analysis.drift.gains import gain_fits
from langsteer.analysis.drift.measures import Ground, States, measure, nearness, version_pairs
from langsteer.analysis.drift.results import Drift, VectorFacts
from langsteer.analysis.drift.versions import DriftOptions
from langsteer.model.model import Model
from langsteer.model.opening import wrap_model
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import ParallelCorpus, builtin
from langsteer.text.languages import language_name
from tests.helpers import build_network, character_tokenizer

TAGS = ("sw", "et", "tr", "de", "el", "hi", "id", "ja", "pt", "ru", "vi", "zh-Hans")
HIDDEN = 48


def synthetic_drift(
    languages: int = 12, layers: int = 18, lines: int = 40, draws: int = 100
) -> Drift:
    """Three versions: steered at one layer, moved towards English, and moved at random."""
    torch.manual_seed(0)
    tags = TAGS[:languages]
    scale = torch.linspace(2.0, 0.3, HIDDEN)
    meaning = torch.randn(2, lines, 1, HIDDEN)
    shift = {tag: 0.9 * torch.randn(layers, HIDDEN) for tag in tags} | {"en": torch.zeros(1)}
    fit, states = (
        {
            t: (meaning[i] + shift[t] + 0.6 * torch.randn(lines, layers, HIDDEN)) * scale
            for t in shift
        }
        for i in range(2)
    )
    layer = layers // 2
    vectors = {
        tag: SteeringVector(
            (fit["en"] - fit[tag])[:, layer].mean(0), layer, tag, "en", {}, "mean_difference"
        )
        for tag in tags
    }
    ground = Ground("en", fit, states, {"mean_difference": vectors}, layer, draws, 0)
    depth = torch.linspace(0, 1, layers)[None, :, None]

    def moved(share: float, common: float, noise: float) -> States:
        everyone = common * torch.randn(layers, HIDDEN) * depth
        found = {"en": states["en"] + everyone}
        for place, tag in enumerate(tags):
            own = -share * (1 - place / 14) * shift[tag] * scale * depth
            random = noise * (torch.randn(layers, HIDDEN) + torch.randn(lines, layers, HIDDEN))
            found[tag] = states[tag] + everyone + own + random * depth
        return found

    steered = {"en": states["en"]}
    above = (torch.arange(layers) >= layer).float()[None, :, None]
    for tag in tags:
        steered[tag] = states[tag] + 0.5 * above * vectors[tag].values
    versions = [
        measure(ground, steered, "steered: mean_difference"),
        measure(ground, moved(0.4, 1.5, 0.1), "gemma-sft"),
        measure(ground, moved(0.0, 0.5, 0.4), "gemma-dpo-with-a-long-name-of-its-own"),
    ]
    drift = Drift(
        base={"name": "gemma-3-270m", "fingerprint": {"layers": layers, "hidden_size": HIDDEN}},
        corpus={"name": "builtin", "fingerprint": "0" * 64, "lines": 2 * lines},
        pivot="en",
        pivot_name="English",
        languages={tag: language_name(tag) for tag in tags},
        layers=layers,
        layer=layer,
        fitted=lines,
        measured=lines,
        lengths={
            tag: tuple(ground.length(tag, at) for at in range(layers)) for tag in ground.states
        },
        alignment={tag: nearness(states[tag], states["en"]) for tag in tags},
        versions=tuple(one.drift for one in versions),
        pairs=version_pairs(tags, versions),
        vectors=tuple(
            VectorFacts("mean_difference", tag, layer, 0.5, 0.2, "lines kept apart") for tag in tags
        ),
        options={"draws": draws, "seed": 0},
        seconds=1.0,
    )
    gains = {"gemma-sft": {tag: 12.0 - i for i, tag in enumerate(tags)}}
    gains["gemma-dpo-with-a-long-name-of-its-own"] = {
        tag: float((7 * i) % 5) - 2 for i, tag in enumerate(tags)
    }
    return replace(drift, gains=gain_fits(drift, {"SIB-200": gains}))


LAYERS, LINES = 3, 30


FEW_TAGS = ("sw", "et", "tr", "de")


QUICK = DriftOptions(draws=60, lines=40)


def made_ground(vectors: Mapping[str, Mapping[str, SteeringVector]] | None = None) -> Ground:
    generator = torch.Generator().manual_seed(0)
    meaning = torch.randn(2, LINES, 1, HIDDEN, generator=generator)
    scale = torch.linspace(3, 0.3, HIDDEN)
    shifts = {
        tag: torch.randn(LAYERS, HIDDEN, generator=generator) * (tag != "en")
        for tag in (*FEW_TAGS, "en")
    }
    fitted, states = (
        {
            tag: scale
            * (meaning[i] + shift + 0.3 * torch.randn(LINES, LAYERS, HIDDEN, generator=generator))
            for tag, shift in shifts.items()
        }
        for i in range(2)
    )
    return Ground("en", fitted, states, vectors or {}, 1, 200, 0)


def moved(ground: Ground, **by_tag: Tensor) -> States:
    """The base's states, with displacements, each broadcast to [lines, layers, hidden], added."""
    return {tag: found + by_tag.get(tag, torch.zeros(1)) for tag, found in ground.states.items()}


def at(layer: int, vector: Tensor) -> Tensor:
    found = torch.zeros(LAYERS, HIDDEN)
    found[layer] = vector
    return found


def corpus_of(*tags: str) -> ParallelCorpus:
    return builtin(*(tags or ("sw", "et", "tr")))


def shifted_gpt2(layer: int, shift: Tensor | None) -> Model:
    """A tiny GPT-2 whose block `layer` adds a vector to every token."""
    network = build_network("gpt2", max_position_embeddings=512)
    if shift is not None:
        with torch.no_grad():
            network.transformer.h[layer].mlp.c_proj.bias += shift
    return wrap_model(network, character_tokenizer(), name="shifted")
