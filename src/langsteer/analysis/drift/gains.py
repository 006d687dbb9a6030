"""Performance beside geometry: gains by language, and whether they follow movement."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langsteer.analysis.drift.results import GAP, Drift, Gain, GainFit, LanguageDrift, VersionDrift
from langsteer.errors import AnalysisError, LanguageError
from langsteer.extras import need
from langsteer.look.words import SIGNIFICANT, noun
from langsteer.storage.records import read_json
from langsteer.text.languages import parse_tag

FEWEST = 5  # languages: of four, no two-sided permutation is rarer than 2 in 24
FEW = 10
ORDERS = 9_999
DRAWS = 2_000
REPORT = "report.json"
DIRECT = "direct"

_UNKNOWN = dict.fromkeys(("rho", "low", "high", "p"), math.nan)

Gains = dict[str, dict[str, float]]
"""By version, then language"""


@dataclass(frozen=True)
class GainFile:
    """What a file holds: gains by version, or scores by benchmark, model, method and language."""

    name: str
    gains: Gains | None = None
    scores: dict[str, dict[str, dict[str, dict[str, float]]]] | None = None

    def of(self, base: Sequence[str], versions: Mapping[str, Sequence[str]]) -> dict[str, Gains]:
        """Gains by source, for versions and a base that go by any of several names.

        From scores, the gain is the version's own, without help (`direct`), less the base's; a
        version named as a method gains what that method does on the base.
        """
        if self.gains is not None:
            gains = {
                version: next(self.gains[name] for name in names if name in self.gains)
                for version, names in versions.items()
                if any(name in self.gains for name in names)
            }
            return {self.name: gains} if gains else {}
        every = {
            benchmark: _differences(models, base, versions)
            for benchmark, models in (self.scores or {}).items()
        }
        return {benchmark: gains for benchmark, gains in every.items() if gains}


def read_gains(path: str | Path) -> GainFile:
    """Read a JSON file {version: {language: gain}}, or the report in a results folder.

    Raises AnalysisError for anything else.
    """
    path = Path(path)
    if path.is_dir():
        path = path / REPORT
        if not path.is_file():
            raise AnalysisError(
                f"{path.parent} has no {REPORT}: run langsteer report {path.parent} first"
            )
    values = read_json(path)
    try:
        if isinstance(values, dict) and "benchmarks" in values:
            return GainFile(path.parent.name, scores=_scores(values))
        gains = {
            str(version): {parse_tag(tag): _number(gain) for tag, gain in row.items()}
            for version, row in values.items()
        }
        return GainFile(path.stem, gains=gains)
    except LanguageError as error:
        raise AnalysisError(f"{path}: {error}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise AnalysisError(
            f"{path} holds no gains: it should be {{version: {{language: number}}}}, or the "
            f"{REPORT} that langsteer report writes"
        ) from error


def gain_fits(drift: Drift, gains: Mapping[str, Gains], seed: int = 0) -> tuple[GainFit, ...]:
    """Gain against each measure of movement at the drift's layer, by source and version.

    Raises MissingExtraError without scipy.
    """
    fits = []
    for source, by_version in gains.items():
        for version in drift.versions:
            row = by_version.get(version.name, {})
            tags = [tag for tag in drift.languages if tag in row and tag in version.languages]
            for measure, values in _measures(drift, version, tags).items():
                points = tuple(
                    Gain(tag, row[tag], values[tag]) for tag in tags if values[tag] == values[tag]
                )
                if points:
                    fits.append(_fit(source, version.name, measure, points, seed))
    return tuple(fits)


def spearman(gains: Sequence[float], movements: Sequence[float], seed: int = 0) -> dict[str, float]:
    """Spearman's rho, its 95% percentile bootstrap interval over pairs, and a permutation p.

    All orders are tried where there are at most 9,999, and as many are drawn otherwise. NaN where
    either side is all the same.
    """
    stats = need("scipy.stats", "analysis", "correlating gains")
    x, y = np.asarray(gains, dtype=np.float64), np.asarray(movements, dtype=np.float64)
    if len(set(x)) < 2 or len(set(y)) < 2:
        return dict(_UNKNOWN)
    rng = np.random.default_rng(seed)
    ranks = stats.rankdata(y)
    test = stats.permutation_test(
        (stats.rankdata(x),),
        lambda order, axis=-1: _correlation(order, np.broadcast_to(ranks, order.shape)),
        permutation_type="pairings",
        vectorized=True,
        n_resamples=ORDERS,
        rng=rng,
    )
    drawn = rng.integers(0, len(x), (DRAWS, len(x)))
    sampled = _correlation(stats.rankdata(x[drawn], axis=1), stats.rankdata(y[drawn], axis=1))
    low, high = np.nanpercentile(sampled, [2.5, 97.5])
    rho, p = float(test.statistic), float(test.pvalue)
    return {"rho": rho, "low": float(low), "high": float(high), "p": p}


def _fit(source: str, version: str, measure: str, points: tuple[Gain, ...], seed: int) -> GainFit:
    count = len(points)
    if count < FEWEST:
        verdict = (
            f"{count} {noun('language', count)} {'is' if count == 1 else 'are'} too few to say anything: "
            f"at least {FEWEST} are needed for a p value that could be below 0.05"
        )
        return GainFit(source, version, measure, points, **_UNKNOWN, verdict=verdict)
    correlation = spearman([p.gain for p in points], [p.movement for p in points], seed)
    if correlation["rho"] != correlation["rho"]:
        verdict = "all gains, or all movements, are the same: there is no correlation"
    elif correlation["p"] >= SIGNIFICANT:
        verdict = "this does not show that gain follows movement"
    else:
        more = "more" if correlation["rho"] > 0 else "less"
        verdict = f"languages with a greater value gain {more}"
    if count < FEW:
        verdict += f"; with {count} languages only a very strong relation would show"
    return GainFit(source, version, measure, points, **correlation, verdict=verdict)


def _measures(
    drift: Drift, version: VersionDrift, tags: Sequence[str]
) -> dict[str, dict[str, float]]:
    at = drift.layer

    def mexa_gain(tag: str, language: LanguageDrift) -> float:
        return language.alignment.mexa[at] - drift.alignment[tag].mexa[at]

    rows = {tag: version.languages[tag] for tag in tags}
    return {
        "own movement": {tag: row.movement.own[at] for tag, row in rows.items()},
        "share of the gap crossed": {tag: row.movement.crossed[at] for tag, row in rows.items()},
        "cosine with steering": {
            tag: row.directions[GAP].own.value[at] for tag, row in rows.items()
        },
        "change of MEXA": {tag: mexa_gain(tag, row) for tag, row in rows.items()},
    }


def _scores(report: Mapping[str, Any]) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    scores: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for section in report["benchmarks"]:
        table = section["table"]
        methods = scores.setdefault(table["benchmark"], {}).setdefault(table["model"], {})
        for row in table["rows"]:
            methods[row["method"]] = {
                parse_tag(tag): _number(entry["score"])
                for tag, entry in zip(table["languages"], row["entries"], strict=True)
                if entry is not None
            }
    return scores


def _differences(
    models: Mapping[str, dict[str, dict[str, float]]],
    base: Sequence[str],
    versions: Mapping[str, Sequence[str]],
) -> Gains:
    before = _named(models, base)
    if before is None or DIRECT not in before:
        return {}
    gains: Gains = {}
    for version, names in versions.items():
        model = _named(models, names)
        after = model.get(DIRECT) if model is not None else _named(before, names)
        if after is not None:
            shared = [tag for tag in after if tag in before[DIRECT]]
            gains[version] = {tag: after[tag] - before[DIRECT][tag] for tag in shared}
    return gains


def _named(values: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((values[name] for name in names if name in values), None)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


def _correlation(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """Pearson's correlation along the last axis; NaN where a side is all the same."""
    first = first - first.mean(-1, keepdims=True)
    second = second - second.mean(-1, keepdims=True)
    below = np.sqrt((first**2).sum(-1) * (second**2).sum(-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation: NDArray[Any] = np.where(below > 0, (first * second).sum(-1) / below, np.nan)
    return correlation
