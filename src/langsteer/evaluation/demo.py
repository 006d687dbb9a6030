"""The demonstration: learn vectors from the built-in corpus, and measure them on text held out.

The task is topic classification: which of seven topics a sentence is about, zero-shot, with an English
frame around the sentence. Vectors are fitted on one part of the corpus, their strength is chosen on a second
without labels, and accuracy is reported on a third.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from langsteer.errors import MissingExtraError
from langsteer.evaluation.harness.choices import batch_calibrated, choice_scores
from langsteer.evaluation.statistics import (
    Array,
    Interval,
    difference,
    gap_closed,
    paired_bootstrap,
)
from langsteer.fitting.learning import learn_all
from langsteer.fitting.methods import DEFAULT_METHOD
from langsteer.model.model import Model
from langsteer.model.tokens import Prompt
from langsteer.steering.change import Change
from langsteer.storage.files import write_json, write_whole
from langsteer.text.corpus import ParallelCorpus, builtin
from langsteer.text.languages import language_name
from langsteer.version import __version__

LANGUAGES = ("sw", "et", "hi", "el", "tr", "de")
TOPICS = {
    "science/technology": " science",
    "travel": " travel",
    "politics": " politics",
    "sports": " sports",
    "health": " health",
    "entertainment": " entertainment",
    "geography": " geography",
}
BEFORE, AFTER = "Text: ", "\nThe topic of this text is"


@dataclass(frozen=True)
class LanguageResult:
    """Batch-calibrated accuracy in per cent of one language, or of all together (`mean`)."""

    language: str
    unsteered: float
    steered: float
    translated: float
    change: Interval
    gap_closed: Interval
    raw_unsteered: float
    raw_steered: float
    layer: int | None = None
    strength: float | None = None


@dataclass(frozen=True)
class DemoResult:
    model: str
    method: str
    items: int
    english: float
    raw_english: float
    languages: tuple[LanguageResult, ...]
    mean: LanguageResult
    seconds: float
    versions: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self)))


@dataclass(frozen=True, eq=False)
class _Answers:
    """Which items were right, 0 or 100, after batch calibration and raw: [items] each."""

    calibrated: Array
    raw: Array


def run_demo(
    model: Model,
    languages: Sequence[str] = LANGUAGES,
    method: str = DEFAULT_METHOD,
    folder: str | Path | None = None,
    limit: int | None = None,
    **options: Any,
) -> DemoResult:
    """Fit, measure, and, with `folder`, write demo.json, demo.png and the vectors there.

    `limit` keeps only so many items of the part reported on, for a quick look. `options` go to
    `learn_all`. A vector that is there already, of the same model and options, is not fitted again.
    """
    started = time.perf_counter()
    corpus = builtin(*languages)
    report = corpus.split()["report"]
    if limit is not None:
        report = report.lines(range(0, len(report), max(1, len(report) // limit)))
    english = _answers(model, report, "en", [None])[0]
    places = {
        tag: Path(folder) / "vectors" / f"{tag}.safetensors" for tag in corpus.languages if folder
    }
    vectors = learn_all(model, corpus, method, files=places or None, **options)
    answers: dict[str, tuple[_Answers, _Answers, Change]] = {}
    for language, vector in vectors.items():
        unsteered, steered = _answers(model, report, language, [None, vector])
        answers[language] = (unsteered, steered, vector)
    result = _summary(model, method, english, answers, time.perf_counter() - started)
    if folder is not None:
        write_json(Path(folder) / "demo.json", result.as_json())
        write_figure(result, Path(folder) / "demo.png")
    return result


def write_figure(result: DemoResult, path: Path) -> Path:
    """Accuracy of each language, unsteered and steered, against English. PNG."""
    try:
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise MissingExtraError("the figure", "matplotlib", "demo") from error
    rows = sorted(result.languages, key=lambda r: -r.unsteered)
    figure, axes = pyplot.subplots(figsize=(7, 0.5 * len(rows) + 1.9), layout="constrained")
    for place, row in enumerate(rows):
        axes.plot([row.unsteered, row.steered], [place, place], color="0.75", linewidth=2, zorder=1)
        ends = [row.unsteered + row.change.low, row.unsteered + row.change.high]
        label = "95% interval of the change" if place == 0 else None
        axes.plot(ends, [place, place], color="#c8501e", linewidth=1, zorder=1, label=label)
    places = range(len(rows))
    axes.scatter([r.unsteered for r in rows], places, color="0.45", label="unsteered", zorder=2)
    axes.scatter(
        [r.steered for r in rows], places, color="#c8501e", marker="D", label="steered", zorder=3
    )
    axes.axvline(
        result.english, color="#1e5ac8", linestyle="--", label="perfect translation (English)"
    )
    axes.set_yticks(list(places), [language_name(r.language) for r in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel(f"Topic classification accuracy (%), {result.items} held-out sentences")
    axes.set_title(f"{result.model}: one vector added at one layer", fontsize=11)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    write_whole(path, lambda part: figure.savefig(part, dpi=150, format="png"))
    pyplot.close(figure)
    return path


def _answers(
    model: Model,
    report: ParallelCorpus,
    language: str,
    vectors: Sequence[Change | None],
) -> list[_Answers]:
    """The answers in one language, under each vector."""
    prompts = [Prompt(text, BEFORE, AFTER) for text in report.texts[language]]
    label = f"{language} topics"
    right = torch.tensor([list(TOPICS).index(topic) for topic in report.topics])
    return [
        _Answers(_hits(batch_calibrated(scores), right), _hits(scores, right))
        for scores in choice_scores(model, prompts, list(TOPICS.values()), vectors, progress=label)
    ]


def _hits(scores: Tensor, right: Tensor) -> Array:
    hits: Array = (scores.argmax(1) == right).double().numpy() * 100.0
    return hits


def _summary(
    model: Model,
    method: str,
    english: _Answers,
    answers: dict[str, tuple[_Answers, _Answers, Change]],
    seconds: float,
) -> DemoResult:
    rows = tuple(
        _row(language, english, before, after, vector)
        for language, (before, after, vector) in answers.items()
    )

    def mean(place: int) -> _Answers:
        found = [a for a in (trio[place] for trio in answers.values()) if isinstance(a, _Answers)]
        return _Answers(
            np.mean([a.calibrated for a in found], axis=0), np.mean([a.raw for a in found], axis=0)
        )

    return DemoResult(
        model=model.name,
        method=method,
        items=len(english.raw),
        english=float(english.calibrated.mean()),
        raw_english=float(english.raw.mean()),
        languages=rows,
        mean=_row("mean", english, mean(0), mean(1), None),
        seconds=seconds,
        versions={"langsteer": __version__, "torch": torch.__version__},
    )


def _row(
    language: str,
    english: _Answers,
    before: _Answers,
    after: _Answers,
    vector: Change | None,
) -> LanguageResult:
    return LanguageResult(
        language=language,
        unsteered=float(before.calibrated.mean()),
        steered=float(after.calibrated.mean()),
        translated=float(english.calibrated.mean()),
        change=paired_bootstrap(difference, before.calibrated, after.calibrated),
        gap_closed=paired_bootstrap(
            gap_closed, english.calibrated, before.calibrated, after.calibrated
        ),
        raw_unsteered=float(before.raw.mean()),
        raw_steered=float(after.raw.mean()),
        layer=vector.layers[0] if vector else None,
        strength=vector.strength if vector else None,
    )
