"""One recipe for all languages of a task: chosen on the development items of all, reported once on others.

    python -m benchmarks.shared_recipe --task bmlama53 --languages id el tr hi vi et ru th
    python -m benchmarks.shared_recipe --table

A language's own development items are few, and the luckiest of many recipes on them is chosen by its luck. Here each
recipe (a method, a layer, positions, a strength) is fitted in every language on NTREX, and worth what it gains on
average; by successive halving, the best on more items. Everything is kept in `--work` as it comes, so that a run that
was stopped goes on. A line of benchmarks/results/shared_recipe.jsonl a run: what was chosen, and for each language, on
its other items, what nothing, the default, the recipe and English make, raw and with answers' scores divided by their
lengths in tokens, with paired 95% bootstrap intervals.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
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
    markdown,
    read_lines,
    rounded,
    some_news,
)
from langsteer.diagnosis.fits import Candidate, Fits, cheap_candidates, learned_candidates, refined
from langsteer.diagnosis.halving import NOTHING, Scorer
from langsteer.diagnosis.items import TaskItems
from langsteer.diagnosis.scoring import answer_scores, asked, scale_of
from langsteer.diagnosis.task import read_task
from langsteer.diagnosis.trials import Trials
from langsteer.evaluation.statistics import Array, difference, paired_bootstrap
from langsteer.model.model import Model
from langsteer.version import __version__

FILE = RESULTS / "shared_recipe.jsonl"
LINES = 400
ROUNDS = (16, 32)  # development items of each language
KEPT = (6, 3)  # recipes after each round
DEPTHS = 4  # of those that a search tries, the likelier first
CHOICES = 4


@dataclass
class Part:
    """A language's share of a search."""

    task: TaskItems
    fits: Fits
    scorer: Scorer

    def gains(self, candidates: Sequence[Candidate], stage: str, items: int) -> dict[str, float]:
        self.scorer.score(candidates, stage, items)
        standings = self.scorer.standings(candidates, stage, items)
        return {standing.candidate: standing.smooth for standing in standings}


def part_of(model: Model, name: str, tag: str, work: Path, most: int) -> Part:
    task = read_task(name, tag, data=SHARED)
    corpus = some_news(tag, LINES).only(tag)
    about = {"model": model.fingerprint, "task": name, "language": tag, "items": task.fingerprint}
    trials = Trials(work / f"{name}.{tag}.jsonl", about)
    items = task.development[:most]
    questions = asked(model, [item.own for item in items], items)
    scorer = Scorer(model, items, questions, scale_of(questions), trials)
    scorer.choose_among(CHOICES)
    scorer.nothing(scorer.some, len(items))
    return Part(task, Fits(model, corpus, work / f"fits.{tag}", trials), scorer)


def candidates_of(part: Part, learned: bool) -> list[Candidate]:
    """The same in every language: what is fitted depends on the model's depth alone.

    Where all of a prompt is text in the language, what acts on the prompt is what acts on the text.
    """
    part.fits.layers = part.fits.layers[:DEPTHS]
    some = cheap_candidates(part.fits, lambda: learned)
    if learned:
        some += learned_candidates(part.fits, part.fits.layers[:1], lambda: True)
    by_name = {candidate.name: candidate for candidate in some}
    if not any("".join(getattr(item.own.prompt, "pieces", "?")[::2]) for item in part.task.all):
        twins = [
            name for name in by_name if name.replace("@prompt", "@source") in set(by_name) - {name}
        ]
        by_name = {name: own for name, own in by_name.items() if name not in twins}
    return list(by_name.values())


def best_of(
    parts: Sequence[Part], pools: Sequence[Sequence[Candidate]], stage: str, items: int
) -> list[str]:
    """Names from the largest gain to the smallest, on average over languages."""
    gains = [part.gains(pool, stage, items) for part, pool in zip(parts, pools, strict=True)]
    mean = {name: float(np.mean([own[name] for own in gains])) for name in gains[0]}
    names = sorted(mean, key=lambda name: -mean[name])
    print(items, [(name, round(mean[name], 2)) for name in names[:8]], flush=True)
    return names


def choose(parts: Sequence[Part], learned: bool) -> tuple[str, list[Candidate], list[str]]:
    """The recipe's name, its candidate in each language, and the names from the last round."""
    pools = [candidates_of(part, learned) for part in parts]
    stage = parts[0].scorer.some
    for items, kept in zip(ROUNDS, KEPT, strict=True):
        names = best_of(parts, pools, stage, items)[:kept]
        chosen = [[next(c for c in pool if c.name == n) for n in names] for pool in pools]
        pools = chosen
        if items == ROUNDS[0]:
            pools = [list({c.name: c for c in (*p, *refined(p))}.values()) for p in chosen]
    return names[0], [pool[0] for pool in pools], names


def report(
    model: Model, part: Part, recipe: Candidate, items: int, learned: bool
) -> dict[str, dict[str, Array]]:
    """Values on other items: {raw or by length: {what: [items]}}."""
    own = part.task.report[:items]
    questions = asked(model, [item.own for item in own], own)
    changes = {NOTHING: None, recipe.name: recipe.change}
    if learned:
        default = part.fits.default()
        changes[default.name] = default.change
    scores = dict(
        zip(changes, answer_scores(model, questions, list(changes.values())), strict=True)
    )
    if all(item.english is not None for item in own):
        english = asked(model, [item.english for item in own if item.english], own)
        (scores["english"],) = answer_scores(model, english)
    else:
        english = questions
    raw, by_length = {}, {}
    for name, rows in scores.items():
        asked_as = english if name == "english" else questions
        lengths = [np.array([len(a) for a in q.answers]) for q in asked_as.questions]
        divided = [row / length for row, length in zip(rows, lengths, strict=True)]
        raw[name] = part.scorer.scale.values(rows, asked_as.right)
        by_length[name] = part.scorer.scale.values(divided, asked_as.right)
    return {"raw": raw, "by length": by_length}


def gains(values: dict[str, Array]) -> dict[str, Any]:
    made: dict[str, Any] = {NOTHING: round(float(values[NOTHING].mean()), 1)}
    for name, own in values.items():
        if name != NOTHING:
            made[name] = rounded(paired_bootstrap(difference, values[NOTHING], own))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="bmlama53")
    parser.add_argument(
        "--languages", nargs="+", default=["id", "el", "tr", "hi", "vi", "et", "ru", "th"]
    )
    parser.add_argument("--model", default=None)
    parser.add_argument("--items", type=int, default=150, help="to report on, of each language")
    parser.add_argument(
        "--learned",
        action="store_true",
        help="projections, and vectors that are learned, too",
    )
    parser.add_argument("--work", type=Path, default=Path("shared-recipe-work"))
    chosen = arguments(parser, lambda _: table())
    started = time.perf_counter()
    model = langsteer.load_model(chosen.model) if chosen.model else langsteer.load_model()
    work = chosen.work / model.name.replace("/", "-")
    parts = [part_of(model, chosen.task, tag, work, ROUNDS[-1]) for tag in chosen.languages]
    name, candidates, names = choose(parts, chosen.learned)
    values = [
        report(model, p, c, chosen.items, chosen.learned)
        for p, c in zip(parts, candidates, strict=True)
    ]
    line = {
        "task": chosen.task,
        "model": model.name,
        "languages": chosen.languages,
        "rounds": ROUNDS,
        "learned": chosen.learned,
        "recipe": name,
        "others": names[1:],
        "report_items": chosen.items,
        "seconds": round(time.perf_counter() - started),
        "version": __version__,
    }
    for kind in ("raw", "by length"):
        own = {tag: gains(v[kind]) for tag, v in zip(chosen.languages, values, strict=True)}
        names_all = values[0][kind]
        together = {n: np.concatenate([v[kind][n] for v in values]) for n in names_all}
        line[kind] = {**own, "together": gains(together)}
    add_line(FILE, line)
    print(json.dumps(line, ensure_ascii=False), flush=True)


def table() -> str:
    """Each run's languages, in Markdown; without the default where no run has it."""
    rows = []
    for line in read_lines(FILE):
        for tag in (*line["languages"], "together"):
            row = [line["model"], line["task"], tag]
            for kind in ("raw", "by length"):
                own = line[kind][tag]
                default = next((own[n] for n in own if n.startswith("learned")), None)
                row += [
                    f"{own[NOTHING]:.1f}",
                    bracketed(own[line["recipe"]]),
                    bracketed(default) if default else "",
                ]
            rows.append(row)
    heads = [
        "model",
        "task",
        "language",
        "nothing",
        "recipe",
        "default",
        "by length: nothing",
        "recipe",
        "default",
    ]
    told = [place for place in range(len(heads)) if any(row[place] for row in rows)]
    return markdown([heads[p] for p in told], [[row[p] for p in told] for row in rows])


if __name__ == "__main__":
    main()
