"""The demonstration: a small benchmark on the built-in corpus, in which it is a comparison of two methods.

The task is topic classification: which of seven topics a sentence is about, zero-shot, with an English
frame around the sentence. Vectors are fitted on one part of the corpus, their strength is chosen on a second
without labels, and accuracy is reported on a third. The answers are the cells of a comparison (`direct`, the
fitting method, `english`), and the numbers those of its table.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from langsteer.evaluation.comparison.cells import Cell, Item, write_cell
from langsteer.evaluation.harness.choices import choice_scores
from langsteer.evaluation.methods import EVALUATION_METHODS
from langsteer.evaluation.report.samples import DIRECT, ENGLISH
from langsteer.evaluation.report.table import Contrast, Entry, Table, compare_table
from langsteer.evaluation.statistics import Interval
from langsteer.extras import need
from langsteer.fitting.learning import learn_all
from langsteer.fitting.names import DEFAULT_METHOD
from langsteer.model.model import Model
from langsteer.model.tokens import Prompt
from langsteer.steering.change import Change
from langsteer.storage.files import check_own_folder, write_json, write_whole
from langsteer.storage.kept import read_record
from langsteer.text.corpus import ParallelCorpus, builtin
from langsteer.text.languages import language_name
from langsteer.version import __version__, versions

BENCHMARK = "builtin_topics"
FILES = ("demo.json", "demo.png")
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
    """Batch-calibrated accuracy in per cent of one language, or of all together (`mean`).

    `gap_closed` is None where English is not clearly better than the language as it is.
    """

    language: str
    unsteered: float
    steered: float
    translated: float
    change: Interval
    gap_closed: Interval | None
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


def run_demo(
    model: Model,
    languages: Sequence[str] = LANGUAGES,
    method: str = DEFAULT_METHOD,
    folder: str | Path | None = None,
    limit: int | None = None,
    **options: Any,
) -> DemoResult:
    """Fit, measure, and, with `folder`, write demo.json, demo.png, vectors/ and cells/ there.

    `limit` keeps only so many items of the part reported on, for a quick look. `options` go to
    `learn_all`. A vector that is there already, of the same model and options, is not fitted again,
    and one of others is refused without `overwrite`.
    The cells are those of a comparison, so that `langsteer report` reads the folder.
    """
    started = time.perf_counter()
    if folder is not None:
        check_own_folder(folder, FILES, _holds_demo, "langsteer demo")
    corpus = builtin(*languages)
    report = corpus.split()["report"].some(limit)
    english = _answers(model, report, "en", [None])[0]
    places = {
        tag: Path(folder) / "vectors" / f"{tag}.safetensors" for tag in corpus.languages if folder
    }
    vectors = learn_all(model, corpus, method, files=places or None, **options)
    cells: list[Cell] = []
    for language, vector in vectors.items():
        unsteered, steered = _answers(model, report, language, [None, vector])
        about = {"layers": list(vector.layers), "strength": vector.strength}
        cells += [
            _cell(model, language, DIRECT, unsteered),
            _cell(model, language, method, steered, about),
            _cell(model, language, ENGLISH, english),
        ]
    result = _summary(method, cells, vectors, time.perf_counter() - started)
    if folder is not None:
        for cell in cells:
            write_cell(folder, cell)
        record, picture = (Path(folder) / name for name in FILES)
        write_json(record, result.as_json())
        write_figure(result, picture)
    return result


def _holds_demo(folder: Path) -> bool:
    return {"model", "english", "languages"} <= read_record(folder / FILES[0]).keys()


def write_figure(result: DemoResult, path: Path) -> Path:
    """Accuracy of each language, unsteered and steered, against English. PNG."""
    need("matplotlib", "demo", "the figure").use("agg")
    pyplot = need("matplotlib.pyplot", "demo", "the figure")
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
    model: Model, report: ParallelCorpus, language: str, changes: Sequence[Change | None]
) -> list[tuple[Item, ...]]:
    """The answers in one language, under each change."""
    prompts = [Prompt(text, BEFORE, AFTER) for text in report.texts[language]]
    label = f"{language} topics"
    right = [list(TOPICS).index(topic) for topic in report.topics]
    return [
        tuple(
            Item(f"report-{place:03}", target, tuple(row))
            for place, (target, row) in enumerate(zip(right, scores.tolist(), strict=True))
        )
        for scores in choice_scores(model, prompts, list(TOPICS.values()), changes, progress=label)
    ]


def _cell(
    model: Model,
    language: str,
    method: str,
    items: tuple[Item, ...],
    settings: Mapping[str, Any] = {},
) -> Cell:
    known = EVALUATION_METHODS.get(method)
    return Cell(
        model=model.name,
        benchmark=BENCHMARK,
        language=language,
        method=method,
        method_title=known.title if known is not None else method,
        form="english",
        part="report",
        kind="choice",
        metric="acc",
        items=items,
        settings=settings,
        versions=versions(),
    )


def _summary(
    method: str, cells: Sequence[Cell], vectors: Mapping[str, Change], seconds: float
) -> DemoResult:
    table, raw = compare_table(cells, "calibrated"), compare_table(cells, "raw")
    places = {language: table.languages.index(language) for language in vectors}
    return DemoResult(
        model=table.model,
        method=method,
        items=len(cells[0].items),
        english=_entry(table, ENGLISH).score,
        raw_english=_entry(raw, ENGLISH).score,
        languages=tuple(
            _row(language, method, table, raw, places[language], vector)
            for language, vector in vectors.items()
        ),
        mean=_row("mean", method, table, raw),
        seconds=seconds,
        versions={"langsteer": __version__, "torch": torch.__version__},
    )


def _row(
    language: str,
    method: str,
    table: Table,
    raw: Table,
    place: int | None = None,
    vector: Change | None = None,
) -> LanguageResult:
    """A language's column of the tables, or, without a place, their mean."""
    steered = _entry(table, method, place)
    contrast = _contrast(steered)
    return LanguageResult(
        language=language,
        unsteered=_entry(table, DIRECT, place).score,
        steered=steered.score,
        translated=_entry(table, ENGLISH, place).score,
        change=contrast.difference,
        gap_closed=contrast.gap_closed,
        raw_unsteered=_entry(raw, DIRECT, place).score,
        raw_steered=_entry(raw, method, place).score,
        layer=vector.layers[0] if vector else None,
        strength=vector.strength if vector else None,
    )


def _entry(table: Table, method: str, place: int | None = None) -> Entry:
    row = table.row(method)
    entry = None if row is None else row.mean if place is None else row.entries[place]
    if entry is None:
        raise ValueError(f"{method} has no cell at {place}")
    return entry


def _contrast(entry: Entry) -> Contrast:
    if entry.comparison is None:
        raise ValueError("nothing is compared")
    return entry.comparison
