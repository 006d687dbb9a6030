"""How far one vector at one layer can go on XCOPA: learned from the task's own labels.

    python -m benchmarks.ceiling_xcopa --languages sw et --layers 8
    python -m benchmarks.ceiling_xcopa --languages sw+et+tr+th+id+vi+zh-Hans+it+ta --positions all --epochs 1

In two halves of the test items: a vector learned on each half is measured on the other, so that all 500 count and none
was learned from. Languages with + between them have one vector, learned from the labels of all. With positions `all`
the answers are moved too. Nothing is chosen with these. Each run is a line of benchmarks/results/ceiling_xcopa.jsonl;
runs that are there are not made again.
"""

import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.ceiling import (
    BATCH,
    LAST_RATE,
    RATE,
    acted_on,
    kept_states,
    padded,
    run_each,
    vector_of_labels,
)
from benchmarks.common import RESULTS, add_line, rounded
from benchmarks.xcopa import Items, items_of
from langsteer.evaluation.harness.scoring import score
from langsteer.evaluation.statistics import Array, calibrate, correct, difference, paired_bootstrap
from langsteer.model.model import Model, frozen
from langsteer.model.tokens import Tokens, pad_mask
from langsteer.states.intervention import resumed
from langsteer.steering.vector import SteeringVector

FILE = RESULTS / "ceiling_xcopa.jsonl"


def learned_from_labels(model: Model, items: Items, about: dict[str, Any]) -> SteeringVector:
    """By descent on the cross-entropy of the right answer of two."""
    layer, epochs = about["layer"], about["epochs"]
    texts = [q.context.followed_by(answer) for q in items.questions for answer in q.answers]
    rows = [acted_on(model, text, about["positions"]) for text in texts]
    tails = [len(answer) for q in items.questions for answer in q.answers]
    states, norm = kept_states(model, rows, layer)
    vector = torch.zeros(model.hidden_size, requires_grad=True)
    adam = torch.optim.Adam([vector], lr=RATE * norm / model.hidden_size**0.5, betas=(0.9, 0.99))
    order = sorted(range(len(items.right)), key=lambda i: len(rows[2 * i]))
    groups = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]
    fall = torch.optim.lr_scheduler.LinearLR(adam, 1, LAST_RATE, epochs * len(groups))
    for epoch in range(epochs):
        shuffled = torch.randperm(len(groups), generator=torch.Generator().manual_seed(epoch))
        for index in (groups[i] for i in shuffled.tolist()):
            adam.zero_grad()
            chosen = [2 * i + choice for i in index for choice in (0, 1)]
            with frozen(model):
                likelihoods = logprobs(model, rows, states, tails, layer, chosen, vector).view(
                    -1, 2
                )
                right = torch.tensor([items.right[i] for i in index])
                torch.nn.functional.cross_entropy(likelihoods, right).backward()  # type: ignore[no-untyped-call]
            adam.step()
            fall.step()
    return vector_of_labels(model, vector, about)


def logprobs(
    model: Model,
    rows: list[Tokens],
    states: list[Tensor],
    tails: list[int],
    layer: int,
    chosen: list[int],
    vector: Tensor,
) -> Tensor:
    """The log-likelihood of the answer that each chosen row ends in, with the vector on its source."""
    hidden = padded([states[i] for i in chosen])
    source = pad_mask([rows[i].source for i in chosen])[..., None]
    inputs = model.batch([rows[i].ids for i in chosen])
    with resumed(model, layer, hidden + source * vector.to(hidden)):
        final = model.run_decoder(inputs)
    read = torch.cat([final[row, -tails[i] - 1 : -1] for row, i in enumerate(chosen)])
    tokens = torch.tensor([token for i in chosen for token in rows[i].ids[-tails[i] :]])
    token_logprobs = -torch.nn.functional.cross_entropy(
        model.logits_of(read).float(), tokens, reduction="none"
    )
    return torch.stack([part.sum() for part in token_logprobs.split([tails[i] for i in chosen])])


def run(model: Model, about: dict[str, Any]) -> None:
    start = time.perf_counter()
    languages = {tag: items_of(model, tag, "test") for tag in about["language"].split("+")}
    direct, steered, seen = [], [], []
    for first in (0, 1):
        learned, held_out = (halves(languages, half) for half in (first, 1 - first))
        vector = learned_from_labels(model, joined(learned), about)
        before, after = hits(model, held_out, [None, vector])
        direct.append(before)
        steered.append(after)
        seen += hits(model, learned, [vector])
    without, with_vector = np.concatenate(direct), np.concatenate(steered)
    line = {
        **about,
        "direct": round(float(without.mean()), 1),
        "steered": round(float(with_vector.mean()), 1),
        "change": rounded(paired_bootstrap(difference, without, with_vector)),
        "steered_on_what_was_learned_from": round(float(np.concatenate(seen).mean()), 1),
        "seconds": round(time.perf_counter() - start, 1),
    }
    add_line(FILE, line)
    print(json.dumps(line), flush=True)


def halves(languages: dict[str, Items], first: int) -> list[Items]:
    """Every other item of each language."""
    return [items.part(range(first, len(items.right), 2)) for items in languages.values()]


def joined(parts: Sequence[Items]) -> Items:
    questions = [question for part in parts for question in part.questions]
    return Items(questions, [right for part in parts for right in part.right])


def hits(
    model: Model, languages: Sequence[Items], vectors: Sequence[SteeringVector | None]
) -> list[Array]:
    """Under each vector, the share of languages in which an item is right, calibrated, in per cent."""
    by_vector: list[list[Array]] = [[] for _ in vectors]
    for items in languages:
        for own, scores in zip(by_vector, score(model, items.questions, vectors), strict=True):
            own.append(correct(calibrate(np.array(scores.loglikelihoods)), items.right))
    return [np.mean(own, axis=0) for own in by_vector]


if __name__ == "__main__":
    run_each(str(__doc__), FILE, run)
