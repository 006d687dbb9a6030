"""A benchmark under every layer and strength of a grid: all together, which share what lies below, and one by one.

The items are topics of the built-in corpus, with an English frame and seven answers of one token. All tokens but the
first are steered. The peer reads each prompt once under each change, and its head at the last token only: it scores
as few tokens as can be, which takes knowing how.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from torch import Tensor

import langsteer
from benchmarks.harness_speed import steered_model
from benchmarks.peers.part import Part, Peer, library
from langsteer.evaluation.demo import AFTER, BEFORE, TOPICS
from langsteer.evaluation.harness.choices import choice_scores
from langsteer.evaluation.harness.question import Question
from langsteer.evaluation.harness.scoring import score
from langsteer.model.model import Model
from langsteer.model.tokens import Prompt, Tokens, encode, encode_suffix
from langsteer.steering.vector import SteeringVector

LANGUAGE = "sw"
LENGTH = 20  # of a vector


@dataclass(frozen=True, eq=False)
class Case:
    model: Model
    prompts: list[Prompt]
    answers: tuple[str, ...]
    vectors: list[SteeringVector]


def make(model: Model, settings: Mapping[str, Any]) -> Case:
    lines = langsteer.builtin(LANGUAGE).some(settings["items"]).texts[LANGUAGE]
    prompts = [Prompt(line, BEFORE, AFTER) for line in lines]
    places = [(depth + 0.5) / settings["layers"] for depth in range(settings["layers"])]
    vectors = [
        _vector(model, int(place * model.layers), strength)
        for place in places
        for strength in settings["strengths"]
    ]
    return Case(model, prompts, tuple(TOPICS.values()), vectors)


def _vector(model: Model, layer: int, strength: float) -> SteeringVector:
    drawn = torch.randn(model.hidden_size, generator=torch.Generator().manual_seed(layer))
    owner = {"name": model.name, "fingerprint": model.fingerprint}
    values = drawn / drawn.norm() * LENGTH
    return SteeringVector(
        values, layer, LANGUAGE, "en", owner, "random", strength=strength, positions="all"
    )


def ours(case: Case) -> list[Tensor]:
    """Under each vector the answers' log-probabilities, [items, answers]."""
    return choice_scores(case.model, case.prompts, case.answers, case.vectors)


def one_by_one(case: Case) -> list[Tensor]:
    return [
        choice_scores(case.model, case.prompts, case.answers, [vector])[0]
        for vector in case.vectors
    ]


def by_steering_vectors(case: Case) -> list[Tensor]:
    """One prompt at a time, since it counts tokens from a batch's first column, be it padding or not."""
    kind = library("steering_vectors").SteeringVector
    model = case.model
    answers = [encode_suffix(model, answer) for answer in case.answers]
    if any(len(answer) != 1 for answer in answers):
        raise ValueError("an answer is of several tokens: this scores single ones")
    ids = torch.tensor(answers)[:, 0]
    results = []
    for vector in case.vectors:
        steering = kind({vector.layer: vector.values})
        with steering.apply(model.network, multiplier=vector.strength, min_token_index=1):
            rows = [_last_logits(model, prompt)[ids] for prompt in case.prompts]
        results.append(torch.stack(rows))
    return results


def _last_logits(model: Model, prompt: Prompt) -> Tensor:
    """Log-probabilities of the next token [vocabulary]."""
    batch = model.tokenizer(str(prompt), return_tensors="pt")
    with torch.inference_mode():
        logits = model.network(**batch, logits_to_keep=1).logits[0, -1]
    return torch.log_softmax(logits.float(), -1)


def by_steered(case: Case) -> list[Tensor]:
    """The harness's own model, made anew for each vector on the network that is open."""
    pairs = [(str(prompt), answer) for prompt in case.prompts for answer in case.answers]
    asked = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
    results = []
    for vector in case.vectors:
        with tempfile.TemporaryDirectory() as folder:
            lm = steered_model(case.model, vector, Path(folder))
        told = torch.tensor([value for value, _ in lm.loglikelihood(asked, disable_tqdm=True)])
        results.append(told.reshape(len(case.prompts), len(case.answers)))
    return results


def ours_without_first(case: Case) -> list[Tensor]:
    """As `ours`, of prompts without the beginning-of-sequence token, which `steered` steers too."""
    answers = tuple(tuple(encode_suffix(case.model, answer)) for answer in case.answers)
    questions = [
        Question(Tokens(tokens.ids[1:], tokens.source[1:]), answers)
        for tokens in encode(case.model, case.prompts)
    ]
    return [torch.tensor(s.loglikelihoods) for s in score(case.model, questions, case.vectors)]


def compare(theirs: Sequence[Tensor], own: Sequence[Tensor]) -> dict[str, Any]:
    a, b = torch.stack(list(theirs)), torch.stack(list(own))
    return {
        "largest_difference": float(f"{float((a - b).abs().max()):.2g}"),
        "same_decisions": int((a.argmax(-1) == b.argmax(-1)).sum()),
        "items": a.shape[0] * a.shape[1],
    }


PEERS = {
    "langsteer, one by one": Peer("each layer and strength by itself", one_by_one),
    "lm-eval's steered, batches of 8": Peer("each by itself", by_steered, ours_without_first),
    "steering-vectors": Peer(
        "each by itself; each prompt once, its head at the last token", by_steering_vectors
    ),
}
PARTS = {
    "sweep": Part(
        "a grid",
        {"items": 2, "layers": 4, "strengths": [0.25, 0.5, 0.75, 1.0]},
        make,
        ours,
        PEERS,
        compare,
    )
}
