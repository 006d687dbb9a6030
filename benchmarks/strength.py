"""Which vector, layer and strength: on development items, each run a line of benchmarks/results/strength.jsonl.gz.

    python -m benchmarks.strength --languages sw et tr --fits mean_difference:4 mean_difference:8

A fit is METHOD:LAYER[:OPTION=VALUE...], or one of

others, nearest: the mean of what `learned` gives for seven other languages, as for a language without parallel
    text, and for the three of them that are nearest to its own by cosine, as for one with a family
shared: half of its own and half of all others
helped: the same, with 400 lines for the others, however few there are of its own
every: `learned` from each line with each of the English words after it, and not with one of them
median, moderate, whitened, in_place, by_token: the mean difference, estimated in another way: the median in each
    dimension of the pairs' differences; without its ten largest numbers; times the inverse of the states' covariance;
    of texts in the template; with each token and not each text counting the same
together: one vector learned on pairs of all eight languages, of different lines; parted: of one language a batch
mixture[:first=I]: one learned on every fourth line in all eight
gate, two: see benchmarks.gated
kept, scaled, priorless: see benchmarks.variants

each with its layer. Vectors are fitted on the built-in corpus (or `--corpus ntrex`), with a share of its lines moved to
other translations with `--noise`, and measured on training items of SIB-200, which nothing else reports on, without
labels in the fit; at the tokens of the text, or at those that `--positions` names. What was chosen there is reported
on test items with `--part test`. Runs that are there are not made
again. `--table` prints the table of what is there.
"""

import argparse
import ast
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

import langsteer
from benchmarks import estimators, gated, variants
from benchmarks.common import (
    RESULTS,
    SHARED,
    add_line,
    arguments,
    bracketed,
    markdown,
    marks,
    noisy,
    read_lines,
    right_topics,
    rounded,
)
from langsteer.evaluation.benchmarks import get_benchmark, load_docs
from langsteer.evaluation.demo import AFTER, BEFORE, TOPICS
from langsteer.evaluation.harness.choices import batch_calibrated, choice_scores
from langsteer.evaluation.statistics import difference, mean_over_groups, paired_bootstrap
from langsteer.fitting import low_rank
from langsteer.fitting.average import average
from langsteer.fitting.descent import SUFFIXES, DescentOptions, Pairs
from langsteer.model.tokens import Prompt
from langsteer.states.intervention import POSITIONS
from langsteer.steering.change import Change
from langsteer.steering.vector import SteeringVector
from langsteer.text.corpus import MIXED, ParallelCorpus, spread
from langsteer.text.languages import language_name
from langsteer.text.readers import read_ntrex
from langsteer.version import __version__

FILE = RESULTS / "strength.jsonl.gz"
LANGUAGES = ("sw", "et", "tr", "el", "hi", "id", "ar", "ja")
NEAREST = 3
MANY = 400  # lines
USUAL: dict[str, Any] = {
    "positions": "source",
    "noise": 0.0,
    "part": "train",
    "model": "gemma-3-270m",
}  # in lines that do not say


def corpus(name: str, language: str, lines: int | None) -> ParallelCorpus:
    if name == "builtin":
        text = langsteer.builtin(language).split()["fit"]
    else:
        text = read_ntrex(SHARED / "ntrex", [language]).checked()
    return text if lines is None else text.lines(range(0, len(text), len(text) // lines))


def fitted(model: langsteer.Model, text: ParallelCorpus, fit: str, way: str = "") -> Change:
    """The vector (or low-rank map) of a fit; from its file, where it has been made before."""
    other = "" if model.name == USUAL["model"] else f"{model.name}-"
    name = (
        f"{other}{text.language}-{text.fingerprint[:12]}-{model.dtype}-{way}{fit.replace(':', '-')}"
    )
    file = RESULTS / "work" / "vectors" / f"{name}.safetensors"
    if file.exists():
        return langsteer.load(file, model)
    vector = _fit(model, text, fit)
    vector.save(file)
    return vector


def _fit(model: langsteer.Model, text: ParallelCorpus, fit: str) -> Change:
    method, layer, values = _parts(fit)
    if method == low_rank.NAME:
        return low_rank.fit(model, text, low_rank.LowRankOptions(layer=layer, **values))
    return langsteer.fit(model, text, method=method, layer=layer, **values)


def _parts(fit: str) -> tuple[str, int, dict[str, Any]]:
    """The method, layer and options of METHOD:LAYER[:OPTION=VALUE...]."""
    method, layer, *settings = fit.split(":")
    options = dict(part.split("=", 1) for part in settings)
    return method, int(layer), {key: _value(value) for key, value in options.items()}


def fitted_vector(
    model: langsteer.Model, text: ParallelCorpus, fit: str, way: str = ""
) -> SteeringVector:
    """That of a fit which gives a vector."""
    vector = fitted(model, text, fit, way)
    assert isinstance(vector, SteeringVector)
    return vector


def _made(model: langsteer.Model, text: ParallelCorpus, about: dict[str, Any]) -> Change:
    name, _, layer = about["fit"].partition(":")
    if name in estimators.ESTIMATORS:
        return difference_vector(model, text, name, int(layer))
    if name in gated.NAMES:
        return gated.fit(model, text, int(layer), name)
    if name in ("together", "parted"):
        return together(model, about, name)
    if name == "mixture":
        layer, _, first = layer.partition(":first=")
        texts = [corpus(about["corpus"], tag, about["lines"]) for tag in LANGUAGES]
        vector = fitted_vector(model, mixed(texts, int(first or 0)), f"learned:{layer}")
        return replace(vector, language=about["language"])
    if name in variants.NAMES:
        return variants.variant(model, text, name, fitted_vector(model, text, f"learned:{layer}"))
    if name == "every":
        repeated = text.lines(i for i in range(len(text)) for _ in SUFFIXES)  # suffixes take turns
        return fitted_vector(model, repeated, f"learned:{layer}")
    if name in ("others", "shared", "helped", "nearest"):
        return of_others(model, text, about, name, layer)
    return fitted(model, text, about["fit"])


def of_others(
    model: langsteer.Model, text: ParallelCorpus, about: dict[str, Any], name: str, layer: str
) -> SteeringVector:
    """A mean of the vectors of other languages."""
    lines = MANY if name == "helped" else about["lines"]
    vectors = vectors_of_others(model, text.language, about["corpus"], lines, f"learned:{layer}")
    if name == "others":
        return average(vectors, text.language)
    own = fitted_vector(model, text, f"learned:{layer}")
    if name == "nearest":
        vectors.sort(key=lambda v: -float(torch.cosine_similarity(v.values, own.values, 0)))
        return average(vectors[:NEAREST], text.language)
    return average(vectors, text.language, own)


def vectors_of_others(
    model: langsteer.Model, language: str, name: str, lines: int | None, fit: str
) -> list[SteeringVector]:
    """Those of every language of `LANGUAGES` but `language`, from the corpus of that name."""
    tags = [tag for tag in LANGUAGES if tag != language]
    return [fitted_vector(model, corpus(name, tag, lines), fit) for tag in tags]


def difference_vector(
    model: langsteer.Model, text: ParallelCorpus, name: str, layer: int
) -> SteeringVector:
    """The mean difference, estimated in another way."""
    vector = fitted_vector(model, text, f"mean_difference:{layer}")
    return replace(vector, values=estimators.ESTIMATORS[name](model, text, vector).float())


def together(model: langsteer.Model, about: dict[str, Any], name: str) -> SteeringVector:
    """One vector of pairs in all eight languages, as `langsteer.learn_all` takes them."""
    everything = read_ntrex(SHARED / "ntrex", list(LANGUAGES)).checked()
    part = everything.lines(spread(len(everything), about["lines"]))
    _, _, values = _parts(about["fit"])
    pairs = part.mixed(DescentOptions(**values).pairs)
    with one_language_a_batch(part, pairs) if name == "parted" else nullcontext():
        vector = fitted_vector(model, pairs, about["fit"].replace(name, "learned"), name)
    return replace(vector, language=about["language"])


@contextmanager
def one_language_a_batch(apart: ParallelCorpus, mixed: ParallelCorpus) -> Iterator[None]:
    """Have each step of a descent on the mixed lines of a corpus learn from pairs of one language."""
    usual = Pairs.batches
    places = {line: place for place, tag in enumerate(LANGUAGES) for line in apart.texts[tag]}
    own = [-1 - places[line] for line in mixed.texts[mixed.language]]  # no token has such an id

    def parted(pairs: Pairs) -> list[list[int]]:
        turns = pairs.turns
        pairs.turns = [[*turn, mark] for turn, mark in zip(turns, own, strict=True)]
        batches = usual(pairs)
        pairs.turns = turns
        return batches

    with patch.object(Pairs, "batches", parted):
        yield


def mixed(texts: Sequence[ParallelCorpus], first: int = 0) -> ParallelCorpus:
    """Every fourth line in every language, as one corpus: of 400 lines as many as are learned from."""
    pivot = texts[0].pivot
    lines = [
        (text.texts[text.language][i], text.texts[pivot][i])
        for i in range(first, min(map(len, texts)), 4)
        for text in texts
    ]
    theirs, ours = zip(*lines, strict=True)
    return ParallelCorpus({MIXED: theirs, pivot: ours}, pivot, "mixture")


def answers(
    model: langsteer.Model,
    language: str,
    items: int,
    vectors: Sequence[Change | None],
    part: str = "train",
) -> list[dict[str, np.ndarray]]:
    """Which items are right, 0 or 100, calibrated and raw, under each vector."""
    docs = load_docs(get_benchmark("sib200"), language, part, SHARED)[:items]
    right = right_topics(docs)
    prompts = [Prompt(doc["text"], BEFORE, AFTER) for doc in docs]
    by_vector = choice_scores(model, prompts, list(TOPICS.values()), vectors)
    return [
        {
            "calibrated": marks(batch_calibrated(scores), right),
            "raw": marks(scores, right),
        }
        for scores in by_vector
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--languages", nargs="+", default=["sw", "et", "tr"])
    parser.add_argument("--fits", nargs="+", default=["mean_difference:8"])
    parser.add_argument("--strengths", nargs="+", type=float, default=[0.25, 0.5, 1.0])
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--corpus", choices=("builtin", "ntrex"), default="builtin")
    parser.add_argument("--lines", type=int)
    parser.add_argument("--positions", choices=POSITIONS, default=USUAL["positions"])
    parser.add_argument("--noise", type=float, default=USUAL["noise"])
    parser.add_argument("--part", choices=("train", "test"), default=USUAL["part"])
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--model", default=USUAL["model"])
    chosen = arguments(parser, lambda chosen: table(read_lines(FILE), chosen))
    model = langsteer.load_model(chosen.model, dtype=chosen.dtype)
    done = {_key(line) for line in read_lines(FILE)}
    for language in chosen.languages:
        for fit in chosen.fits:
            about = {
                "language": language,
                "fit": fit,
                "corpus": chosen.corpus,
                "lines": chosen.lines,
                "items": chosen.items,
                "dtype": chosen.dtype,
                "positions": chosen.positions,
                "noise": chosen.noise,
                "part": chosen.part,
                "model": model.name,
            }
            if not all(_key(about | {"strength": s}) in done for s in chosen.strengths):
                _run(model, about, chosen.strengths)


def table(lines: Sequence[dict[str, Any]], chosen: argparse.Namespace) -> str:
    """Changes of calibrated accuracy in points, and the mean change of calibrated and of raw."""
    languages = chosen.languages
    names = ("corpus", "lines", "items", "dtype", *USUAL)
    setting = {name: getattr(chosen, name) for name in names}
    known = [line for line in lines if {name: (USUAL | line)[name] for name in names} == setting]
    heads = ["fit", "strength", *map(language_name, languages), "mean change", "raw"]
    rows: list[list[str]] = []
    for fit in chosen.fits:
        for strength in chosen.strengths:
            by_language = {
                line["language"]: line
                for line in known
                if (line["fit"], line["strength"]) == (fit, strength)
            }
            cells = [_cell(by_language.get(tag)) for tag in languages]
            present = [by_language[tag] for tag in languages if tag in by_language]
            means = _means(present) if len(present) == len(languages) else []
            rows.append([fit, f"{strength:g}", *cells, *means])
    return markdown(heads, rows)


def _means(lines: Sequence[dict[str, Any]]) -> list[str]:
    """The mean change over languages, calibrated and raw; with its interval, where items' values are kept."""
    if all("values" in line for line in lines):
        kinds = ("calibrated", "raw")
        groups = [[np.array(line["values"][kind]) for line in lines] for kind in kinds]
        return [bracketed(rounded(mean_over_groups(group))) for group in groups]
    calibrated = np.mean([line["change"][0] for line in lines])
    raw = np.mean([line["raw_steered"] - line["raw_direct"] for line in lines])
    return [f"{calibrated:+.1f}", f"{raw:+.1f}"]


def _cell(line: dict[str, Any] | None) -> str:
    return bracketed(line["change"]) if line else ""


def _run(model: langsteer.Model, about: dict[str, Any], strengths: Sequence[float]) -> None:
    start = time.perf_counter()
    text = noisy(corpus(about["corpus"], about["language"], about["lines"]), about["noise"])
    vector = _made(model, text, about).at(about["positions"])
    seconds = time.perf_counter() - start
    changes = [None, *(vector.with_strength(strength) for strength in strengths)]
    direct, *steered = answers(model, about["language"], about["items"], changes, about["part"])
    for strength, hits in zip(strengths, steered, strict=True):
        change = paired_bootstrap(difference, direct["calibrated"], hits["calibrated"])
        raw_change = paired_bootstrap(difference, direct["raw"], hits["raw"])
        line = {
            **about,
            "strength": strength,
            "relative_strength": relative(vector.with_strength(strength)),
            "direct": round(float(direct["calibrated"].mean()), 1),
            "steered": round(float(hits["calibrated"].mean()), 1),
            "change": rounded(change),
            "raw_direct": round(float(direct["raw"].mean()), 1),
            "raw_steered": round(float(hits["raw"].mean()), 1),
            "raw_change": rounded(raw_change),
            "fit_seconds": round(seconds, 1),
            "version": __version__,
        }
        if about["part"] == "test":
            line["values"] = {kind: (hits[kind] - direct[kind]).tolist() for kind in hits}
        add_line(FILE, line)
        print(json.dumps({k: v for k, v in line.items() if k != "values"}), flush=True)


def relative(change: Change) -> float | None:
    """How far a vector moves a state, as a share of its length; None for a map."""
    return round(change.relative_strength, 3) if isinstance(change, SteeringVector) else None


def _key(line: dict[str, Any]) -> tuple[Any, ...]:
    names = ("language", "fit", "corpus", "lines", "items", "dtype", "strength", *USUAL)
    return tuple((USUAL | line)[name] for name in names)


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


if __name__ == "__main__":
    main()
