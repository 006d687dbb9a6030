"""What learning from the items gains where facts are asked: from the right answers, or from the prompts' English.

    python -m benchmarks.gradient_facts --languages id el tr hi vi et ru th [--means english]
    python -m benchmarks.gradient_facts --table [--means english]

Learned, as a search does it, from development items of BMLAMA-53: by default along the right answers' gradient, of three
places and two lengths; with `--means english`, mean differences and projections of the prompts and their English. The best
is chosen on the same items, of which each shows the right answer and two others drawn at random, scored by what was
learned from the other half, and reported once on other items with all their answers. Each language is a line of
benchmarks/results/gradient_facts.jsonl; those that are there are not made again.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import langsteer
from benchmarks.ceiling_facts import LANGUAGES, STEERED, TASK, questions_of, values
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
from langsteer.diagnosis.halving import ALL, NOTHING, Scorer
from langsteer.diagnosis.labels import CHOICES, labelled_candidates
from langsteer.diagnosis.scoring import scale_of
from langsteer.diagnosis.task import read_task
from langsteer.diagnosis.translated_items import translated_candidates
from langsteer.diagnosis.trials import Trials
from langsteer.evaluation.statistics import difference, mean_over_groups, paired_bootstrap
from langsteer.model.model import Model

FILE = RESULTS / "gradient_facts.jsonl"


def run(model: Model, about: dict[str, Any]) -> dict[str, Any]:
    started = time.perf_counter()
    task = read_task(TASK, about["language"], data=SHARED)
    items = task.development[: about["learned_from"]]
    few = questions_of(model, items).sampled(CHOICES)
    with tempfile.TemporaryDirectory() as name:
        trials = Trials(Path(name) / "trials.jsonl", {})
        candidates = (
            translated_candidates(model, task, items)
            if about["means"] == "english"
            else labelled_candidates(model, task, few, None, Path(name), trials)
        )
        scorer = Scorer(model, items, few, scale_of(few), trials)
        scorer.nothing(ALL, len(items))
        scorer.score(candidates, ALL, len(items))
        standings = scorer.standings(candidates, ALL, len(items))
    (best,) = (c for c in candidates if c.name == standings[0].candidate)
    reported = values(model, task.report[: about["reported_on"]], best.change)
    return {
        **about,
        "chosen": best.name,
        "chosen_on": {s.candidate: round(s.gain, 1) for s in standings},
        "nothing": reported[NOTHING].tolist(),
        "steered": reported[STEERED].tolist(),
        "seconds": round(time.perf_counter() - started),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--means", choices=["labels", "english"], default="labels")
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--languages", nargs="+", default=LANGUAGES)
    parser.add_argument("--learned-from", type=int, default=128, help="items")
    parser.add_argument("--reported-on", type=int, default=100, help="items")
    chosen = arguments(parser, table)
    model = langsteer.load_model(chosen.model)
    for language in chosen.languages:
        about = {
            "model": model.name,
            "means": chosen.means,
            "language": language,
            "learned_from": chosen.learned_from,
            "reported_on": chosen.reported_on,
        }
        if find_line(FILE, about) is None:
            line = run(model, about)
            add_line(FILE, line)
            print(json.dumps({**line, "nothing": None, "steered": None}), flush=True)


def table(asked: argparse.Namespace) -> str:
    """Each language, and all together, so that each counts alike."""
    lines = [line for line in read_lines(FILE) if line["means"] == asked.means]
    rows = []
    for line in lines:
        before, after = np.array(line["nothing"]), np.array(line["steered"])
        gain = bracketed(rounded(paired_bootstrap(difference, before, after)))
        told = line["chosen_on"][line["chosen"]]
        rows.append(
            [line["language"], line["chosen"], f"{told:+.1f}", f"{before.mean():.1f}", gain]
        )
    gains = [np.array(line["steered"]) - np.array(line["nothing"]) for line in lines]
    if len(gains) > 1:
        before = np.mean([np.mean(line["nothing"]) for line in lines])
        together = bracketed(rounded(mean_over_groups(gains)))
        rows.append(["together", "", "", f"{before:.1f}", together])
    return markdown(["language", "chosen", "chosen on", "nothing", "gain on others"], rows)


if __name__ == "__main__":
    main()
