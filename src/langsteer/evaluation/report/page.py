"""The report of a results folder: one self-contained page, Markdown, LaTeX and JSON."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langsteer.errors import CellError
from langsteer.evaluation.comparison.cells import Cell, Results, read_results
from langsteer.evaluation.report.figures import draw_figures
from langsteer.evaluation.report.grids import (
    difference_grid,
    language_grid,
    method_grid,
    pair_grid,
    score_name,
    settings_grid,
    trouble_grid,
    version_grid,
)
from langsteer.evaluation.report.sentences import summarise
from langsteer.evaluation.report.table import PERMUTATION, Table, compare_table, compare_tables
from langsteer.evaluation.statistics import DRAWS, PERMUTATIONS
from langsteer.extras import need
from langsteer.look import page
from langsteer.look.grid import Grid
from langsteer.look.plotting import Figure
from langsteer.look.words import listed
from langsteer.storage.files import check_own_folder, write_json, write_text, write_whole
from langsteer.storage.kept import read_record
from langsteer.version import __version__

RECORD = "report.json"
FIGURES = "figures"
FORMS = ("html", "md", "tex")
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class BenchmarkSection:
    """A model on a benchmark: its table, the same without calibration, and what they say."""

    title: str
    table: Table
    raw: Table | None
    summary: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def methods(self) -> Grid:
        return method_grid(self.table, self.raw)


@dataclass(frozen=True)
class Report:
    """Everything that a report says. `configuration` maps file names to what they hold."""

    title: str
    sections: tuple[BenchmarkSection, ...]
    results: Results
    configuration: tuple[tuple[str, str], ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "langsteer": __version__,
            "title": self.title,
            "benchmarks": [
                {
                    "title": section.title,
                    "summary": section.summary,
                    "notes": section.notes,
                    "table": section.table.as_json(),
                    "raw": section.raw and section.raw.as_json(),
                }
                for section in self.sections
            ],
            "troubles": _plain(trouble_grid(self.results)),
            "settings": _plain(settings_grid(self.results.cells)),
            "versions": _plain(version_grid(self.results.cells)),
            "configuration": dict(self.configuration),
        }


def make_report(folder: str | Path, draws: int = DRAWS, seed: int = 0) -> Report:
    """Read a results folder and compare what is in it. Raises CellError where it has no cell."""
    results = read_results(folder)
    if not results.cells:
        damage = f" The first of its files: {results.damaged[0].error}" if results.damaged else ""
        raise CellError(f"{folder} has no cell that can be reported on.{damage}")
    sections = tuple(
        _section(table, results.cells, draws, seed)
        for table in compare_tables(results.cells, draws=draws, seed=seed)
    )
    models = sorted({table.table.model for table in sections})
    configuration = tuple(
        (path.name, path.read_text(encoding="utf-8", errors="replace"))
        for path in sorted(Path(folder).iterdir())
        if path.suffix in (".yaml", ".yml") and path.is_file()
    )
    return Report(f"Comparison of methods: {listed(models)}", sections, results, configuration)


def write_report(report: Report, folder: str | Path) -> list[Path]:
    """Write report.html, report.md, report.tex, report.json and figures/ into `folder`.

    Raises MissingExtraError without jinja2 or matplotlib, and SaveError where a file of these names is
    there that no report is.
    """
    folder = Path(folder)
    check_own_folder(
        folder,
        [*(f"report.{form}" for form in FORMS), RECORD, FIGURES],
        _holds_report,
        "langsteer report",
    )
    figures = [draw_figures(section.table) for section in report.sections]
    record = write_json(folder / RECORD, report.as_json())  # it says whose the others are
    written = [
        write_text(folder / f"report.{form}", _render(report, figures, form)) for form in FORMS
    ]
    for figure in (figure for drawn in figures for figure in drawn):
        for form, content in (("png", figure.png), ("pdf", figure.pdf)):
            _write_bytes(folder / FIGURES / f"{figure.name}.{form}", content)
    return [*written, record]


def _holds_report(folder: Path) -> bool:
    return "benchmarks" in read_record(folder / RECORD)


def _section(table: Table, cells: Sequence[Cell], draws: int, seed: int) -> BenchmarkSection:
    raw = None
    if table.score == "calibrated":
        own = [c for c in cells if (c.model, c.benchmark) == (table.model, table.benchmark)]
        raw = compare_table(own, "raw", draws, seed)
    title = benchmark_title(table.benchmark)
    return BenchmarkSection(
        f"{title}: {table.model}", table, raw, summarise(table, title), table.notes
    )


def benchmark_title(name: str) -> str:
    """A benchmark's title; its name where this langsteer does not know it."""
    try:
        from langsteer.evaluation.benchmarks import BENCHMARKS

        return BENCHMARKS[name].title
    except (ImportError, KeyError):
        return name


def _render(report: Report, figures: Sequence[Sequence[Figure]], form: str) -> str:
    jinja2 = need("jinja2", "eval", "the report")
    options: dict[str, Any] = {
        "loader": jinja2.FileSystemLoader([_TEMPLATES, page.TEMPLATES]),
        "trim_blocks": True,
        "lstrip_blocks": True,
        "keep_trailing_newline": True,
        "undefined": jinja2.StrictUndefined,
        "autoescape": form == "html",
    }
    if form == "tex":
        marks = ("<%", "%>", "<<", ">>", "<#", "#>")
        names = ("block", "variable", "comment")
        ends = [f"{name}_{end}_string" for name in names for end in ("start", "end")]
        options |= dict(zip(ends, marks, strict=True))
    environment = jinja2.Environment(**options)
    environment.filters |= {"tex": tex_escape, "md": markdown_escape, "pretty": _pretty}
    return environment.get_template(f"report.{form}.j2").render(
        report=report,
        figures=figures,
        language_grid=language_grid,
        difference_grid=difference_grid,
        pair_grid=pair_grid,
        score_name=score_name,
        benchmarks=sorted({section.table.benchmark for section in report.sections}),
        benchmark_title=benchmark_title,
        methods=_methods(report.sections),
        troubles=trouble_grid(report.results),
        settings=settings_grid(report.results.cells),
        versions=version_grid(report.results.cells),
        permutation=PERMUTATION,
        draws=DRAWS,
        permutations=PERMUTATIONS,
        version=__version__,
    )


def _methods(sections: Sequence[BenchmarkSection]) -> dict[str, str]:
    return {row.method: row.title for section in sections for row in section.table.rows}


def _plain(grid: Grid) -> list[dict[str, str]]:
    names = [column.name.lower() for column in grid.columns]
    texts = [[value.marked for value in line.values] for line in grid.lines]
    return [dict(zip(names, line, strict=True)) for line in texts]


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _write_bytes(path: Path, content: bytes) -> Path:
    return write_whole(path, lambda part: part.write_bytes(content))


_TEX = {
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",  # after a row's end, a bracket would be an option
    "]": "{]}",
    "–": "--",
    "—": "---",
    "−": "$-$",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
    "▲": r"$\uparrow$",
    "▼": r"$\downarrow$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "…": r"\dots{}",
    "’": "'",
    "‘": "`",
    "“": "``",
    "”": "''",
}


def tex_escape(text: object) -> str:
    """Text for LaTeX with any engine; letters beyond Latin by their code points."""
    return "".join(_TEX.get(mark) or _tex_letter(mark) for mark in str(text))


def _tex_letter(mark: str) -> str:
    if mark in "\n\t":
        return " "
    latin = mark.isascii() or (mark.isalpha() and ord(mark) < 0x180)
    return mark if latin else rf"\texttt{{U+{ord(mark):04X}}}"


def markdown_escape(text: object) -> str:
    """Text for a place of a Markdown table."""
    return re.sub(r"([\\`*_|<>\[\]#~])", r"\\\1", " ".join(str(text).split()))
