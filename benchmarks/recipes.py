"""What a diagnosis says of a task, and what a search for its recipe gains, language by language.

    python -m benchmarks.recipes --tasks bmlama53 sib200 --languages id el sw --budget 15 [--model smollm2-135m]
    python -m benchmarks.recipes --table
    python -m benchmarks.recipes --table --summary
    python -m benchmarks.recipes --table --verdicts

Vectors are fitted on NTREX; a recipe is chosen on development items and reported once on others. Each diagnosis and
each search is a line of benchmarks/results/recipes.jsonl.gz, written as it comes; those that are there are not
made again, and a search that was stopped goes on from its folder in `--work`. Searches of one model and language share
what they fit. `--summary` pools the languages of a task, `--verdicts`
holds the diagnoses beside what the searches won.
"""

import argparse
import json
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

import langsteer
from benchmarks.answers import ROWS, f1_scores
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
    some_news,
)
from langsteer.diagnosis.diagnose import diagnose
from langsteer.diagnosis.find import find_recipe
from langsteer.diagnosis.fits import PROJECTED, Fits
from langsteer.diagnosis.items import TaskItems
from langsteer.diagnosis.scoring import Scoring
from langsteer.diagnosis.search_results import SearchResults, better_together
from langsteer.diagnosis.task import read_task
from langsteer.diagnosis.trials import Trials
from langsteer.errors import LangsteerError
from langsteer.evaluation.statistics import Array, difference, mean_over_groups, paired_bootstrap
from langsteer.fitting.projection import layers_at
from langsteer.model.model import Model
from langsteer.steering.change import Change
from langsteer.steering.generation import generate
from langsteer.text.corpus import ParallelCorpus

FILE = RESULTS / "recipes.jsonl.gz"
KINDS = ("diagnose", "search")
# how far ahead of the default what is chosen is; older lines have none, or the first half of it
RULE = (
    "one standard error, where the default is not behind nothing, with what is learned from the items' labels and "
    "English among what is tried"
)
ANSWERED = {"xquad": (48, 24)}  # items whose answers are written and scored too, and their tokens


def diagnosed(model: Model, about: dict[str, Any]) -> dict[str, Any]:
    task = read_task(about["task"], about["language"], data=SHARED)
    scoring: Scoring = about["scoring"] or "auto"
    return diagnose(model, task, limit=about["items"], scoring=scoring).as_json()


def searched(model: Model, about: dict[str, Any], work: Path) -> dict[str, Any]:
    tag = about["language"]
    task = read_task(about["task"], tag, data=SHARED)
    corpus = some_news(tag, about["lines"])
    scored = f".{about['scoring']}" if about["scoring"] else ""
    folder = work / model.name / f"{about['task']}.{tag}{scored}"
    shared = work / model.name / f"fits.{tag}"
    share_fits(folder / "fits", shared)
    if about["prefitted"]:
        prefit(model, corpus, shared)
    change, results = find_recipe(
        model,
        task,
        corpus,
        folder,
        budget=about["budget"],
        limit=about["items"],
        scoring=about["scoring"] or "auto",
    )
    made = {**results.as_json(), "rule": RULE}
    if about["task"] in ANSWERED:
        fits = Fits(model, corpus, shared, Trials(shared / "trials.jsonl", {"model": model.name}))
        default = fits.default()
        changes = {"nothing": None, results.recipe: change, default.name: default.change}
        made["answered"] = answered(model, task.limited(about["items"]), changes)
    digits = 0 if results.unit == "points" else 2
    for row, own in zip(made["reported"], results.reported, strict=True):
        row["values"] = [round(value, digits) for value in own.values]
    return made


def answered(
    model: Model, task: TaskItems, changes: dict[str, Change | None]
) -> dict[str, list[float]]:
    """F1 of what is written under each change, 0 to 100, of the first of the items to report on."""
    count, tokens = ANSWERED[task.source]
    items = task.report[:count]
    values = {}
    for name, change in changes.items():
        texts: list[str] = []
        for start in range(0, len(items), ROWS):
            prompts = [item.own.prompt for item in items[start : start + ROWS]]
            texts += generate(model, prompts, change, max_new_tokens=tokens)
        references = [item.own.answers[0].strip() for item in items]
        values[name] = [round(own, 1) for own in f1_scores(texts, references).tolist()]
    return values


def prefit(model: Model, corpus: ParallelCorpus, folder: Path) -> None:
    """Fit what every search begins with, once for all tasks, outside of their minutes."""
    fits = Fits(model, corpus, folder, Trials(folder / "trials.jsonl", {"model": model.name}))
    fits.default()
    fits.at_layers("mean_difference", fits.layers)
    fits.at_layers("projection", layers_at(model, PROJECTED))


def share_fits(own: Path, shared: Path) -> None:
    """Let a search keep its fits where the other searches of its model and language keep theirs."""
    shared.mkdir(parents=True, exist_ok=True)
    own.parent.mkdir(parents=True, exist_ok=True)
    if not own.exists():
        own.symlink_to(shared.resolve(), target_is_directory=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=["bmlama53", "sib200"])
    parser.add_argument("--languages", nargs="+", default=["id", "el", "sw"])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--items", type=int, default=None, help="of a task, at most")
    parser.add_argument("--budget", type=float, default=15.0, help="minutes of a search")
    parser.add_argument("--lines", type=int, default=400, help="of NTREX to fit on, about")
    parser.add_argument(
        "--prefit", action="store_true", help="what every search fits is fitted before its minutes"
    )
    parser.add_argument("--scoring", choices=["raw"], default=None, help="not calibrated")
    parser.add_argument("--model", default=None)
    parser.add_argument("--work", type=Path, default=Path("recipes-work"))
    parser.add_argument("--summary", action="store_true", help="with --table: each task pooled")
    parser.add_argument(
        "--verdicts", action="store_true", help="with --table: what came of each kind"
    )
    chosen = arguments(parser, shown)
    model = langsteer.load_model(chosen.model) if chosen.model else langsteer.load_model()
    for task in chosen.tasks:
        for language in chosen.languages:
            for kind in chosen.kinds:
                about = {"kind": kind, "task": task, "language": language, "items": chosen.items}
                about |= {"model": model.name, "scoring": chosen.scoring}
                about["lines"] = chosen.lines if kind == "search" else None
                about["prefitted"] = chosen.prefit if kind == "search" else None
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
    told = made["verdict"]["sentences"] if about["kind"] == "diagnose" else told_of(made)
    print(json.dumps({**about, "told": told}, ensure_ascii=False), flush=True)


def shown(asked: argparse.Namespace) -> str:
    return summary() if asked.summary else verdicts() if asked.verdicts else table()


def told_of(made: dict[str, Any]) -> list[Any]:
    return [
        made["recipe"],
        *(
            (row["name"], row["value"], row["gain"] and _gain(row["gain"]))
            for row in made["reported"]
        ),
    ]


def searches() -> list[dict[str, Any]]:
    """The searches; where answers were written too, what those are worth comes as a line of its own."""
    lines = [named(line) for line in read_lines(FILE) if line["kind"] == "search"]
    return [own for line in lines for own in (line, *as_answered(line))]


def named(line: dict[str, Any]) -> dict[str, Any]:
    """The same, with its scoring in the name of its task, unless that is the task's own."""
    scoring = line.get("scoring")
    return {**line, "task": f"{line['task']}, {scoring}"} if scoring else line


def as_answered(line: dict[str, Any]) -> list[dict[str, Any]]:
    if not line.get("answered"):
        return []
    values = {name: np.array(own) for name, own in line["answered"].items()}
    rows = [
        {
            "name": name,
            "value": float(own.mean()),
            "gain": asdict(paired_bootstrap(difference, values["nothing"], own))
            if name != "nothing"
            else None,
            "values": own.tolist(),
        }
        for name, own in values.items()
    ]
    task = f"{line['task']}, F1"
    return [{**line, "task": task, "reported": rows, "report_items": len(values["nothing"])}]


def table() -> str:
    """The searches, in Markdown."""
    rows = []
    for line in searches():
        nothing, *others = line["reported"]
        gains = {row["name"]: row["gain"] for row in others}
        rows.append(
            [
                line["model"],
                line["task"],
                line["language"],
                str(line["report_items"]),
                f"{nothing['value']:.1f}",
                line["recipe"],
                _gain(gains.get(line["recipe"])),
                "yes" if line["better"] else "no",
                _gain(gains.get(default_of(line))),
                _gain(gains.get("english")),
            ]
        )
    heads = ["model", "task", "language", "items", "nothing", "chosen", "its gain", "written"]
    return markdown([*heads, "the default", "English"], rows)


def default_of(line: dict[str, Any]) -> str:
    """The name of the default among what was reported; the chosen recipe, where that is it."""
    names = [row["name"] for row in line["reported"]]
    return next((n for n in names[2:] if n.startswith("learned")), names[1])


def _gain(gain: dict[str, float] | None) -> str:
    if gain is None:
        return ""
    return bracketed([round(gain[key], 1) for key in ("value", "low", "high")])


def summary() -> str:
    """Each task of each model over its languages, in Markdown, the newest search of each; then those by a rule."""
    newest = {key_of(line): line for line in searches() if has_values(line)}
    parts = [summary_of(newest)]
    for rule in dict.fromkeys(line["rule"] for line in newest.values() if line.get("rule")):
        ruled = {key: line for key, line in newest.items() if line.get("rule") == rule}
        parts += [f"Of these, chosen by the rule of {rule}:", summary_of(ruled)]
    return "\n\n".join(parts)


def summary_of(newest: dict[tuple[str, str, str], dict[str, Any]]) -> str:
    tasks: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for (model, task, _), line in newest.items():
        tasks.setdefault((model, task), []).append(line)
    rows = []
    for (model, task), lines in tasks.items():
        written = written_of(lines)
        values = [of_kinds(line, w) for line, w in zip(lines, written, strict=True)]
        rows.append(
            [
                model,
                task,
                str(len(lines)),
                f"{np.mean([own['nothing'].mean() for own in values]):.1f}",
                *(pooled(values, kind) for kind in ("chosen", "written", "default", "english")),
                str(sum(written)),
            ]
        )
    heads = ["model", "task", "languages", "nothing", "chosen", "what is written", "the default"]
    return markdown([*heads, "English", "written in"], rows)


def verdicts() -> str:
    """What a diagnosis said of a task in a language, beside what the search for a recipe won there."""
    diagnoses = {
        key_of(named(line)): line for line in read_lines(FILE) if line["kind"] == "diagnose"
    }
    made = {key_of(line): line for line in searches()}
    kinds: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for key in diagnoses.keys() & made.keys():
        said = diagnoses[key]["verdict"]
        kinds.setdefault(said["kind"], []).append((said, made[key]))
    rows = []
    for kind, pairs in sorted(kinds.items()):
        gains = [line["reported"][1]["gain"] for _, line in pairs]
        bounds = [
            gain["low"] <= said["most"]
            for (said, _), gain in zip(pairs, gains, strict=True)
            if said["most"] is not None
        ]
        rows.append(
            [
                kind,
                str(len(pairs)),
                str(sum(gain["low"] > 0 for gain in gains)),
                str(sum(gain["high"] < 0 for gain in gains)),
                f"{sum(bounds)} of {len(bounds)}" if bounds else "",
            ]
        )
    heads = ["verdict", "tasks and languages", "better than nothing", "worse", "within the bound"]
    return markdown(heads, rows)


def key_of(line: dict[str, Any]) -> tuple[str, str, str]:
    return line["model"], line["task"], line["language"]


def has_values(line: dict[str, Any]) -> bool:
    return all(row.get("values") for row in line["reported"])


def written_of(lines: list[dict[str, Any]]) -> list[bool]:
    """Which of a task's searches, of one language each, `fit --for` of all of the languages would write."""
    names = [field.name for field in fields(SearchResults)]
    searches = [SearchResults.from_json({name: line[name] for name in names}) for line in lines]
    together, _ = better_together(searches)
    return [search.better or place in together for place, search in enumerate(searches)]


def of_kinds(line: dict[str, Any], written: bool) -> dict[str, Array]:
    """The items' values by what was done; written is the chosen recipe, or nothing where none was."""
    own = {row["name"]: np.array(row["values"]) for row in line["reported"]}
    made = {
        "nothing": own["nothing"],
        "chosen": own[line["recipe"]],
        "default": own[default_of(line)],
    }
    made["written"] = made["chosen" if written else "nothing"]
    return made | ({"english": own["english"]} if "english" in own else {})


def pooled(values: list[dict[str, Array]], kind: str) -> str:
    """The mean gain over languages, each language counts the same. The same items are drawn in languages that
    have as many, since theirs are translations of each other."""
    if not all(kind in own for own in values):
        return ""
    return bracketed(rounded(mean_over_groups([own[kind] - own["nothing"] for own in values])))


if __name__ == "__main__":
    main()
