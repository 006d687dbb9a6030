"""Results of an analysis that nobody made, with the shapes of real ones."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers
from torch import Tensor

from langsteer.analysis.layers.analyze import AnalysisOptions
from langsteer.analysis.layers.results import (
    Alignment,
    Dimension,
    Identity,
    LanguageResults,
    Latent,
    LayerResults,
    Map,
    Measures,
    Norms,
    Places,
    Steering,
    Together,
    TokenSets,
)
from langsteer.model.model import Model
from langsteer.model.opening import wrap_model
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import ParallelCorpus, builtin
from langsteer.text.languages import language_name
from tests.helpers import build_network

TWELVE = ("sw", "et", "hi", "el", "tr", "de", "zh-Hans", "ar", "vi", "ja", "es", "ta")
SENTENCES = 60


def make_results(
    tags: tuple[str, ...] = TWELVE, layers: int = 18, steered: bool = True, lenses: bool = True
) -> LayerResults:
    """Half of the languages steered at layer 8, or none."""
    rng = np.random.default_rng(0)
    depth = np.linspace(0, 1, layers)
    at = round(0.45 * (layers - 1))
    halves = tags[::2] if steered else ()
    kinds = ("logit", "tuned") if lenses else ()

    def near(curve: np.ndarray, noise: float = 0.02) -> tuple[float, ...]:
        return tuple(np.clip(curve + rng.normal(0, noise, layers), 0, 1).tolist())

    def measures(level: float, after: bool) -> Measures:
        step = np.where(np.arange(layers) >= at, 0.12 if after else 0.0, 0.0)
        hill = level * np.sin(np.pi * np.clip(depth * 1.1, 0, 1)) + step
        alignment = Alignment(
            near(0.6 + 0.3 * hill), near(0.5 + 0.3 * hill), near(hill), near(hill * 0.8),
            (math.nan, *near(0.3 + 0.6 * hill)[1:]), near(hill + 0.05), near(hill + 0.02),
            near(np.full(layers, 0.3), 0.01),
        )  # fmt: skip
        distance = 1.2 - hill - 4 * step
        identity = Identity(
            near(distance), near(1 - 5 * step), near(3 * step), near(0.5 - 0.3 * hill),
            near(0.97 - step), near(2 * step),
        )  # fmt: skip
        return Measures(
            alignment,
            identity,
            norms(level),
            {kind: latent(level, 900) for kind in kinds},
            {kind: latent(level + 0.1, 60) for kind in kinds},
        )

    def latent(level: float, items: int) -> Latent:
        pivot = np.array(near(0.5 * level * np.exp(-((depth - 0.7) ** 2) / 0.02)))
        language = np.array(near(0.8 * np.clip(depth - 0.75, 0, 1) * 3)) * (1 - pivot)
        return Latent(
            tuple(pivot.tolist()),
            tuple(language.tolist()),
            tuple((1 - pivot - language).tolist()),
            near(np.full(layers, 0.03), 0.005),
            near(np.full(layers, 0.03), 0.005),
            items,
        )

    def norms(level: float) -> Norms:
        mean = 50 * np.exp(4 * depth) * (1 + 0.1 * level)
        largest = tuple(
            tuple(
                Dimension(i, float(mean[layer] / (4 + 3 * rank)), 0.6 / (rank + 2))
                for rank, i in enumerate((443, 368, 64, 32 + layer // 6, 19 + layer // 4))
            )
            for layer in range(layers)
        )
        return Norms(
            tuple(mean.tolist()), tuple((0.8 * mean).tolist()), tuple((mean / 40).tolist()), largest
        )

    def places(angle: float, shift: Callable[[int], float]) -> Places:
        means, sentences = [], []
        for layer in range(layers):
            radius = (1.1 - 0.8 * np.sin(np.pi * layer / layers)) * shift(layer)
            mean = radius * np.array([np.cos(angle), np.sin(angle)])
            means.append((float(mean[0]), float(mean[1])))
            cloud = mean + rng.normal(0, 0.45, (SENTENCES, 2))
            sentences.append(tuple((float(x), float(y)) for x, y in cloud))
        return Places(tuple(means), tuple(sentences))

    angles = {tag: 2 * np.pi * i / (len(tags) + 1) for i, tag in enumerate((*tags, "en"))}
    before = {tag: places(angle, lambda _: 1.0) for tag, angle in angles.items()}
    after = {
        tag: places(angles[tag] + 0.2, lambda layer: 0.5 if layer >= at else 1.0) for tag in halves
    }
    levels = dict(zip(tags, np.linspace(0.35, 0.95, len(tags)), strict=True))
    languages = {
        tag: LanguageResults(
            language_name(tag),
            measures(levels[tag], False),
            measures(levels[tag], True) if tag in halves else None,
            Steering(at, 0.5, 0.04, "mean_difference", "source", f"{tag}.safetensors")
            if tag in halves
            else None,
            TokenSets(900, 700, 60, 3) if kinds else None,
        )
        for tag in tags
    }
    together = Together(near(0.97 - 0.1 * depth), near(0.5 - 0.3 * depth))
    return LayerResults(
        {"name": "gemma-3-270m", "fingerprint": {"layers": layers}},
        {"name": "builtin", "fingerprint": "abc", "lines": 203},
        "en",
        "English",
        layers,
        languages,
        norms(1.0),
        together,
        Together(near(0.8 - 0.1 * depth), near(0.4 - 0.3 * depth)) if halves else None,
        1 / (len(tags) + 1),
        Map("pca", tuple(range(SENTENCES)), near(0.6 - 0.4 * depth), 2.6, before, after),
        {"seed": 0},
        {"reading": 12.0},
        ("A note for the reader.",),
    )


TEXTS = ["Habari ya asubuhi", "Ndiyo", "Asante sana, rafiki yangu", "Karibu tena kesho"]


QUICK = AnalysisOptions(items=3, shown=5, folds=3)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(size: int, seed: int = 1) -> Tensor:
    return torch.linalg.qr(noise(size, size, seed=seed)).Q


def corpus(*tags: str, lines: int = 12) -> ParallelCorpus:
    text = builtin(*tags).lines(range(lines))
    texts = {tag: tuple(line[:40] for line in lines) for tag, lines in text.texts.items()}
    return ParallelCorpus(texts, "en", "test")


def vector(model: Model, values: Tensor, layer: int, **more: Any) -> SteeringVector:
    about = {"name": model.name, "fingerprint": model.fingerprint}
    settings: dict[str, Any] = {"language": "sw", "pivot": "en", **more}
    return SteeringVector(values, layer, model=about, method="test", **settings)


def planted(layers: int, at: int, shift: float = 6.0) -> dict[str, list[Tensor]]:
    """Two languages that differ at one layer only."""
    step = shift * torch.eye(8, dtype=torch.float64)[2]
    return {
        tag: [
            noise(60, 8, seed=10 * layer + s) + (step if s and layer == at else 0)
            for layer in range(layers)
        ]
        for s, tag in enumerate(("en", "sw"))
    }


def word_model(texts: Sequence[str]) -> Model:
    """A tiny model whose tokens are words and marks, and pieces for words that it lacks."""
    words = sorted({word for text in texts for word in text.replace(",", " ,").split()})
    pieces = ["<pad>", "<bos>", "<eos>", "<unk>", *words]
    backend = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(pieces)}, unk_token="<unk>")
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 1)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>",
        unk_token="<unk>",
    )  # fmt: skip
    return wrap_model(build_network("llama", vocab_size=max(128, len(pieces))), tokenizer)


def translators(layers: int = 4, size: int = 32, scale: float = 0.0) -> dict[str, Tensor]:
    tensors = {}
    for layer in range(layers):
        tensors[f"layers.{layer}.weight"] = scale * noise(size, size, seed=layer).float()
        tensors[f"layers.{layer}.bias"] = scale * noise(size, seed=100 + layer).float()
    return tensors
