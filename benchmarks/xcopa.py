"""What moves XCOPA, on its development items: vectors at one set of tokens or another, and parts put into English.

    python -m benchmarks.xcopa --languages sw et tr --conditions english_premise learned:8@source
    python -m benchmarks.xcopa --table

A condition is FIT@POSITIONS, a fit as in benchmarks.strength, tried at each of `--strengths`, or one of

english_premise, english_answers, english_both: the premise, the answers, or both are those of English COPA, the
    connective with the premise: what a vector could reach at the most that made the one or the other English
english_frame: the answers and the connective are, the premise stays in the language
google_premise: the premise is Google's English of the language's
label: an English frame around all, in which the answers have the letters A and B, and the letter is scored

or one of these and a fit: english_frame+learned:8@prompt, whose change is against english_frame alone.

Vectors are fitted on NTREX. Each run is a line of benchmarks/results/xcopa.jsonl.gz, with the batch-calibrated accuracy,
its change, and the change of the margin in nats (how much likelier the right answer is than the wrong one, calibrated
too), and the values of each item; runs that are there are not made again.
"""

import argparse
import functools
import json
import time
from dataclasses import dataclass, replace
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
    rounded,
)
from benchmarks.strength import corpus, fitted_vector
from langsteer.evaluation.benchmarks import get_benchmark, load_docs, make_task
from langsteer.evaluation.benchmarks.common import Doc
from langsteer.evaluation.benchmarks.xcopa import translated
from langsteer.evaluation.harness.scoring import Question, score
from langsteer.evaluation.statistics import Array, calibrate, correct, difference, paired_bootstrap
from langsteer.model.model import Model
from langsteer.model.tokens import Prompt, encode, encode_suffix
from langsteer.states.intervention import PositionKind
from langsteer.steering.change import Change
from langsteer.text.languages import language_name
from langsteer.version import __version__

FILE = RESULTS / "xcopa.jsonl.gz"
LANGUAGES = ("sw", "et", "tr", "th", "id", "vi", "zh-Hans", "it", "ta")
DIRECT = "direct"
LABEL, GOOGLE = "label", "google_premise"
ENGLISH = {
    "english_premise": ("premise", "connective"),
    "english_answers": ("answers",),
    "english_both": ("premise", "connective", "answers"),
    "english_frame": ("connective", "answers"),
    GOOGLE: ("connective",),
}
LINES = 400


@dataclass(frozen=True)
class Items:
    """Questions in the native form, whose source is the premise, and which answer is right."""

    questions: list[Question]
    right: list[int]

    def part(self, index: range) -> "Items":
        return Items([self.questions[i] for i in index], [self.right[i] for i in index])


def items_of(model: Model, language: str, part: str, condition: str = DIRECT) -> Items:
    """The items of a language, or with what a condition puts into English."""
    if condition == LABEL:
        return labelled(model, language, part)
    own, english = native(language, part), native("en", part)
    put = ENGLISH.get(condition, ())
    premises = (english if "premise" in put else own).premises
    if condition == GOOGLE:
        premises = [_open(doc) for doc in translated(SHARED / "xcopa", language, part)]
    connectives = (english if "connective" in put else own).connectives
    prompts = [
        Prompt(premise, after=connective)
        for premise, connective in zip(premises, connectives, strict=True)
    ]
    choices = [
        tuple(tuple(encode_suffix(model, answer)) for answer in answers)
        for answers in (english if "answers" in put else own).answers
    ]
    assert own.right == english.right
    return Items(list(map(Question, encode(model, prompts), choices)), own.right)


@dataclass(frozen=True)
class Native:
    """The parts of the harness's native prompts, as they are put together, and which answer is right."""

    premises: list[str]
    connectives: list[str]
    answers: list[list[str]]
    right: list[int]


@functools.cache
def native(language: str, part: str) -> Native:
    docs, task = docs_and_task(language, part, "native")
    texts, premises = [task.doc_to_text(doc) for doc in docs], [_open(doc) for doc in docs]
    assert all(text.startswith(premise) for text, premise in zip(texts, premises, strict=True))
    space = task.config.target_delimiter
    return Native(
        premises,
        [text[len(premise) :] for text, premise in zip(texts, premises, strict=True)],
        [[space + choice for choice in task.doc_to_choice(doc)] for doc in docs],
        [doc["label"] for doc in docs],
    )


def labelled(model: Model, language: str, part: str) -> Items:
    docs, task = docs_and_task(language, part, "english")
    letters = tuple(tuple(encode_suffix(model, f" {letter}")) for letter in "AB")
    contexts = encode(model, [Prompt(task.doc_to_text(doc)) for doc in docs])
    questions = [Question(context, letters) for context in contexts]
    return Items(questions, [doc["label"] for doc in docs])


def docs_and_task(language: str, part: str, form: str) -> tuple[list[Doc], Any]:
    benchmark = get_benchmark("xcopa")
    docs = list(load_docs(benchmark, language, part, SHARED))
    return docs, make_task(benchmark, language, docs, form=form)


def _open(doc: Doc) -> str:
    """A premise without its full stop, as the harness cuts it."""
    return str(doc["premise"]).strip()[:-1]


def parts_of(condition: str) -> tuple[str, str | None]:
    """What is in English, and the fit with its positions, if any."""
    first, _, second = condition.partition("+")
    if second:
        return first, second
    return (DIRECT, condition) if "@" in condition else (condition, None)


def change_of(model: Model, language: str, condition: str, strength: float) -> Change | None:
    _, fit = parts_of(condition)
    if fit is None:
        return None
    fit, at = fit.split("@")
    vector = fitted_vector(model, corpus("ntrex", language, LINES), fit)
    positions: PositionKind = at  # type: ignore[assignment]
    return replace(vector, positions=positions, strength=strength)


def measured(model: Model, about: dict[str, Any]) -> dict[str, list[float]]:
    """For each item: 0 or 100, and the margin in nats, both calibrated."""
    condition, language = about["condition"], about["language"]
    items = items_of(model, language, about["part"], parts_of(condition)[0])
    change = change_of(model, language, condition, about["strength"])
    (scored,) = score(model, items.questions, [change])
    scores = calibrate(np.array(scored.loglikelihoods))
    right = np.array(items.right)
    rows = np.arange(len(right))
    return {
        "correct": correct(scores, right).astype(int).tolist(),
        "margin": np.round(scores[rows, right] - scores[rows, 1 - right], 3).tolist(),
    }


def run(model: Model, about: dict[str, Any]) -> None:
    start = time.perf_counter()
    values = measured(model, about)
    line = {
        **about,
        "accuracy": round(float(np.mean(values["correct"])), 1),
        "seconds": round(time.perf_counter() - start, 1),
        "version": __version__,
        **values,
    }
    add_line(FILE, line)
    told = {name: line[name] for name in ("language", "condition", "strength", "accuracy")}
    print(json.dumps(told), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--languages", nargs="+", default=list(LANGUAGES))
    parser.add_argument("--conditions", nargs="+", default=list(ENGLISH))
    parser.add_argument("--strengths", nargs="+", type=float, default=[0.5, 1.0])
    parser.add_argument("--part", choices=("development", "test"), default="development")
    parser.add_argument("--dtype", default="bfloat16")
    chosen = arguments(parser, table)
    model = langsteer.load_model(dtype=chosen.dtype)
    for condition, strength in tried(chosen):
        for language in chosen.languages:
            about = settings(language, condition, strength, chosen)
            if find_line(FILE, about) is None:
                run(model, about)


def tried(chosen: argparse.Namespace) -> list[tuple[str, float | None]]:
    """Direct first; what has no strength once."""
    trials: list[tuple[str, float | None]] = [(DIRECT, None)]
    for condition in chosen.conditions:
        trials += [(condition, s) for s in (chosen.strengths if "@" in condition else [None])]
    return trials


def settings(
    language: str, condition: str, strength: float | None, chosen: argparse.Namespace
) -> dict[str, Any]:
    return {
        "language": language,
        "condition": condition,
        "strength": strength,
        "part": chosen.part,
        "dtype": chosen.dtype,
    }


def table(chosen: argparse.Namespace) -> str:
    """Accuracy by language, and the changes of the mean accuracy and margin, over items."""
    heads = ["condition", *map(language_name, chosen.languages), "mean", "change", "margin"]
    rows: list[list[str]] = []
    for condition, strength in tried(chosen):
        lines = lines_of(condition, strength, chosen)
        text, _ = parts_of(condition)
        base = lines_of(DIRECT if text == condition else text, None, chosen)
        cells = [
            f"{lines[tag]['accuracy']:.1f}" if tag in lines else "" for tag in chosen.languages
        ]
        name = condition if strength is None else f"{condition}, {strength:g}"
        rows.append([name, *cells, *_pooled(lines, base)])
    return markdown(heads, rows)


def lines_of(
    condition: str, strength: float | None, chosen: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """What is known of a condition, by language."""
    lines = {
        tag: find_line(FILE, settings(tag, condition, strength, chosen)) for tag in chosen.languages
    }
    return {tag: line for tag, line in lines.items() if line is not None}


def _pooled(steered: dict[str, dict[str, Any]], base: dict[str, dict[str, Any]]) -> list[str]:
    """The mean over languages, and the changes against `base` in the same ones, items resampled."""
    if not steered:
        return ["", "", ""]
    before, after = (
        {name: _mean([lines[tag][name] for tag in steered]) for name in ("correct", "margin")}
        for lines in (base, steered)
    )
    if steered == base:
        return [f"{after['correct'].mean():.1f}", "", ""]
    right, margin = (
        paired_bootstrap(difference, before[name], after[name]) for name in ("correct", "margin")
    )
    return [
        f"{after['correct'].mean():.1f}",
        bracketed(rounded(right)),
        f"{margin.value:+.2f} [{margin.low:.2f}, {margin.high:.2f}]",
    ]


def _mean(values: list[list[float]]) -> Array:
    mean: Array = np.mean(np.array(values), axis=0)
    return mean


if __name__ == "__main__":
    main()
