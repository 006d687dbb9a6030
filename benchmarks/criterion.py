"""Which criterion without labels knows the recipe that helps? Each is held against what items say.

    python -m benchmarks.criterion --tasks sib200 bmlama53 xcopa --languages id tr et th
    python -m benchmarks.criterion --table

Changes (the mean difference at four depths, at the text or the whole prompt, half and whole; with `--learned` the
default's vector at four strengths) are fitted on NTREX and ranked, on development items of the task, by what items with
labels say, and by criteria that see no label:

- reading: how little the model, reading lines that were held out, goes on otherwise than after English (`fitting.search`);
- answering: how little its probabilities of an item's choices differ from those that it gives in English;
- sureness: how likely it holds the likeliest choice;
- crossing: how near the layer lies to that at which alignment with English (MEXA) and separability of the two
  languages (silhouette), each scaled to 0..1 over layers, are most alike; an approach after arXiv 2605.23036, whose
  own measures are others. Where layers tie, reading decides.

Each criterion's first choice is reported once, on other items, against doing nothing. A line of
benchmarks/results/criterion.jsonl a task and language, written as it comes.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.metrics import silhouette_score

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
from langsteer.analysis.alignment import mexa
from langsteer.diagnosis.fits import Candidate, Fits, used
from langsteer.diagnosis.items import TaskItem
from langsteer.diagnosis.scoring import answer_scores, asked, scale_of
from langsteer.diagnosis.task import read_task
from langsteer.diagnosis.trials import Trials
from langsteer.errors import LangsteerError
from langsteer.evaluation.statistics import Array, calibrate, difference, paired_bootstrap
from langsteer.fitting.projection import layers_at
from langsteer.fitting.search import Measure
from langsteer.model.model import Model
from langsteer.states.capture import sentence_states
from langsteer.text.corpus import ParallelCorpus
from langsteer.text.readers import read_corpus
from langsteer.version import __version__

FILE = RESULTS / "criterion.jsonl"
FITTED, HELD_OUT = 400, 48  # lines
DEPTHS = (0.2, 0.45, 0.6, 0.8)
STRENGTHS = (0.5, 1.0)
LEARNED_STRENGTHS = (0.25, 0.5, 0.75, 1.0)
CHOICES = 4  # of an item that has more, where recipes are chosen
CRITERIA = ("reading", "answering", "sureness", "crossing")
LABELS = "labels"


@dataclass(frozen=True)
class Scores:
    """Log-likelihoods of items' choices under each change, and under none: [changes][items]."""

    nothing: list[Array]
    changed: list[list[Array]]
    english: list[Array] | None


def corpora(tag: str) -> tuple[ParallelCorpus, ParallelCorpus]:
    """Lines of NTREX to fit on, and others."""
    corpus = read_corpus(str(SHARED / "ntrex"), [tag])
    step = max(1, len(corpus) // (FITTED + HELD_OUT))
    lines = list(range(0, len(corpus), step))
    held_out = lines[:: max(1, len(lines) // HELD_OUT)][:HELD_OUT]
    fitted = [line for line in lines if line not in set(held_out)][:FITTED]
    return corpus.lines(fitted).only(tag), corpus.lines(held_out).only(tag)


def candidates_of(fits: Fits, learned: bool) -> list[Candidate]:
    differences = fits.at_layers("mean_difference", layers_at(fits.model, DEPTHS))
    made = [
        used("mean_difference", change, positions, strength)
        for positions in ("source", "prompt")
        for strength in STRENGTHS
        for change in differences
    ]
    if learned:
        default = fits.default()
        made += [used("learned", default.change, "source", s) for s in LEARNED_STRENGTHS]
    return made


def crossing_layer(model: Model, lines: ParallelCorpus, tag: str) -> int:
    layers = range(model.layers - 1)
    sides = [
        sentence_states(model, lines.texts[language], layers) for language in (tag, lines.pivot)
    ]
    aligned = np.array([mexa(sides[0][:, layer], sides[1][:, layer]) for layer in layers])
    labels = np.repeat([0, 1], len(lines))
    apart = np.array(
        [
            silhouette_score(
                torch.cat([side[:, layer] for side in sides]).numpy(), labels, metric="cosine"
            )
            for layer in layers
        ]
    )
    return int(np.argmin(np.abs(_scaled(aligned) - _scaled(apart))))


def _scaled(values: Array) -> Array:
    span = float(values.max() - values.min())
    return (values - values.min()) / span if span > 0 else np.zeros_like(values)


def of_language(
    model: Model,
    candidates: Sequence[Candidate],
    held_out: ParallelCorpus,
    tag: str,
    trials: Trials,
) -> tuple[Array, int]:
    """The divergence from English under each candidate and under none, and the crossing layer.

    Neither depends on the task: they are read where they were found for another.
    """
    told = trials.told("criteria")
    if told is None:
        changes = [(c.change, c.change.strength) for c in candidates]
        apart = Measure(model, held_out).several([*changes, (None, 0.0)])
        told = trials.tell("criteria", divergence=apart, layer=crossing_layer(model, held_out, tag))
    return np.array(told["divergence"]), int(told["layer"])


def criteria_values(
    candidates: Sequence[Candidate],
    scores: Scores,
    apart: Array,
    layer: int,
    calibrated: bool,
) -> dict[str, Array]:
    """What each criterion says of each candidate: the higher, the better; `nothing` last.

    Nothing is furthest from any layer.
    """
    near = -np.array([abs(c.change.layers[0] - layer) for c in candidates] + [1000])
    rows = [*scores.changed, scores.nothing]
    shares = [_probabilities(own, calibrated) for own in rows]
    told = {
        "reading": -apart,
        "sureness": np.array([np.mean([row.max() for row in own]) for own in shares]),
        "crossing": near - 1e-3 * apart / apart.max(),
    }
    if scores.english is not None:
        english = _probabilities(scores.english, calibrated)
        told["answering"] = -np.array([_divergence(own, english) for own in shares])
    return told


def _probabilities(rows: Sequence[Array], calibrated: bool) -> list[Array]:
    shown = list(calibrate(np.array(rows))) if calibrated else rows
    return [np.exp(row - row.max()) / np.exp(row - row.max()).sum() for row in shown]


def _divergence(own: Sequence[Array], english: Sequence[Array]) -> float:
    """Mean Jensen-Shannon divergence in nats."""
    told = []
    for p, q in zip(own, english, strict=True):
        mean = (p + q) / 2
        halves = [float((side * np.log(np.maximum(side, 1e-12) / mean)).sum()) for side in (p, q)]
        told.append(sum(halves) / 2)
    return float(np.mean(told))


def measured(
    model: Model, name: str, tag: str, items: int, reported: int, learned: bool, work: Path
) -> dict[str, Any]:
    started = time.perf_counter()
    task = read_task(name, tag, data=SHARED)
    fitted, held_out = corpora(tag)
    about = {"model": model.fingerprint, "language": tag, "learned": learned}
    trials = Trials(work / f"fits.{tag}.jsonl", about)
    fits = Fits(model, fitted, work / f"fits.{tag}", trials)
    candidates = candidates_of(fits, learned)
    own = task.development[:items]
    questions = asked(model, [item.own for item in own], own)
    scale = scale_of(questions)
    some = questions if scale.calibrated else questions.sampled(CHOICES)
    nothing, *changed = answer_scores(model, some, [None, *(c.change for c in candidates)])
    scores = Scores(nothing, changed, _english(model, own, scale.calibrated))
    before = scale.smooth(nothing, some.right).mean()
    gains = np.array([scale.smooth(rows, some.right).mean() - before for rows in changed] + [0.0])
    apart, layer = of_language(model, candidates, held_out, tag, trials)
    told = criteria_values(candidates, scores, apart, layer, scale.calibrated)
    told[LABELS] = gains
    picks = {criterion: int(np.argmax(values)) for criterion, values in told.items()}
    changes = [*(c.change for c in candidates), None]
    names = [*(c.name for c in candidates), "nothing"]
    others = task.report[:reported]
    asked_others = asked(model, [item.own for item in others], others)
    wanted = sorted(set(picks.values()) | {len(candidates)})
    rows_of = answer_scores(model, asked_others, [changes[i] for i in wanted])
    values = {
        i: scale.values(rows, asked_others.right) for i, rows in zip(wanted, rows_of, strict=True)
    }
    base = values[len(candidates)]
    return {
        "candidates": len(candidates),
        "crossing_layer": layer,
        "nothing": round(float(base.mean()), 1),
        "correlation": {
            criterion: round(float(spearmanr(values, gains).statistic), 3)
            for criterion, values in told.items()
            if criterion != LABELS
        },
        "chosen": {
            criterion: {
                "recipe": names[i],
                "gain": rounded(paired_bootstrap(difference, base, values[i])),
            }
            for criterion, i in picks.items()
        },
        "development_gains": dict(zip(names, np.round(gains, 2).tolist(), strict=True)),
        "told": {criterion: np.round(v, 4).tolist() for criterion, v in told.items()},
        "seconds": round(time.perf_counter() - started),
        "version": __version__,
    }


def _english(model: Model, items: Sequence[TaskItem], calibrated: bool) -> list[Array] | None:
    """English scores of the same choices; None where there is no English, or other choices."""
    wordings = [item.english for item in items if item.english is not None]
    if len(wordings) < len(items):
        return None
    questions = asked(model, wordings, items)
    some = questions if calibrated else questions.sampled(CHOICES)
    (rows,) = answer_scores(model, some)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tasks", nargs="+", default=["sib200", "bmlama53", "xcopa"])
    parser.add_argument("--languages", nargs="+", default=["id", "tr", "et", "th"])
    parser.add_argument("--model", default=None)
    parser.add_argument("--items", type=int, default=64, help="to choose on")
    parser.add_argument("--reported", type=int, default=100, help="other items, to report on")
    parser.add_argument("--learned", action="store_true", help="the default's vector too")
    parser.add_argument("--work", type=Path, default=Path("criterion-work"))
    chosen = arguments(parser, lambda _: table())
    model = langsteer.load_model(chosen.model) if chosen.model else langsteer.load_model()
    work = chosen.work / model.name.replace("/", "-")
    work.mkdir(parents=True, exist_ok=True)
    for tag in chosen.languages:
        for task in chosen.tasks:
            about = {"model": model.name, "task": task, "language": tag, "items": chosen.items}
            about |= {"reported": chosen.reported, "learned": chosen.learned}
            if find_line(FILE, about) is not None:
                continue
            try:
                made = measured(
                    model, task, tag, chosen.items, chosen.reported, chosen.learned, work
                )
            except LangsteerError as error:
                print(f"{task} {tag}: {error}", flush=True)
                continue
            add_line(FILE, about | made)
            print(json.dumps(about | made["chosen"], ensure_ascii=False), flush=True)


def table() -> str:
    """Rank correlations with what items say, and what each criterion's choice gains, in Markdown."""
    rows = []
    for line in read_lines(FILE):
        row = [line["model"], line["task"], line["language"], f"{line['nothing']:.1f}"]
        for criterion in (LABELS, *CRITERIA):
            if criterion not in line["chosen"]:
                row.append("")
                continue
            gain = bracketed(line["chosen"][criterion]["gain"])
            by = line["correlation"].get(criterion)
            row.append(gain if by is None else f"{gain}, {by:+.2f}")
        rows.append(row)
    heads = ["model", "task", "language", "nothing", LABELS, *CRITERIA]
    return markdown(heads, [*rows, *_means(read_lines(FILE))])


def _mean(values: Array) -> Array:
    return np.asarray(values.mean(-1))


def _means(lines: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Mean gains, with intervals over languages (and tasks), and correlations: a row a model and task, then all."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for line in lines:
        groups.setdefault((line["model"], line["task"]), []).append(line)
        groups.setdefault((line["model"], "all"), []).append(line)
    rows = []
    for (model, task), own in sorted(groups.items(), key=lambda group: group[0][1] == "all"):
        row = [model, task, "mean", f"{np.mean([line['nothing'] for line in own]):.1f}"]
        for criterion in (LABELS, *CRITERIA):
            gains = [e["chosen"][criterion]["gain"][0] for e in own if criterion in e["chosen"]]
            by = [e["correlation"][criterion] for e in own if criterion in e["correlation"]]
            mean = bracketed(rounded(paired_bootstrap(_mean, np.array(gains))))
            row.append(mean + (f", {np.mean(by):+.2f}" if by else ""))
        rows.append(row)
    return rows


if __name__ == "__main__":
    main()
