"""Whether engines steer as transformers does: a table of all that are installed.

python -m benchmarks.engines               every engine that is here; rows of others stay
python -m benchmarks.engines llama_cpp     one
python -m benchmarks.engines --cost        what the plug-in of vLLM costs in throughput, in 30 --rounds of turns

Writes benchmarks/results/engines.json, and the table of docs/engines.md between its marks; with --cost,
benchmarks/results/engines_vllm_cost.json.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS
from benchmarks.engines.row import Row
from langsteer.errors import EngineError, MissingExtraError
from langsteer.storage.files import write_json, write_text
from langsteer.version import versions

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "engines.md"
BEGIN, END = "<!-- engines: made by python -m benchmarks.engines -->", "<!-- end of engines -->"
OWN = ("__init__", "__main__", "row")
HEADS = (
    "engine", "weights", "language", "largest difference", "divergence", "other tokens", "steering",
    "share", "rest",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("engines", nargs="*")
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--rounds", type=int, default=30)
    asked = parser.parse_args()
    if asked.cost:
        told = importlib.import_module("benchmarks.engines.vllm").cost(asked.rounds)
        ratios = {name: value for name, value in told.items() if "÷" in name}
        print(json.dumps(ratios, ensure_ascii=False, indent=1))
        return
    names = asked.engines or sorted(p.stem for p in HERE.glob("*.py") if p.stem not in OWN)
    file = RESULTS / "engines.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    for name in names:
        try:
            rows: list[Row] = importlib.import_module(f"benchmarks.engines.{name}").measure()
        except (EngineError, MissingExtraError) as error:
            print(f"{name}: left out: {error}", file=sys.stderr)
            continue
        results[name] = {"rows": [asdict(row) for row in rows], "versions": versions()}
        write_json(file, results)
    told = table(rows_in(results))
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    write_text(PAGE, f"{before}{BEGIN}\n\n{told}\n\n{END}{rest.partition(END)[2]}")
    print(told)


def rows_in(results: Mapping[str, Any]) -> list[Row]:
    """What `engines.json` holds, engine by engine."""
    return [Row(**row) for engine in sorted(results) for row in results[engine]["rows"]]


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    lines = [HEADS, ("---",) * 3 + ("---:",) * (len(HEADS) - 3), *map(cells, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cells(row: Row) -> tuple[str, ...]:
    return (
        row.engine,
        row.weights,
        row.language,
        paired(row.largest, row.largest_unsteered, ".3f"),
        paired(row.divergence, row.divergence_unsteered, ".1e"),
        f"{row.other_tokens} ({row.other_tokens_unsteered}) of {row.places}",
        number(row.effect, ".2f"),
        number(row.share, ".4f"),
        number(row.rest, ".4f"),
    )


def paired(steered: float | None, unsteered: float | None, form: str) -> str:
    return f"{number(steered, form)} ({number(unsteered, form)})"


def number(value: float | None, form: str) -> str:
    return "–" if value is None else f"{value:{form}}"


if __name__ == "__main__":
    main()
