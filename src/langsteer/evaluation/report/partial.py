"""What is there so far of a comparison that runs: a score a cell, without intervals."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langsteer.errors import CellError, LangsteerError
from langsteer.evaluation.comparison.cells import (
    Cell,
    existing_cell,
    failure_path,
    read_cell,
)
from langsteer.evaluation.comparison.configuration import (
    CONFIGURATION,
    Comparison,
    read_comparison,
)


@dataclass(frozen=True)
class PartialTable:
    """A model on a benchmark: the harness's score by (method, language)."""

    title: str
    metric: str
    languages: tuple[str, ...]
    methods: tuple[str, ...]
    scores: dict[tuple[str, str], float | None]
    """None where a cell failed; no key where it is not there yet"""


@dataclass(frozen=True)
class Partial:
    """All tables, and how many cells are there, failed, and asked for."""

    tables: tuple[PartialTable, ...]
    made: int
    failed: int
    total: int

    @property
    def missing(self) -> int:
        return self.total - self.made - self.failed

    def sentence(self) -> str:
        """How far it is, such as `3 of 12 cells are there, 1 failed, 8 missing.`"""
        failed = f", {self.failed} failed" * bool(self.failed)
        return f"{self.made} of {self.total} cells are there{failed}, {self.missing} missing."

    def as_json(self) -> dict[str, Any]:
        return {
            "made": self.made,
            "failed": self.failed,
            "missing": self.missing,
            "tables": [
                {
                    "title": table.title,
                    "metric": table.metric,
                    "scores": {
                        method: {
                            tag: table.scores[method, tag]
                            for tag in table.languages
                            if (method, tag) in table.scores
                        }
                        for method in table.methods
                    },
                }
                for table in self.tables
            ],
        }


class PartialReader:
    """Reads a results folder again and again; a cell's file is read once for each time it is written."""

    def __init__(self, folder: str | Path) -> None:
        """Raises CellError where no comparison was begun in the folder."""
        self.folder = Path(folder)
        file = self.folder / CONFIGURATION
        if not file.is_file():
            raise CellError(f"no comparison was begun in {folder}: it has no {CONFIGURATION}")
        self.wanted: Comparison = read_comparison(file)
        self._read: dict[Path, tuple[int, float | None]] = {}

    def read(self) -> Partial:
        """What is there now."""
        tables = tuple(
            self._table(model, benchmark.name)
            for model in self.wanted.models
            for benchmark in self.wanted.benchmarks
        )
        values = [score for table in tables for score in table.scores.values()]
        total = sum(1 for _ in self.wanted.cells())
        failed = values.count(None)
        return Partial(tables, len(values) - failed, failed, total)

    def _table(self, model: str, benchmark: str) -> PartialTable:
        scores: dict[tuple[str, str], float | None] = {}
        for of_model, of_benchmark, language, chosen in self.wanted.cells():
            if (of_model, of_benchmark) != (model, benchmark):
                continue
            key = (model, benchmark, language, chosen.name)
            path = existing_cell(self.folder, *key)
            if path is not None:
                score = self._score(path)
                if score is not None:
                    scores[key[3], key[2]] = score
            elif failure_path(self.folder, *key).exists():
                scores[key[3], key[2]] = None
        about = self.wanted.benchmark(benchmark)
        languages = self.wanted.languages_of(benchmark)
        methods = tuple(chosen.name for chosen in self.wanted.methods)
        return PartialTable(f"{about.title}: {model}", about.metric, languages, methods, scores)

    def _score(self, path: Path) -> float | None:
        """The score of a cell's file; None where it cannot be read, and so will be made again."""
        try:
            written = path.stat().st_mtime_ns
            if self._read.get(path, (0, None))[0] != written:
                self._read[path] = written, score_of(read_cell(path))
        except (LangsteerError, OSError):
            return None
        return self._read[path][1]


def score_of(cell: Cell) -> float | None:
    """A cell's own metric as the harness gives it, in its unit; None where there is none."""
    if not cell.harness:
        return None
    return cell.harness.get(cell.metric, next(iter(cell.harness.values())))
