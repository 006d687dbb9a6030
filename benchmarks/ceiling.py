"""How far one vector at one layer can go: learned from the task's own labels, at that layer.

    python -m benchmarks.ceiling --languages sw et --layers 8 10

Learned on SIB-200 training items from the 301st on, and measured on the first 300, as benchmarks.strength measures
vectors that are learned without labels. Each run is a line of benchmarks/results/ceiling.jsonl; runs that are there
are not made again.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import langsteer
from benchmarks.common import RESULTS, SHARED, add_line, find_line, right_topics, rounded
from benchmarks.strength import answers
from langsteer.evaluation.benchmarks import get_benchmark, load_docs
from langsteer.evaluation.demo import AFTER, BEFORE, TOPICS
from langsteer.evaluation.statistics import difference, paired_bootstrap
from langsteer.model.model import Model, frozen
from langsteer.model.tokens import Prompt, Tokens, batches, encode, encode_suffix, pad_mask
from langsteer.progress import show_progress
from langsteer.states.capture import visit_states
from langsteer.states.intervention import PositionKind, resumed
from langsteer.steering.vector import SteeringVector

FILE = RESULTS / "ceiling.jsonl"
MEASURED = 300
BATCH, RATE, LAST_RATE, BIAS_RATE = 8, 0.01, 0.05, 0.1


def main() -> None:
    run_each(str(__doc__), FILE, run)


def run_each(about: str, file: Path, run: Callable[[Model, dict[str, Any]], None]) -> None:
    """The command line of a ceiling: `run` for each language and layer that `file` has no line of."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--languages", nargs="+", default=["sw"])
    parser.add_argument("--layers", nargs="+", type=int, default=[8])
    parser.add_argument("--positions", choices=("source", "all"), default="source")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--dtype", default="bfloat16")
    chosen = parser.parse_args()
    show_progress(False)
    model = langsteer.load_model(dtype=chosen.dtype)
    for language in chosen.languages:
        for layer in chosen.layers:
            settings = {
                "language": language,
                "layer": layer,
                "positions": chosen.positions,
                "epochs": chosen.epochs,
                "dtype": chosen.dtype,
            }
            if find_line(file, settings) is None:
                run(model, settings)


def run(model: Model, about: dict[str, Any]) -> None:
    start = time.perf_counter()
    vector, loss = learned_from_labels(model, about)
    seconds = time.perf_counter() - start
    direct, steered = answers(model, about["language"], MEASURED, [None, vector])
    change = paired_bootstrap(difference, direct["calibrated"], steered["calibrated"])
    line = {
        **about,
        "direct": round(float(direct["calibrated"].mean()), 1),
        "steered": round(float(steered["calibrated"].mean()), 1),
        "change": rounded(change),
        "raw_direct": round(float(direct["raw"].mean()), 1),
        "raw_steered": round(float(steered["raw"].mean()), 1),
        "loss": round(loss, 3),
        "seconds": round(seconds, 1),
    }
    add_line(FILE, line)
    print(json.dumps(line), flush=True)


def learned_from_labels(model: Model, about: dict[str, Any]) -> tuple[SteeringVector, float]:
    """The vector, and the mean loss of the last epoch.

    The loss is the cross-entropy of the right topic among the topics, with a free bias for each, so
    that the vector need not learn what calibration takes away.
    """
    language, layer, epochs = about["language"], about["layer"], about["epochs"]
    docs = load_docs(get_benchmark("sib200"), language, "train", SHARED)[MEASURED:]
    right = right_topics(docs)
    tokens = encode(model, [Prompt(doc["text"], BEFORE, AFTER) for doc in docs])
    tokens = [acted_on(model, text, about["positions"]) for text in tokens]
    states, norm = kept_states(model, tokens, layer)
    topics = [encode_suffix(model, topic)[0] for topic in TOPICS.values()]
    vector = torch.zeros(model.hidden_size, requires_grad=True)
    bias = torch.zeros(len(topics), requires_grad=True)
    rate = RATE * norm / model.hidden_size**0.5
    adam = torch.optim.Adam(
        [{"params": [vector], "lr": rate}, {"params": [bias], "lr": BIAS_RATE}], betas=(0.9, 0.99)
    )
    groups = list(batches(tokens, budget=2**30, most=BATCH))
    fall = torch.optim.lr_scheduler.LinearLR(adam, 1, LAST_RATE, epochs * len(groups))
    total = 0.0
    for epoch in range(epochs):
        order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(epoch))
        total = 0.0
        for index in (groups[i] for i in order.tolist()):
            adam.zero_grad()
            with frozen(model):
                logits = steered_logits(model, tokens, states, layer, index, vector)[:, topics]
                loss = torch.nn.functional.cross_entropy(logits + bias, right[index])
                loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            fall.step()
            total += float(loss.detach()) * len(index)
    return vector_of_labels(model, vector, about), total / len(tokens)


def vector_of_labels(model: Model, values: Tensor, about: dict[str, Any]) -> SteeringVector:
    return SteeringVector(
        values.detach(),
        about["layer"],
        about["language"],
        "en",
        {"name": model.name, "fingerprint": model.fingerprint},
        "labels",
        positions=about["positions"],
    )


def acted_on(model: Model, text: Tokens, positions: PositionKind) -> Tokens:
    """A text whose source is what a vector acts on: the source, or all but the special tokens."""
    if positions == "source":
        return text
    special = set(model.tokenizer.all_special_ids)
    return Tokens(text.ids, [token not in special for token in text.ids])


def kept_states(model: Model, tokens: list[Tokens], layer: int) -> tuple[list[Tensor], float]:
    """Each text's states at the layer [tokens, hidden], and the mean length of their means."""
    states: list[Tensor] = [torch.empty(0)] * len(tokens)
    for index in batches(tokens):
        by_layer: dict[int, Tensor] = {}
        visit_states(
            model, model.batch([tokens[i].ids for i in index]), [layer], by_layer.__setitem__
        )
        for row, i in enumerate(index):
            states[i] = by_layer[layer][row, -len(tokens[i]) :].clone()
    means = [
        own[torch.tensor(t.source)].float().mean(0) for own, t in zip(states, tokens, strict=True)
    ]
    return states, float(torch.stack(means).norm(dim=1).mean())


def padded(rows: list[Tensor]) -> Tensor:
    """States of texts [tokens, hidden] as one tensor, with zeros on the left."""
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_side="left")


def steered_logits(
    model: Model,
    tokens: list[Tokens],
    states: list[Tensor],
    layer: int,
    index: list[int],
    vector: Tensor,
) -> Tensor:
    """Next-token logits [rows, vocabulary] after each text, with the vector on its source."""
    hidden = padded([states[i] for i in index])
    source = pad_mask([tokens[i].source for i in index])[..., None]
    inputs = model.batch([tokens[i].ids for i in index])
    with resumed(model, layer, hidden + source * vector.to(hidden)):
        return model.last_logits(inputs, 1)[:, 0].float()


if __name__ == "__main__":
    main()
