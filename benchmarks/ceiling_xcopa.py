"""How far one vector at one layer can go on XCOPA: learned from the task's own labels.

    python -m benchmarks.ceiling_xcopa --languages sw et --layers 8

In two halves of the test items: a vector learned on each half is measured on the other, so that all 500 count and none
was learned from. Nothing is chosen with these. Each run is a line of benchmarks/results/ceiling_xcopa.jsonl; runs that
are there are not made again.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.ceiling import BATCH, LAST_RATE, RATE, kept_states, padded, run_each
from benchmarks.common import RESULTS, SHARED, add_line, rounded
from langsteer.evaluation.benchmarks import get_benchmark, load_docs, make_task
from langsteer.evaluation.scoring import Question, score
from langsteer.evaluation.statistics import calibrate, difference, paired_bootstrap
from langsteer.intervention import resumed
from langsteer.models import Model, frozen
from langsteer.tokens import Prompt, Tokens, encode, encode_suffix, pad_mask
from langsteer.vector import SteeringVector

FILE = RESULTS / "ceiling_xcopa.jsonl"


@dataclass(frozen=True)
class Items:
    """Questions in the native form, whose source is the premise, and which answer is right."""

    questions: list[Question]
    right: list[int]

    def part(self, index: Sequence[int]) -> "Items":
        return Items([self.questions[i] for i in index], [self.right[i] for i in index])


def items_of(model: Model, language: str) -> Items:
    benchmark = get_benchmark("xcopa")
    docs = load_docs(benchmark, language, "test", SHARED)
    task = make_task(benchmark, language, docs, form="native")
    prompts, answers = [], []
    for doc in docs:
        text, premise = task.doc_to_text(doc), doc["premise"].strip()[:-1]
        assert text.startswith(premise), text
        prompts.append(Prompt(premise, after=text[len(premise) :]))
        space = task.config.target_delimiter
        choices = [encode_suffix(model, space + choice) for choice in task.doc_to_choice(doc)]
        answers.append(tuple(map(tuple, choices)))
    questions = list(map(Question, encode(model, prompts), answers))
    return Items(questions, [doc["label"] for doc in docs])


def learned_from_labels(
    model: Model, items: Items, language: str, layer: int, epochs: int
) -> SteeringVector:
    """By descent on the cross-entropy of the right answer of two."""
    rows = [q.context.followed_by(answer) for q in items.questions for answer in q.answers]
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
                found = logprobs(model, rows, states, tails, layer, chosen, vector).view(-1, 2)
                right = torch.tensor([items.right[i] for i in index])
                torch.nn.functional.cross_entropy(found, right).backward()  # type: ignore[no-untyped-call]
            adam.step()
            fall.step()
    fitted = {"name": model.name, "fingerprint": model.fingerprint}
    return SteeringVector(vector.detach(), layer, language, "en", fitted, "labels")


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
    found = -torch.nn.functional.cross_entropy(
        model.logits_of(read).float(), tokens, reduction="none"
    )
    return torch.stack([part.sum() for part in found.split([tails[i] for i in chosen])])


def correct(model: Model, items: Items, vector: SteeringVector) -> list[np.ndarray]:
    """0 or 100 for each item, calibrated, without and with the vector."""
    right = np.array(items.right)
    found = score(model, items.questions, [None, vector])
    return [
        (calibrate(np.array(scores.loglikelihoods)).argmax(1) == right) * 100.0 for scores in found
    ]


def run(model: Model, about: dict[str, Any]) -> None:
    start = time.perf_counter()
    items = items_of(model, about["language"])
    halves = [items.part(range(first, len(items.right), 2)) for first in (0, 1)]
    direct, steered, seen = [], [], []
    for mine, other in (halves, halves[::-1]):
        vector = learned_from_labels(
            model, mine, about["language"], about["layer"], about["epochs"]
        )
        before, after = correct(model, other, vector)
        direct.append(before)
        steered.append(after)
        seen.append(correct(model, mine, vector)[1])
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


if __name__ == "__main__":
    run_each(str(__doc__), FILE, run)
