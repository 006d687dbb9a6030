"""Fifty pairs, on test items of SIB-200: alone, with the vectors of other languages, and against two thousand.

    python -m benchmarks.few_pairs
    python -m benchmarks.few_pairs --table

Vectors are learned from NTREX by the defaults: `few` from 52 lines of the language, `many` from all 1993; `others` is
the mean of those of seven other languages, from 499 lines each, `helped` half of that and half of `few`. Each
language is a line of benchmarks/results/few_pairs.jsonl, with what each item is worth; languages that are there are not
run again. The table has batch-calibrated accuracy and what each condition brings, over all languages, with paired 95%
intervals over items, and the share of what `many` brings.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import langsteer
from benchmarks.common import RESULTS, add_line, bracketed, find_line, markdown, read_lines, rounded
from benchmarks.strength import (
    LANGUAGES,
    MANY,
    answers,
    corpus,
    fitted_vector,
    vectors_of_others,
)
from langsteer.evaluation.statistics import (
    Array,
    difference,
    gap_closed,
    percentile_interval,
    resampled_means,
)
from langsteer.fitting.average import average
from langsteer.model.model import Model
from langsteer.progress import show_progress
from langsteer.steering.vector import SteeringVector
from langsteer.text.languages import language_name
from langsteer.version import __version__

FILE = RESULTS / "few_pairs.jsonl"
FIT, STRENGTH, ITEMS, DTYPE = "learned:8", 0.75, 204, "bfloat16"
FEW, ALL = 50, 1000  # `corpus` takes an even step: 52 and 1993 lines
CONDITIONS = ("few", "others", "helped", "many")


def vectors(model: Model, language: str) -> dict[str, SteeringVector]:
    """The vector of each condition, as the defaults use it."""
    few, many = (
        fitted_vector(model, corpus("ntrex", language, lines), FIT) for lines in (FEW, ALL)
    )
    others = vectors_of_others(model, language, "ntrex", MANY, FIT)
    by_condition = (few, average(others, language), average(others, language, few), many)
    return {
        name: replace(vector, positions="all").with_strength(STRENGTH)
        for name, vector in zip(CONDITIONS, by_condition, strict=True)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--languages", nargs="+", default=list(LANGUAGES))
    parser.add_argument("--table", action="store_true", help="print what is there, run nothing")
    chosen = parser.parse_args()
    if not chosen.table:
        show_progress(False)
        model = langsteer.load_model(dtype=DTYPE)
        for language in chosen.languages:
            if find_line(FILE, {"language": language}) is None:
                add_line(FILE, _run(model, language))
                print(language, flush=True)
    print(table(read_lines(FILE)))


def _run(model: Model, language: str) -> dict[str, Any]:
    steering = vectors(model, language)
    by_condition = answers(model, language, ITEMS, [None, *steering.values()], "test")
    return {
        "language": language,
        "version": __version__,
        **{
            kind: {
                name: (hits[kind] > 0).astype(int).tolist()
                for name, hits in zip(("direct", *steering), by_condition, strict=True)
            }
            for kind in ("calibrated", "raw")
        },
    }


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy, what it brings against direct, in points, and the share of what `many` brings."""
    heads = ["vector", "accuracy", "change", "share of many's", "raw", "change of raw"]
    columns = {
        kind: {name: _hits(lines, kind, name) for name in ("direct", *CONDITIONS)}
        for kind in ("calibrated", "raw")
    }
    rows = []
    for name in ("direct", *CONDITIONS):
        gain, share = _compared(columns["calibrated"], name)
        change, _ = _compared(columns["raw"], name)
        calibrated, raw = (f"{columns[kind][name].mean():.1f}" for kind in columns)
        rows.append([name, calibrated, gain, share, raw, change])
    names = ", ".join(language_name(line["language"]) for line in lines)
    return f"{markdown(heads, rows)}\n\n{len(lines)} languages: {names}"


def _hits(lines: Sequence[Mapping[str, Any]], kind: str, name: str) -> Array:
    """Right answers [items, languages], 0 or 100."""
    return np.array([line[kind][name] for line in lines], dtype=np.float64).T * 100


def _compared(columns: Mapping[str, Array], name: str) -> tuple[str, str]:
    """The gain over direct, and its share of that of `many`, with their intervals."""
    if name == "direct":
        return "", ""
    samples = [columns[condition] for condition in ("direct", name, "many")]
    drawn = resampled_means(samples)
    observed = [sample.ravel() for sample in samples]
    gain = percentile_interval(float(difference(*observed[:2])), difference(*drawn[:2]))
    share = percentile_interval(
        float(gap_closed(observed[2], *observed[:2])), gap_closed(drawn[2], *drawn[:2])
    )
    return (
        bracketed(rounded(gain)),
        f"{share.value:.0%} [{share.low:.0%}, {share.high:.0%}]" if name != "many" else "",
    )


if __name__ == "__main__":
    main()
