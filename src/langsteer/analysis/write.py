"""Results into a folder: their numbers, their figures, and one page that shows them.

A page and its figures are made of the results alone, so they can be made again of the numbers' file.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from langsteer.analysis.drift import figures as drift_figures
from langsteer.analysis.drift import page as drift_page
from langsteer.analysis.drift.compare import Drifted, drift
from langsteer.analysis.drift.results import Drift
from langsteer.analysis.drift.versions import Source
from langsteer.analysis.layers import figures as layer_figures
from langsteer.analysis.layers import page as layer_page
from langsteer.analysis.layers.analyze import AnalysisOptions, analyze
from langsteer.analysis.layers.results import LayerResults
from langsteer.analysis.vectors import figures as vector_figures
from langsteer.analysis.vectors import page as vector_page
from langsteer.analysis.vectors.examine import examine
from langsteer.analysis.vectors.results import VectorResults
from langsteer.extras import need
from langsteer.look.plotting import Figure
from langsteer.model.model import Model
from langsteer.steering.vector import SteeringVector
from langsteer.storage.files import check_own_folder, check_writable, write_together
from langsteer.storage.kept import read_record
from langsteer.storage.records import FiledRecord
from langsteer.text.corpus import ParallelCorpus

DISPLACEMENTS_FILE = "displacements.safetensors"
PAGE, FIGURES = "index.html", "figures"

Draw = Callable[[Any], Sequence[Figure]]
PageOf = Callable[[Any, Sequence[Figure]], str]

_SHOWN: dict[type[FiledRecord], tuple[Draw, PageOf]] = {
    LayerResults: (layer_figures.draw, layer_page.page_of),
    Drift: (drift_figures.draw, drift_page.page_of),
    VectorResults: (vector_figures.draw, vector_page.page_of),
}


def write_report(results: LayerResults | Drift | VectorResults, folder: str | Path) -> list[Path]:
    """Write index.html, one page that needs nothing else, and figures/NAME.{png,svg,pdf}.

    All files or none. Raises MissingExtraError without matplotlib or jinja2, and SaveError.
    """
    draw, page_of = _SHOWN[type(results)]
    figures = draw(results)
    contents: dict[str, bytes | str] = {}
    for figure in figures:
        contents[f"{FIGURES}/{figure.name}.png"] = figure.png
        contents[f"{FIGURES}/{figure.name}.svg"] = figure.svg_file
        contents[f"{FIGURES}/{figure.name}.pdf"] = figure.pdf
    contents[PAGE] = page_of(results, figures)
    return write_together(folder, contents)


def analyze_into(
    folder: str | Path,
    model: Model,
    corpus: ParallelCorpus,
    vectors: Mapping[str, SteeringVector] | None = None,
    *,
    lines: int | None = None,
    tuned_lens: str | Path | None = None,
    options: AnalysisOptions = AnalysisOptions(),
) -> tuple[LayerResults, list[Path]]:
    """`analyze`, and write the numbers, the figures and the page into a folder."""
    check_output(folder, LayerResults)
    results = analyze(model, corpus, vectors, lines=lines, tuned_lens=tuned_lens, options=options)
    numbers = results.write(folder)
    return results, [numbers, *write_report(results, folder)]


def drift_into(
    folder: str | Path,
    base: Source,
    tuned: Sequence[Source | tuple[str, Source]],
    corpus: ParallelCorpus,
    **options: Any,
) -> tuple[Drift, list[Path]]:
    """`drift`, and write the numbers, the displacements, the figures and the page into a folder.

    `options` are those of `drift`. Raises MissingExtraError without an extra, and SaveError.
    """
    check_output(folder, Drift)
    drifted = drift(base, tuned, corpus, **options)
    return drifted.results, write_drift(drifted, folder)


def write_drift(drifted: Drifted, folder: str | Path) -> list[Path]:
    """Write drift.json, displacements.safetensors, and what `write_report` writes."""
    folder = Path(folder)
    numbers = drifted.results.write(folder)
    displacements = drifted.write_displacements(folder / DISPLACEMENTS_FILE)
    return [numbers, displacements, *write_report(drifted.results, folder)]


def examine_into(
    folder: str | Path, vectors: Iterable[SteeringVector], *arguments: Any, **options: Any
) -> tuple[VectorResults, list[Path]]:
    """`examine`, and write the numbers, the figures and the page into a folder."""
    check_output(folder, VectorResults)
    results = examine(vectors, *arguments, **options)
    numbers = results.write(folder)
    return results, [numbers, *write_report(results, folder)]


def check_output(folder: str | Path, kind: type[FiledRecord]) -> None:
    """Raise, before the work, what writing results of a kind would raise after it: MissingExtraError or SaveError."""
    for module in ("scipy", "matplotlib"):
        need(module, "analysis", "the figures")
    need("jinja2", "analysis", "the page")
    check_writable(Path(folder) / kind.FILE.name)
    names = [kind.FILE.name, PAGE, FIGURES, *([DISPLACEMENTS_FILE] if kind is Drift else [])]
    check_own_folder(folder, names, partial(_holds, kind), kind.FILE.command)


def _holds(kind: type[FiledRecord], folder: Path) -> bool:
    """Whether a folder has results of this kind, of any version."""
    return read_record(folder / kind.FILE.name).get("format") == kind.FILE.format
