"""How far one vector can go where facts are asked: learned from the task's own labels, of all languages together.

    python -m benchmarks.ceiling_facts --layers 4 8 11 --positions source
    python -m benchmarks.ceiling_facts --model smollm2-135m --layers 13 --positions all --own

Learned on development items of BMLAMA-53, of which each shows the right answer and others drawn at random, and
reported on other items with all their answers: one vector for all languages, or with `--own` one a language.
Nothing is chosen with these. Each run is a line of benchmarks/results/ceiling_facts.jsonl; runs that are there are
not made again.
"""

import argparse
import json
import time
from typing import Any

import numpy as np

import langsteer
from benchmarks.common import (
    RESULTS,
    SHARED,
    add_line,
    arguments,
    bracketed,
    find_line,
    markdown,
    read_lines,
)
from benchmarks.label_vector import vector_of_labels
from benchmarks.shared_recipe import gains
from langsteer.diagnosis.halving import NOTHING
from langsteer.diagnosis.items import TaskItem
from langsteer.diagnosis.scoring import Asked, answer_scores, asked, scale_of
from langsteer.diagnosis.task import read_task
from langsteer.evaluation.statistics import Array
from langsteer.model.model import Model
from langsteer.states.capture import sentence_states
from langsteer.steering.change import Change
from langsteer.steering.vector import SteeringVector

FILE = RESULTS / "ceiling_facts.jsonl"
TASK, CHOICES = "bmlama53", 4
LANGUAGES = ["id", "el", "tr", "hi", "vi", "et", "ru", "th"]
STEERED = "from labels"


def questions_of(model: Model, items: tuple[TaskItem, ...]) -> Asked:
    return asked(model, [item.own for item in items], items)


def joined(parts: list[Asked]) -> Asked:
    return Asked(
        tuple(question for part in parts for question in part.questions),
        tuple(right for part in parts for right in part.right),
    )


def learned(model: Model, questions: Asked, about: dict[str, Any]) -> SteeringVector:
    contexts = [question.context for question in questions.questions]
    layer, positions = about["layer"], about["positions"]
    norm = float(sentence_states(model, contexts, [layer])[:, 0].norm(dim=-1).mean())
    values = vector_of_labels(model, questions, layer, positions, norm, epochs=about["epochs"])
    return SteeringVector(
        values=values,
        layer=layer,
        language=about["language"].split("+")[0],
        pivot="en",
        model=model.fingerprint,
        method="labels",
        positions=positions,
    )


def values(model: Model, items: tuple[TaskItem, ...], vector: Change) -> dict[str, Array]:
    questions = questions_of(model, items)
    scale = scale_of(questions)
    scores = answer_scores(model, questions, [None, vector])
    return {
        name: scale.values(own, questions.right)
        for name, own in zip((NOTHING, STEERED), scores, strict=True)
    }


def run(model: Model, about: dict[str, Any]) -> None:
    started = time.perf_counter()
    tags = about["language"].split("+")
    tasks = [read_task(TASK, tag, data=SHARED) for tag in tags]
    shown = [
        questions_of(model, task.development[: about["learned_from"]]).sampled(CHOICES)
        for task in tasks
    ]
    vector = learned(model, joined(shown), about)
    reported = [values(model, task.report[: about["reported_on"]], vector) for task in tasks]
    seen = [values(model, task.development[: about["learned_from"]], vector) for task in tasks]
    line = {
        **about,
        "length": round(float(vector.values.norm()), 2),
        "by_language": {tag: gains(own) for tag, own in zip(tags, reported, strict=True)},
        "together": gains(together(reported)),
        "on_what_was_learned_from": gains(together(seen)),
        "seconds": round(time.perf_counter() - started),
    }
    add_line(FILE, line)
    print(json.dumps(line), flush=True)


def together(parts: list[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--languages", nargs="+", default=LANGUAGES)
    parser.add_argument("--own", action="store_true", help="a vector for each language")
    parser.add_argument("--layers", nargs="+", type=int, default=[8])
    parser.add_argument("--positions", nargs="+", default=["source"])
    parser.add_argument("--learned-from", type=int, default=100, help="items of a language")
    parser.add_argument("--reported-on", type=int, default=100, help="items of a language")
    parser.add_argument("--epochs", type=int, default=2)
    chosen = arguments(parser, lambda _: table())
    model = langsteer.load_model(chosen.model)
    groups = chosen.languages if chosen.own else ["+".join(chosen.languages)]
    for positions in chosen.positions:
        for layer in chosen.layers:
            for language in groups:
                about = {
                    "model": model.name,
                    "language": language,
                    "layer": layer,
                    "positions": positions,
                    "epochs": chosen.epochs,
                    "learned_from": chosen.learned_from,
                    "reported_on": chosen.reported_on,
                }
                if find_line(FILE, about) is None:
                    run(model, about)


def table() -> str:
    rows = [
        [
            line["model"],
            line["language"].replace("+", ", "),
            str(line["layer"]),
            line["positions"],
            str(line["learned_from"]),
            f"{line['together'][NOTHING]:.1f}",
            bracketed(line["together"][STEERED]),
            bracketed(line["on_what_was_learned_from"][STEERED]),
        ]
        for line in read_lines(FILE)
    ]
    heads = ["model", "languages", "layer", "at", "items each", "nothing", "others", "learned from"]
    return markdown(heads, rows)


if __name__ == "__main__":
    main()
