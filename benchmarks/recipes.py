"""What a diagnosis says of a task, and what a search for its recipe gains, language by language.

    python -m benchmarks.recipes --tasks bmlama53 sib200 --languages id el sw --budget 15
    python -m benchmarks.recipes --table

Vectors are fitted on NTREX; a recipe is chosen on development items and reported once on others. Each diagnosis and
each search is a line of benchmarks/results/recipes.jsonl, written as it comes; those that are there are not
made again, and a search that was stopped goes on from its folder in `--work`.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

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
from langsteer.diagnosis.diagnose import diagnose
from langsteer.diagnosis.find import find_recipe
from langsteer.diagnosis.task import read_task
from langsteer.errors import LangsteerError
from langsteer.model.model import Model
from langsteer.text.readers import read_corpus

FILE = RESULTS / "recipes.jsonl"
LINES = 400
KINDS = ("diagnose", "search")


def diagnosed(model: Model, about: dict[str, Any]) -> dict[str, Any]:
    task = read_task(about["task"], about["language"], data=SHARED)
    return diagnose(model, task, limit=about["items"]).as_json()


def searched(model: Model, about: dict[str, Any], work: Path) -> dict[str, Any]:
    tag = about["language"]
    task = read_task(about["task"], tag, data=SHARED)
    corpus = read_corpus(str(SHARED / "ntrex"), [tag])
    corpus = corpus.lines(range(0, len(corpus), max(1, len(corpus) // LINES)))
    folder = work / f"{about['task']}.{tag}"
    _, found = find_recipe(
        model, task, corpus, folder, budget=about["budget"], limit=about["items"]
    )
    return found.as_json()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=["bmlama53", "sib200"])
    parser.add_argument("--languages", nargs="+", default=["id", "el", "sw"])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--items", type=int, default=None, help="of a task, at most")
    parser.add_argument("--budget", type=float, default=15.0, help="minutes of a search")
    parser.add_argument("--work", type=Path, default=Path("recipes-work"))
    chosen = arguments(parser, lambda _: table())
    model = langsteer.load_model()
    for task in chosen.tasks:
        for language in chosen.languages:
            for kind in chosen.kinds:
                about = {"kind": kind, "task": task, "language": language, "items": chosen.items}
                about["budget"] = chosen.budget if kind == "search" else None
                if find_line(FILE, about) is None:
                    run(model, about, chosen.work)


def run(model: Model, about: dict[str, Any], work: Path) -> None:
    """Make a line; a language that a task or the corpus lacks is told and passed over."""
    try:
        made = (
            diagnosed(model, about) if about["kind"] == "diagnose" else searched(model, about, work)
        )
    except LangsteerError as error:
        print(f"{about['task']} {about['language']}: {error}", flush=True)
        return
    load = round(os.getloadavg()[0], 1)
    add_line(FILE, {**about, "load": load, **{k: v for k, v in made.items() if k not in about}})
    told = made["verdict"]["sentences"] if about["kind"] == "diagnose" else made["reported"]
    print(json.dumps({**about, "told": told}, ensure_ascii=False), flush=True)


def table() -> str:
    """The searches, in Markdown."""
    rows = []
    for line in read_lines(FILE):
        if line["kind"] != "search":
            continue
        nothing, *others = line["reported"]
        gains = {row["name"]: row["gain"] for row in others}
        default = next((n for n in gains if n.startswith("learned") and n != line["recipe"]), None)
        rows.append(
            [
                line["task"],
                line["language"],
                str(line["report_items"]),
                f"{nothing['value']:.1f}",
                line["recipe"],
                _gain(gains.get(line["recipe"])),
                _gain(gains.get(default or "")),
                _gain(gains.get("english")),
            ]
        )
    heads = ["task", "language", "items", "nothing", "chosen", "gain", "the default", "English"]
    return markdown(heads, rows)


def _gain(gain: dict[str, float] | None) -> str:
    if gain is None:
        return ""
    return bracketed([round(gain[key], 1) for key in ("value", "low", "high")])


if __name__ == "__main__":
    main()
