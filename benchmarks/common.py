"""What benchmarks share: paired timing, what machine it was, and where results go."""

import argparse
import gzip
import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from langsteer.evaluation.demo import TOPICS
from langsteer.evaluation.statistics import Array, Interval
from langsteer.model.model import Model
from langsteer.model.tokens import Tokens, batches
from langsteer.progress import show_progress
from langsteer.states.intervention import Intervention, PositionKind
from langsteer.steering.change import Change
from langsteer.storage.files import write_json
from langsteer.text.corpus import ParallelCorpus, spread
from langsteer.text.readers import read_corpus
from langsteer.version import versions

RESULTS = Path(__file__).parent / "results"
SHARED = Path(__file__).parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Ratio:
    """Seconds of one thing over seconds of another, run by turns: the median of the rounds' ratios.

    `low` and `high` are its 95% bootstrap interval over rounds.
    """

    median: float
    low: float
    high: float
    first_seconds: float
    second_seconds: float
    rounds: int


@dataclass(frozen=True, eq=False)
class Moved(Change):
    """A change that depends on the state: `move` maps states and a strength to new states."""

    layer: int
    move: Callable[[Tensor, float], Tensor]
    strength: float = 1.0
    positions: PositionKind = "source"
    scores: dict[str, Any] = field(default_factory=dict)

    @property
    def layers(self) -> tuple[int, ...]:
        return (self.layer,)

    @property
    def hidden_size(self) -> int:
        raise NotImplementedError("it belongs to no model")

    def tensors(self) -> dict[str, Tensor]:
        raise NotImplementedError("it is not saved")

    def record(self) -> dict[str, Any]:
        raise NotImplementedError("it is not saved")

    @classmethod
    def from_file(cls, tensors: Mapping[str, Tensor], record: dict[str, Any]) -> "Moved":
        raise NotImplementedError("it is not saved")

    def interventions(self, strength: float | None = None) -> Sequence[Intervention]:
        by = self.strength if strength is None else strength
        return [
            Intervention(self.layer, lambda states: self.move(states, by), positions=self.positions)
        ]


def paired(
    first: Callable[[], object],
    second: Callable[[], object],
    rounds: int = 7,
    warm: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Ratio:
    """Time `first` against `second`, alternating which goes first, in one process.

    `clock` gives seconds: those of the wall, or `time.process_time`, which other programs on the
    machine disturb less.
    """
    for _ in range(warm):
        first()
        second()
    times: list[tuple[float, float]] = []
    for number in range(rounds):
        if number % 2:
            late, early = _seconds(second, clock), _seconds(first, clock)
            times.append((early, late))
        else:
            times.append((_seconds(first, clock), _seconds(second, clock)))
    a, b = np.array(times).T
    ratios = a / b
    drawn = np.random.default_rng(0).integers(0, rounds, (10_000, rounds))
    low, high = np.percentile(np.median(ratios[drawn], axis=1), [2.5, 97.5])
    return Ratio(
        float(np.median(ratios)),
        float(low),
        float(high),
        float(np.median(a)),
        float(np.median(b)),
        rounds,
    )


def machine() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "versions": versions(),
    }


def report(name: str, values: dict[str, Any]) -> None:
    """Print the results and write them to benchmarks/results/NAME.json."""
    plain = json.loads(json.dumps(values, default=lambda value: asdict(value)))
    path = write_json(RESULTS / f"{name}.json", {"machine": machine(), **plain})
    print(json.dumps(plain, indent=2))
    print(f"written to {path.relative_to(Path(__file__).parents[1])}")


def arguments(
    parser: argparse.ArgumentParser, table: Callable[[argparse.Namespace], str]
) -> argparse.Namespace:
    """What a benchmark is asked; with `--table` it prints what is there, and ends."""
    parser.add_argument("--table", action="store_true", help="print what is there, run nothing")
    chosen = parser.parse_args()
    if chosen.table:
        print(table(chosen))
        raise SystemExit
    show_progress(False)
    return chosen


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The runs that a file of JSON lines holds, which may be packed; none where there is no file yet."""
    if not file.exists():
        return []
    with _opener(file)(file, "rt", encoding="utf-8") as opened:
        return [json.loads(line) for line in opened]


def _opener(file: Path) -> Callable[..., IO[str]]:
    return gzip.open if file.suffix == ".gz" else open


def find_line(file: Path, about: dict[str, Any]) -> dict[str, Any] | None:
    """The first run of a file of JSON lines that was made with these settings; None is what older
    lines do not tell.
    """
    runs = read_lines(file)
    return next((run for run in runs if {name: run.get(name) for name in about} == about), None)


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def rounded(estimate: Interval) -> list[float]:
    """An estimate and the ends of its interval, to one decimal."""
    return [round(number, 1) for number in (estimate.value, estimate.low, estimate.high)]


def bracketed(change: Sequence[float]) -> str:
    """A change and the ends of its interval, rounded, in a table."""
    return "{:+} [{}, {}]".format(*change)


def add_line(file: Path, line: dict[str, Any]) -> None:
    """Append a run to a file of JSON lines."""
    file.parent.mkdir(exist_ok=True)
    with _opener(file)(file, "at", encoding="utf-8") as opened:
        opened.write(json.dumps(line, separators=(",", ":")) + "\n")


def plain_passes(model: Model, texts: Iterable[list[Tokens]]) -> None:
    """The backbone alone, over the batches of each of the texts' tokens."""
    for tokens in texts:
        for index in batches(tokens):
            with torch.inference_mode():
                model.run_decoder(model.batch([tokens[i].ids for i in index]))


def right_topics(docs: Iterable[Mapping[str, Any]]) -> Tensor:
    """The place of each item's topic among the answers, of items of SIB-200."""
    return torch.tensor([list(TOPICS).index(doc["category"]) for doc in docs])


def marks(scores: Tensor, right: Tensor) -> Array:
    """Of each item, 100 where the right choice scores most [items, choices], and 0 elsewhere."""
    return (scores.argmax(1) == right).double().numpy() * 100


def _seconds(run: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    run()
    return clock() - start


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), "")


def some_news(language: str, lines: int) -> ParallelCorpus:
    """About so many pairs of NTREX, spread evenly."""
    corpus = read_corpus(str(SHARED / "ntrex"), [language])
    return corpus.lines(range(0, len(corpus), max(1, len(corpus) // lines)))


def noisy(text: ParallelCorpus, share: float) -> ParallelCorpus:
    """A share of the lines, spread evenly, with the translation of the next of them."""
    moved = spread(len(text), round(share * len(text)))
    if not moved:
        return text
    lines = list(text.texts[text.language])
    for i, following in zip(moved, [*moved[1:], moved[0]], strict=True):
        lines[i] = text.texts[text.language][following]
    return replace(text, texts={**text.texts, text.language: tuple(lines)})
