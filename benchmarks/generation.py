"""What a vector does to the text a model writes: translation into English, and the language of answers.

    python -m benchmarks.generation --languages sw el --part development
    python -m benchmarks.generation --part test --conditions none learned_half away_half

Three things are asked about sentences of FLORES: `translate` one into English after four examples (chrF++); go on in
English after a sentence in the language (`into_english`: share of answers in English); and go on in the language after it
(`into_language`: share of answers in the language). Conditions: `default` steers all of the prompt with a learned vector
at the strength of the defaults, `learned` the sentence that is read alone, `translation` that with one of the objective
`translation`, `mean_difference` with a mean difference; `away` steers what is written with the mean difference turned
round, from English towards the language; `away_words` is half of that, with biases of words and scripts
beside it; `both` is `learned_half` and `away` together; `_half` is half strength.
Vectors are fitted on NTREX. Each run is a line of benchmarks/results/generation.jsonl.gz, with
the change against `none` in points and its paired 95% bootstrap interval; runs that are there are not made again.
`--table` prints the table of what is there; its means are over the languages that have every condition asked for.
"""

import argparse
import contextlib
import functools
import json
import time
from collections.abc import Iterator
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
from langsteer.diagnosis.answer_candidates import AnswerCandidates
from langsteer.evaluation.benchmarks.flores import sentences
from langsteer.evaluation.statistics import Array, difference, paired_bootstrap
from langsteer.evaluation.written import reference_scores
from langsteer.model.model import Model
from langsteer.model.tokens import Prompt
from langsteer.progress import track
from langsteer.states.intervention import PositionKind
from langsteer.steering.generation import generate
from langsteer.steering.vector import SteeringVector
from langsteer.text.identify import identify
from langsteer.text.languages import language_name
from langsteer.version import __version__

FILE = RESULTS / "generation.jsonl.gz"
TASKS = ("translate", "into_english", "into_language")
WRITING = ("into_language",)
LINES, BATCH, NEW_TOKENS, EXAMPLES = 400, 16, 48, 4


@dataclass(frozen=True)
class Condition:
    """A fit (none: unsteered), the tokens it acts on, the strength, and what it is tried at.

    `words`: what is written is biased too, as strongly as `fit --for answers` tries.
    """

    fit: str | None = None
    positions: PositionKind = "source"
    strength: float = 1.0
    tasks: tuple[str, ...] = TASKS
    also: "Condition | None" = None
    words: bool = False


TRANSLATION = "learned:8:objective=translation"
AWAY = Condition("mean_difference:8", "generated", -1.0, WRITING)
AWAY_HALF = replace(AWAY, strength=-0.5)
CONDITIONS = {
    "none": Condition(),
    "default": Condition("learned:8", "prompt", 0.75),
    "learned": Condition("learned:8"),
    "learned_half": Condition("learned:8", strength=0.5),
    "translation": Condition(TRANSLATION),
    "translation_half": Condition(TRANSLATION, strength=0.5),
    "mean_difference_half": Condition("mean_difference:8", strength=0.5),
    "away": AWAY,
    "away_half": AWAY_HALF,
    "away_words": replace(AWAY_HALF, words=True),
    "both": Condition("learned:8", strength=0.5, tasks=WRITING, also=AWAY),
    "both_half": Condition("learned:8", strength=0.5, tasks=WRITING, also=AWAY_HALF),
}


@functools.cache
def examples(language: str) -> str:
    """Translations to go before a sentence: the last development ones."""
    name = language_name(language)
    pairs = zip(
        *(sentences(SHARED / "flores200", t, "development") for t in (language, "en")), strict=True
    )
    return "".join(
        f"{name} sentence: {own}\nEnglish sentence: {english}\n\n"
        for own, english in list(pairs)[-EXAMPLES:]
    )


def prompt(task: str, language: str, text: str) -> Prompt:
    """What is asked, in English, with the sentence as source."""
    name = language_name(language)
    if task == "translate":
        return Prompt(text, f"{examples(language)}{name} sentence: ", "\nEnglish sentence:")
    wanted = "English" if task == "into_english" else name
    return Prompt(text, "", f"\n\nHere the text goes on, now in {wanted}:")


def values(task: str, language: str, answers: list[str], references: list[str]) -> Array:
    """0 to 100 an answer: chrF++, or whether it is in the language asked for.

    An answer too short to tell is in no language.
    """
    if task == "translate":
        return np.array(reference_scores(answers, references))
    wanted = "en" if task == "into_english" else language
    guesses = identify([answer.strip().split("\n")[0] for answer in answers])
    right = [guess is not None and guess.language == wanted for guess in guesses]
    return np.array(right, dtype=np.float64) * 100


def vector_of(model: Model, language: str, about: Condition | None) -> SteeringVector | None:
    if about is None or about.fit is None:
        return None
    return fitted_vector(model, corpus("ntrex", language, LINES), about.fit)


@contextlib.contextmanager
def steered(model: Model, language: str, about: Condition | None) -> Iterator[None]:
    """Inside, the model is steered as a condition says, which must not act on the text alone."""
    vector = vector_of(model, language, about)
    if about is None or vector is None:
        yield
        return
    with vector.applied(model, strength=about.strength, positions=about.positions):
        yield


def biased(
    model: Model, language: str, about: Condition
) -> contextlib.AbstractContextManager[None]:
    """Inside, what is written is biased, where a condition asks for it."""
    if not about.words:
        return contextlib.nullcontext()
    *_, strongest = AnswerCandidates(model, corpus("ntrex", language, LINES)).biases.values()
    return strongest.applied(model)


def answered(model: Model, prompts: list[Prompt], language: str, about: Condition) -> list[str]:
    answers: list[str] = []
    vector = vector_of(model, language, about)
    starts = range(0, len(prompts), BATCH)
    with steered(model, language, about.also), biased(model, language, about):
        for start in track(starts, "Writing", len(starts)):
            answers += generate(
                model,
                prompts[start : start + BATCH],
                vector,
                max_new_tokens=NEW_TOKENS,
                strength=about.strength if vector is not None else None,
                positions=about.positions if vector is not None else None,
            )
    return answers


def run(model: Model, about: dict[str, Any], baseline: Array | None) -> Array:
    """Answer, and add the line; gives the value of each item."""
    start = time.perf_counter()
    task, language, part = about["task"], about["language"], about["part"]
    own, english = (sentences(SHARED / "flores200", t, part) for t in (language, "en"))
    chosen = list(zip(own, english, strict=True))[: about["items"]]
    prompts = [prompt(task, language, text) for text, _ in chosen]
    answers = answered(model, prompts, language, CONDITIONS[about["condition"]])
    scores = values(task, language, answers, [e for _, e in chosen])
    line = {**about, "mean": round(float(scores.mean()), 1)}
    if baseline is not None:
        change = paired_bootstrap(difference, baseline, scores)
        line["change"] = rounded(change)
    line |= {
        "seconds": round(time.perf_counter() - start, 1),
        "version": __version__,
        "values": [round(score, 1) for score in scores.tolist()],
        "answers": answers[:3],
    }
    add_line(FILE, line)
    print(json.dumps({k: v for k, v in line.items() if k != "values"}), flush=True)
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--languages", nargs="+", default=["sw", "et", "tr", "el", "hi", "id"])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    parser.add_argument("--part", choices=("development", "test"), default="development")
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--dtype", default="bfloat16")
    chosen = arguments(
        parser, lambda chosen: "\n\n".join(table(task, chosen) for task in chosen.tasks)
    )
    model = langsteer.load_model(dtype=chosen.dtype)
    for language in chosen.languages:
        for task in chosen.tasks:
            baseline: Array | None = None
            for condition in tried(task, chosen):
                about = settings(task, language, condition, chosen)
                scores = _known(about)
                if scores is None:
                    scores = run(model, about, baseline)
                baseline = scores if condition == "none" else baseline


def tried(task: str, chosen: argparse.Namespace) -> list[str]:
    asked = (c for c in chosen.conditions if c != "none")
    return ["none", *(c for c in asked if task in CONDITIONS[c].tasks)]


def settings(
    task: str, language: str, condition: str, chosen: argparse.Namespace
) -> dict[str, Any]:
    return {
        "task": task,
        "language": language,
        "condition": condition,
        "part": chosen.part,
        "items": chosen.items,
        "dtype": chosen.dtype,
    }


def table(task: str, chosen: argparse.Namespace) -> str:
    """Means and, in brackets, changes against `none`; the languages share their sentences."""
    conditions = tried(task, chosen)
    scores = {
        (c, tag): known
        for c in conditions
        for tag in chosen.languages
        if (known := _known(settings(task, tag, c, chosen))) is not None
    }
    complete = [tag for tag in chosen.languages if all((c, tag) in scores for c in conditions)]
    heads = [task, *map(language_name, chosen.languages), "mean"]
    rows: list[list[str]] = []
    for c in conditions:
        groups = [*([tag] if (c, tag) in scores else [] for tag in chosen.languages), complete]
        rows.append([c, *(_cell(scores, c, tags) for tags in groups)])
    return markdown(heads, rows)


def _cell(scores: dict[tuple[str, str], Array], condition: str, tags: list[str]) -> str:
    if not tags:
        return ""
    moved, unmoved = (
        np.mean([scores[c, tag] for tag in tags], axis=0) for c in (condition, "none")
    )
    if condition == "none":
        return f"{moved.mean():.1f}"
    change = bracketed(rounded(paired_bootstrap(difference, unmoved, moved)))
    return f"{moved.mean():.1f} ({change})"


def _known(about: dict[str, Any]) -> Array | None:
    line = find_line(FILE, about)
    return np.array(line["values"]) if line else None


if __name__ == "__main__":
    main()
