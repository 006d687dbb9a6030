"""What `langsteer fit --for answers` finds, language by language, and what it does to prompts of another kind.

    python -m benchmarks.answer_searches --model smollm2-135m --languages el id sw --budget 9
    python -m benchmarks.answer_searches --table

A search fits, chooses and reports on the built-in corpus, with prompts of its own. What it chose, written or not, is
then asked what it had no part in: `forcing`, the English prompts of the Language Confusion Benchmark, which name no
language, to be answered in it (the form of CLaS-Bench, arXiv 2601.08331); and `monolingual`, that benchmark's prompts
in the language, where it has some. Answers are cut where a next question begins. `line_pass` is the benchmark's own
measure (arXiv 2406.20052), of the answers that it judges; the others are those of `langsteer.evaluation.written`.

Each search, and each kind of prompt asked, is a line of benchmarks/results/answer_searches.jsonl.gz, written as it comes;
those that are there are not made again, and a search that was stopped goes on from its folder in `--work`.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
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
    rounded,
)
from langsteer.diagnosis.answers import find_answers
from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks import get_benchmark, load_docs
from langsteer.evaluation.benchmarks.language_confusion import line_pass
from langsteer.evaluation.statistics import difference, mean_over_groups, paired_bootstrap
from langsteer.evaluation.written import MEASURES, column, written
from langsteer.model.model import Model
from langsteer.model.tokens import Prompt
from langsteer.steering.change import Change
from langsteer.steering.generation import generate
from langsteer.text.languages import language_name
from langsteer.text.readers import read_corpus

FILE = RESULTS / "answer_searches.jsonl.gz"
SEARCH = "search"
PROMPTS = {"forcing": "language_forcing", "monolingual": "language_confusion"}
SHOWN = ("right", "other", "distinct_3", "copied")
NEXT = "\nQ:"
LONGEST = 600  # characters of a prompt
ROWS = 32


def searched(model: Model, about: dict[str, Any], work: Path) -> tuple[Change, dict[str, Any]]:
    """The change that a search chose, and its line."""
    tag = about["language"]
    folder = work / f"{model.name}-{tag}.search"
    change, results = find_answers(
        model, read_corpus("builtin", [tag]).only(tag), folder, budget=about["budget"]
    )
    plain = {k: v for k, v in results.as_json().items() if k not in ("model", "language", "budget")}
    changes = {name: rounded(change) for name, change in results.changes.items()}
    means = {
        when: {name: round(value, 1) for name, value in plain[when].items()}
        for when in ("before", "after")
    }
    standings = [
        {**each, "measures": {name: round(v, 1) for name, v in each["measures"].items()}}
        for each in plain["standings"]
    ]
    return change, {**about, **plain, **means, "changes": changes, "standings": standings}


def prompts_of(kind: str, language: str, items: int) -> list[str]:
    """Prompts spread over the benchmark's, as many as asked; none where it has none in the language."""
    try:
        docs = load_docs(get_benchmark(PROMPTS[kind]), language, "test", SHARED)
    except BenchmarkError:
        return []
    texts = [doc["prompt"] for doc in docs if len(doc["prompt"]) <= LONGEST]
    return texts[:: max(1, len(texts) // items)][:items]


def answered(model: Model, change: Change | None, texts: list[str], tokens: int) -> list[str]:
    prompts = [Prompt(text, "Q: ", "\nA:") for text in texts]
    answers: list[str] = []
    for start in range(0, len(prompts), ROWS):
        batch = prompts[start : start + ROWS]
        answers += generate(model, batch, change, max_new_tokens=tokens)
    return [answer.split(NEXT)[0].strip() for answer in answers]


def asked(
    model: Model, change: Change, texts: list[str], about: dict[str, Any], recipe: str
) -> dict[str, Any]:
    """Answers before and after, measured and compared."""
    tag = about["language"]
    answers = {
        "before": answered(model, None, texts, about["tokens"]),
        "after": answered(model, change, texts, about["tokens"]),
    }
    rows = {when: written(own, tag, texts) for when, own in answers.items()}
    values = {when: {name: column(own, name) for name in MEASURES} for when, own in rows.items()}
    passed = {when: np.array([line_pass(a, tag) for a in own]) for when, own in answers.items()}
    means = {
        when: {
            **{name: round(float(own.mean()), 1) for name, own in values[when].items()},
            "line_pass": round(100 * float(np.nanmean(passed[when])), 1),
            "judged": int((~np.isnan(passed[when])).sum()),
        }
        for when in answers
    }
    changes = {
        name: rounded(paired_bootstrap(difference, values["before"][name], values["after"][name]))
        for name in MEASURES
    }
    kept = {
        when: {name: values[when][name].round(1).tolist() for name in ("right", "distinct_3")}
        for when in answers
    }
    shown = {when: own[:3] for when, own in answers.items()}
    return {
        **about,
        "recipe": recipe,
        **means,
        "changes": changes,
        "values": kept,
        "answers": shown,
    }


def table(chosen: argparse.Namespace) -> str:
    """Searches, then the prompts of another kind: each language, and the means over languages that count alike."""
    lines = read_lines(FILE)
    heads = ["model", "language", "items", "recipe", *SHOWN, "line pass"]
    parts = []
    for kind in (SEARCH, *PROMPTS):
        own = [line for line in lines if line["kind"] == kind]
        rows = [_row(line) for line in own] + list(_mean_rows(own, kind))
        parts.append(f"{kind}\n\n{markdown(heads, rows)}")
    return "\n\n".join(parts)


def _row(line: dict[str, Any]) -> list[str]:
    items = line["report_lines"] if line["kind"] == SEARCH else line["items"]
    cells = [
        f"{line['before'][name]} → {line['after'][name]} ({bracketed(line['changes'][name])})"
        for name in SHOWN
    ]
    passes = [line[when].get("line_pass") for when in ("before", "after")]
    told = "" if passes[0] is None else f"{passes[0]} → {passes[1]}"
    kept = f"`{line['recipe']}`" + (", written" if line.get("better") else "")
    return [line["model"], language_name(line["language"]), str(items), kept, *cells, told]


def _mean_rows(lines: list[dict[str, Any]], kind: str) -> Iterator[list[str]]:
    for model in dict.fromkeys(line["model"] for line in lines):
        own = [line for line in lines if line["model"] == model]
        cells = []
        for name in SHOWN:
            before, after = (
                float(np.mean([line[when][name] for line in own])) for when in ("before", "after")
            )
            told = ""
            if kind != SEARCH and name in own[0]["values"]["before"]:
                gains = [
                    np.subtract(line["values"]["after"][name], line["values"]["before"][name])
                    for line in own
                ]
                told = f" ({bracketed(rounded(mean_over_groups(gains)))})"
            cells.append(f"{before:.1f} → {after:.1f}{told}")
        yield [model, f"mean of {len(own)}", "", "", *cells, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--languages", nargs="+", default=["el", "hi", "tr", "id"])
    parser.add_argument("--budget", type=float, default=9.0, help="minutes of a search")
    parser.add_argument("--items", type=int, default=32, help="prompts of each kind")
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--work", type=Path, default=Path("answers-work"))
    chosen = arguments(parser, table)
    model = langsteer.load_model(chosen.model, dtype=chosen.dtype)
    for tag in chosen.languages:
        setting = {"model": model.name, "language": tag, "budget": chosen.budget}
        change, line = searched(model, {"kind": SEARCH, **setting}, chosen.work)
        if find_line(FILE, {"kind": SEARCH, **setting}) is None:
            add_line(FILE, line)
        for kind in PROMPTS:
            texts = prompts_of(kind, tag, chosen.items)
            about = {"kind": kind, **setting, "items": chosen.items, "tokens": chosen.tokens}
            if texts and find_line(FILE, about) is None:
                add_line(FILE, asked(model, change, texts, about, line["recipe"]))
        print(f"{model.name} {tag}: done", flush=True)


if __name__ == "__main__":
    main()
