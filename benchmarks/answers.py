"""Answers in the language: how many there are, and what that costs in repetition, length and score.

    python -m benchmarks.answers --languages el hi --part development --items 8 --tokens 24 \
        --conditions none answers:14:1 answers:14:1.5
    python -m benchmarks.answers --languages el hi tr id --part test --conditions none ban answers:14:1.5
    python -m benchmarks.answers --part test --conditions none ban answers:14:1.5 --table

Tasks, on sentences of FLORES, asked in English: `go_on` after a sentence in the language, in it (the prompt of
`benchmarks.generation`); `translate` an English sentence into it, without examples (chrF++ of the first line); `xquad`, a
question about a paragraph in the language, answered in it (F1). A condition is `none`, or parts joined by +:

ban                  no token of another script (langsteer.steering.decoding.only_script)
reach                the same, where one of the language's script is among the likeliest
gate                 the language confusion gate, untrained (langsteer.steering.decoding.confusion_gate)
words                tokens that English uses more are less likely (langsteer.steering.decoding.pivot_words); words:STRENGTH
own:MOST             tokens that the language uses more are likelier, by MOST nats at the most
answers:LAYER:REACH  a clamp on what is written (langsteer.fitting.answers); with :kept, states keep their lengths;
                     with :all, it acts on the prompt too
away_half            half of the mean difference at layer 8, turned round, on what is written
read                 half of the mean difference at layer 8, at the sentence
fit:METHOD           a published method that works with all languages, at its usual settings, such as fit:recover

Vectors and clamps are fitted on NTREX. Each run is a line of benchmarks/results/answers.jsonl.gz with the measures of
`langsteer.evaluation.written` and of each item's score; runs that are there are not made again. `--table` prints what is
there: means, and in brackets the change against `--base` with its paired 95% bootstrap interval.
"""

import argparse
import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from transformers import LogitsProcessor

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
from benchmarks.strength import corpus, fitted
from langsteer.diagnosis.answer_candidates import DEPTHS, reaching
from langsteer.evaluation.benchmarks import get_benchmark, load_docs, xquad
from langsteer.evaluation.benchmarks.flores import sentences
from langsteer.evaluation.statistics import Array, difference, paired_bootstrap
from langsteer.evaluation.written import MEASURES, column, first_line, reference_scores, written
from langsteer.fitting.answers import fit_layers
from langsteer.fitting.word_excess import language_excess, pivot_excess
from langsteer.model.model import Model
from langsteer.model.tokens import Prompt
from langsteer.steering.change import Change
from langsteer.steering.clamp import Clamp
from langsteer.steering.decoding.biased import Biased
from langsteer.steering.decoding.confusion_gate import ConfusionGate
from langsteer.steering.decoding.only_script import OnlyScript
from langsteer.steering.generation import generate
from langsteer.text.corpus import ParallelCorpus
from langsteer.text.identify import identify
from langsteer.text.languages import language_name
from langsteer.text.readers import read_corpus
from langsteer.version import __version__

FILE = RESULTS / "answers.jsonl.gz"
TASKS = ("go_on", "translate", "xquad")
LINES, ROWS, KEPT = 400, 32, 4
OTHERS, FEWER_LINES = ("el", "hi", "tr", "id"), 96  # what methods of all languages are fitted on
SHOWN = (
    "right",
    "other",
    "strict",
    "score",
    "distinct_1",
    "distinct_2",
    "distinct_3",
    "copied",
    "words",
)


@dataclass(frozen=True)
class Asked:
    """Prompts, the text that an answer might copy, and references to score against, where there are."""

    prompts: list[Prompt]
    texts: list[str]
    references: list[str] | None = None


def asked(task: str, language: str, part: str, items: int) -> Asked:
    name = language_name(language)
    if task == "xquad":
        docs = load_docs(get_benchmark("xquad"), language, "test", SHARED)
        cut = docs[: len(docs) // 2] if part == "development" else docs[len(docs) // 2 :]
        docs = cut[:: max(1, len(cut) // items)][:items]
        return Asked(
            [
                Prompt(f"{d['context']}\n\n{d['question']}", "", f"\n\nThe answer, in {name}:")
                for d in docs
            ],
            [d["context"] for d in docs],
            [d["answers"]["text"][0] for d in docs],
        )
    own, english = (sentences(SHARED / "flores200", t, part)[:items] for t in (language, "en"))
    if task == "translate":
        after = f"\n{name} sentence:"
        return Asked([Prompt("", f"English sentence: {e}{after}") for e in english], english, own)
    after = f"\n\nHere the text goes on, now in {name}:"
    return Asked([Prompt(text, "", after) for text in own], own)


def scores(task: str, answers: Sequence[str], references: list[str] | None) -> Array:
    """chrF++ or F1 of each first line, 0 to 100; NaN where there is no reference."""
    if references is None:
        return np.full(len(answers), np.nan)
    if task == "translate":
        return np.array(reference_scores(answers, references))
    return f1_scores(answers, references)


def f1_scores(answers: Sequence[str], references: Sequence[str]) -> Array:
    """F1 of each first line, 0 to 100, as SQuAD counts."""
    pairs = zip(map(first_line, answers), references, strict=True)
    rows = [xquad._scores({"answers": {"text": [r]}}, [a])["f1"] for a, r in pairs]
    return 100 * np.array(rows)


def first_line_is_in(answers: Sequence[str], language: str) -> Array:
    """As `benchmarks.generation` counts: 100 where the first line is told to be in the language itself."""
    told = identify([first_line(answer) for answer in answers])
    return np.array([100.0 * (t is not None and t.language == language) for t in told])


def changes_of(model: Model, language: str, condition: str) -> list[Change]:
    changes = []
    text = corpus("ntrex", language, LINES)
    for part in condition.split("+"):
        name, *rest = part.split(":")
        if name == "away_half":
            away = fitted(model, text.lines(range(0, len(text), 4)), "mean_difference:8")
            changes.append(away.at("generated").with_strength(-0.5))
        elif name == "read":
            reads = fitted(model, text.lines(range(0, len(text), 4)), "mean_difference:8")
            changes.append(reads.with_strength(0.5))
        elif name == "answers":
            clamp = clamp_at(model, text, int(rest[0]))
            clamp = reaching(clamp, float(rest[1]))
            clamp = replace(clamp, keeps_length="kept" in rest)
            changes.append(clamp.at("all") if "all" in rest else clamp)
        elif name == "fit":
            several = read_corpus(SHARED / "ntrex", OTHERS).some(FEWER_LINES)
            changes.append(langsteer.fit(model, several, language, rest[0]))
    return changes


def clamp_at(model: Model, text: ParallelCorpus, layer: int) -> Clamp:
    """The clamp of a layer; those of all layers that are tried are fitted at once, and kept."""
    name = f"{text.language}-{text.fingerprint[:12]}-{model.name}-{model.dtype}-answers"
    folder = RESULTS / "work" / "vectors"
    if not (folder / f"{name}-{layer}.safetensors").exists():
        layers = sorted({layer, *(round(depth * model.layers) for depth in DEPTHS)})
        for clamp in fit_layers(model, text, layers):
            clamp.save(folder / f"{name}-{clamp.layer}.safetensors")
    return Clamp.load(folder / f"{name}-{layer}.safetensors", model)


def processors_of(model: Model, language: str, condition: str) -> list[LogitsProcessor]:
    made: dict[str, Any] = {
        "ban": lambda: OnlyScript(model, language),
        "reach": lambda: ConfusionGate(model, language),
        "gate": lambda: ConfusionGate(model),
        "words": lambda strength="1": Biased(
            [-float(strength) * pivot_excess(model, corpus("ntrex", language, LINES))]
        ),
        "own": lambda most="1": Biased(
            [language_excess(model, corpus("ntrex", language, LINES), float(most))]
        ),
    }
    parts = [part.split(":") for part in condition.split("+")]
    return [made[name](*rest) for name, *rest in parts if name in made]


@contextlib.contextmanager
def steered(model: Model, changes: Sequence[Change]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for change in changes:
            stack.enter_context(change.applied(model))
        yield


def answered(model: Model, prompts: list[Prompt], about: dict[str, Any]) -> list[str]:
    answers: list[str] = []
    changes = changes_of(model, about["language"], about["condition"])
    # What reads is given to `generate`, which knows the sentence in the prompt from the words around it.
    reads = [change for change in changes if change.positions == "source"]
    with steered(model, [change for change in changes if change not in reads]):
        for start in range(0, len(prompts), ROWS):
            answers += generate(
                model,
                prompts[start : start + ROWS],
                reads[0] if reads else None,
                max_new_tokens=about["tokens"],
                logits_processor=processors_of(model, about["language"], about["condition"]),
            )
    return answers


def run(model: Model, about: dict[str, Any]) -> dict[str, Any]:
    """Answer, and add the line."""
    start = time.perf_counter()
    items = asked(about["task"], about["language"], about["part"], about["items"])
    answers = answered(model, items.prompts, about)
    measured = written(answers, about["language"], items.texts)
    values = {m: column(measured, m) for m in MEASURES}
    values["strict"] = first_line_is_in(answers, about["language"])
    values["score"] = scores(about["task"], answers, items.references)
    values = {name: own for name, own in values.items() if not np.isnan(own).any()}
    line = {
        **about,
        "means": {name: round(float(own.mean()), 1) for name, own in values.items()},
        "seconds": round(time.perf_counter() - start, 1),
        "version": __version__,
        "values": {name: [round(v, 1) for v in own.tolist()] for name, own in values.items()},
        "answers": answers[:KEPT],
    }
    add_line(FILE, line)
    print(
        json.dumps({k: v for k, v in line.items() if k != "values"}, ensure_ascii=False), flush=True
    )
    return line


def settings(
    task: str, language: str, condition: str, chosen: argparse.Namespace
) -> dict[str, Any]:
    names = ("model", "part", "items", "tokens", "dtype")
    about = {name: getattr(chosen, name) for name in names}
    return {"task": task, "language": language, "condition": condition, **about}


def table(task: str, measure: str, chosen: argparse.Namespace) -> str:
    """Means of a measure and changes against `none`; the mean is over languages with all conditions."""
    known: dict[tuple[str, str], Array] = {}
    for condition in chosen.conditions:
        for tag in chosen.languages:
            line = find_line(FILE, settings(task, tag, condition, chosen))
            if line is not None and measure in line["values"]:
                known[condition, tag] = np.array(line["values"][measure])
    complete = [t for t in chosen.languages if all((c, t) in known for c in chosen.conditions)]
    rows = [
        [
            condition,
            *(_cell(known, condition, chosen.base, [tag]) for tag in chosen.languages),
            _cell(known, condition, chosen.base, complete),
        ]
        for condition in chosen.conditions
    ]
    heads = [f"{task}: {measure}", *map(language_name, chosen.languages), "mean"]
    return markdown(heads, rows)


def _cell(known: dict[tuple[str, str], Array], condition: str, base: str, tags: list[str]) -> str:
    if not tags or any((condition, tag) not in known for tag in tags):
        return ""
    moved = np.mean([known[condition, tag] for tag in tags], axis=0)
    if condition == base or any((base, tag) not in known for tag in tags):
        return f"{moved.mean():.1f}"
    unmoved = np.mean([known[base, tag] for tag in tags], axis=0)
    change = bracketed(rounded(paired_bootstrap(difference, unmoved, moved)))
    return f"{moved.mean():.1f} ({change})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--languages", nargs="+", default=["el", "hi", "tr", "id"])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=["go_on"])
    parser.add_argument("--conditions", nargs="+", default=["none"])
    parser.add_argument("--base", default="none", help="with --table: what changes are against")
    parser.add_argument("--part", choices=("development", "test"), default="development")
    parser.add_argument("--items", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--dtype", default="float32")
    chosen = arguments(
        parser, lambda chosen: "\n\n".join(table(t, m, chosen) for t in chosen.tasks for m in SHOWN)
    )
    model = langsteer.load_model(chosen.model, dtype=chosen.dtype)
    for task in chosen.tasks:
        for condition in chosen.conditions:
            for language in chosen.languages:
                about = settings(task, language, condition, chosen)
                if find_line(FILE, about) is None:
                    run(model, about)


if __name__ == "__main__":
    main()
