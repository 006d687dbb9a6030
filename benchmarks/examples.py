"""Solved examples in English before the text, moved towards the language: does the answer gain?

    python -m benchmarks.examples --languages sw el et ja

On the items of benchmarks.strength, after one solved item of each topic, from training items that are not measured. The
mean difference turned round moves the texts of English examples towards the language (as in arXiv 2602.02326); `learned`
moves the text that is asked about, or all that is read. Vectors are those of benchmarks.strength, from NTREX. Each run
is a line of benchmarks/results/examples.jsonl; runs that are there are not made again. `--table` prints the table of
what is there.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

import langsteer
from benchmarks.common import (
    RESULTS,
    SHARED,
    add_line,
    arguments,
    bracketed,
    markdown,
    marks,
    read_lines,
    right_topics,
    rounded,
)
from benchmarks.strength import corpus, fitted_vector
from langsteer.evaluation.benchmarks import get_benchmark, load_docs
from langsteer.evaluation.demo import AFTER, BEFORE, TOPICS
from langsteer.evaluation.harness.choices import batch_calibrated
from langsteer.evaluation.harness.scoring import Question, score
from langsteer.evaluation.statistics import difference, paired_bootstrap
from langsteer.model.tokens import Prompt, Tokens, encode, encode_suffix
from langsteer.states.intervention import PositionKind
from langsteer.steering.vector import SteeringVector
from langsteer.text.languages import language_name

FILE = RESULTS / "examples.jsonl"
MEASURED = 300
LINES = 400


@dataclass(frozen=True)
class Condition:
    """`examples`: the language of the examples, if any. `moved`: what is, and by what vector."""

    name: str
    examples: str | None = "en"
    moved: str | None = None
    fit: str | None = None
    strength: float = 0.0


CONDITIONS = (
    Condition("no examples", None),
    Condition("no examples, text steered", None, "text", "learned:8", 0.5),
    Condition("examples in the language", "own"),
    Condition("examples in the language, text steered", "own", "text", "learned:8", 0.5),
    Condition("examples in the language, all steered", "own", "all", "learned:8", 0.75),
    Condition("examples in English"),
    Condition("examples in English, text steered", "en", "text", "learned:8", 0.5),
    *(
        Condition(f"examples moved, {s:g}", "en", "examples", "mean_difference:8", -s)
        for s in (0.5, 1.0)
    ),
)


def examples_before(model: langsteer.Model, language: str) -> Tokens:
    """One solved item of each topic."""
    docs = load_docs(get_benchmark("sib200"), language, "train", SHARED)[MEASURED:]
    ids: list[int] = []
    source: list[bool] = []
    for topic, word in TOPICS.items():
        doc = next(doc for doc in docs if doc["category"] == topic)
        prompt = Prompt(doc["text"], BEFORE, f"{AFTER}{word}\n\n")
        [tokens] = encode(model, [prompt])
        start = 1 if ids and tokens.ids[0] == model.bos_id else 0
        ids += tokens.ids[start:]
        source += tokens.source[start:]
    return Tokens(ids, source)


def questions(
    model: langsteer.Model, language: str, condition: Condition
) -> tuple[list[Question], torch.Tensor]:
    """The items after their examples, and which topic is right."""
    docs = load_docs(get_benchmark("sib200"), language, "train", SHARED)[:MEASURED]
    answers = tuple(tuple(encode_suffix(model, word)) for word in TOPICS.values())
    texts = encode(model, [Prompt(doc["text"], BEFORE, AFTER) for doc in docs])
    if condition.examples is not None:
        tag = language if condition.examples == "own" else condition.examples
        first = examples_before(model, tag)
        texts = [_after(first, text, condition.moved, model.bos_id) for text in texts]
    right = right_topics(docs)
    return [Question(text, answers) for text in texts], right


def _after(first: Tokens, text: Tokens, moved: str | None, bos: int | None) -> Tokens:
    start = 1 if text.ids[0] == bos else 0
    before = first.source if moved == "examples" else [False] * len(first)
    own = text.source[start:] if moved != "examples" else [False] * (len(text) - start)
    return Tokens([*first.ids, *text.ids[start:]], [*before, *own])


def right_items(model: langsteer.Model, language: str, condition: Condition) -> np.ndarray:
    """0 or 100 for each item, calibrated."""
    asked, right = questions(model, language, condition)
    change: SteeringVector | None = None
    if condition.fit is not None:
        vector = fitted_vector(model, corpus("ntrex", language, LINES), condition.fit)
        positions: PositionKind = "all" if condition.moved == "all" else "source"
        change = replace(vector, strength=condition.strength, positions=positions)
    scores = torch.tensor(score(model, asked, [change])[0].loglikelihoods)
    return marks(batch_calibrated(scores), right)


def table(lines: Sequence[dict[str, Any]], languages: Sequence[str]) -> str:
    """Accuracy, and the change against the same examples unmoved."""
    rows = []
    for condition in CONDITIONS:
        by_language = {
            line["language"]: line for line in lines if line["condition"] == condition.name
        }
        if all(tag in by_language for tag in languages):
            cells = [_cell(by_language[tag]) for tag in languages]
            mean = np.mean([by_language[tag]["accuracy"] for tag in languages])
            rows.append([condition.name, *cells, f"{mean:.1f}"])
    return markdown(["", *map(language_name, languages), "mean"], rows)


def _cell(line: dict[str, Any]) -> str:
    change = f" ({bracketed(line['change'])})" if line["change"] else ""
    return f"{line['accuracy']}{change}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--languages", nargs="+", default=["sw", "el", "et", "ja"])
    parser.add_argument("--dtype", default="bfloat16")
    chosen = arguments(parser, lambda chosen: table(read_lines(FILE), chosen.languages))
    model = langsteer.load_model(dtype=chosen.dtype)
    for language in chosen.languages:
        unmoved: dict[str | None, np.ndarray] = {}
        done = {line["condition"] for line in read_lines(FILE) if line["language"] == language}
        if all(condition.name in done for condition in CONDITIONS):
            continue
        missing = {condition.examples for condition in CONDITIONS if condition.name not in done}
        for condition in CONDITIONS:
            base = condition.moved is None and condition.examples in missing
            if condition.name in done and not base:
                continue
            hits = right_items(model, language, condition)
            before = unmoved.setdefault(condition.examples, hits)
            moved = condition.moved is not None
            change = rounded(paired_bootstrap(difference, before, hits)) if moved else None
            line = {
                "language": language,
                "condition": condition.name,
                "accuracy": round(float(hits.mean()), 1),
                "change": change,
                "dtype": chosen.dtype,
            }
            if condition.name not in done:
                add_line(FILE, line)
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
