"""langsteer compare"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from langsteer.cli import options as shared
from langsteer.cli.working import Jobs, On, shared_workers
from langsteer.extras import need

if TYPE_CHECKING:
    from langsteer.evaluation.comparison.run import Progress


def command(
    config: Annotated[
        Path, typer.Argument(help="A YAML file; see docs/reference/commands/compare.md.")
    ],
    benchmarks: shared.Benchmarks = None,
    jobs: Jobs = None,
    on: On = None,
    as_json: shared.Json = False,
) -> None:
    """Run a comparison of methods: models × benchmarks × languages.

    Example: `langsteer compare comparison.yaml && langsteer report results`

    On four processes of this machine: `langsteer compare comparison.yaml --jobs 4`

    On a Ray cluster: `langsteer compare comparison.yaml --on ray`

    A comparison that was stopped goes on where it was when the same command is run again.
    """
    shared.quiet_libraries()
    need("lm_eval", "eval", "a comparison")
    from langsteer.evaluation.comparison.configuration import read_comparison
    from langsteer.evaluation.comparison.run import compare

    wanted = read_comparison(config, benchmark_files=benchmarks or ())
    console = shared.console(stderr=True)

    with _Told(console, as_json) as told:
        outcome = compare(wanted, told, shared_workers(wanted.output, jobs, on))
    if as_json:
        shared.print_json(
            {
                "output": str(wanted.output),
                "made": [str(path) for path in outcome.made],
                "kept": [str(path) for path in outcome.kept],
                "failed": [asdict(failure) for failure in outcome.failed],
                "seconds": outcome.seconds,
            }
        )
    else:
        shared.console().print(
            f"{len(outcome.made)} cells made, {len(outcome.kept)} were there, "
            f"{len(outcome.failed)} failed; {outcome.seconds:.0f} s. "
            f"Now: langsteer report {wanted.output}",
        )
    if outcome.failed:
        raise typer.Exit(1)


class _Told:
    """Tells of each cell on standard error: a line, or with `as_json` an object of one line.

    On a terminal a bar for all of them stays below the lines.
    """

    def __init__(self, console: Console, as_json: bool) -> None:
        self.as_json = as_json
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        shown = console.is_terminal and not as_json
        self.bars = Bars(*columns, console=console, transient=True, disable=not shown)
        self.task = self.bars.add_task("cells", total=None)
        self.console = console
        self.elsewhere: set[str] = set()  # methods of which it was said who writes for them

    def __enter__(self) -> "_Told":
        self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bars.stop()

    def __call__(self, step: "Progress") -> None:
        from langsteer.evaluation.comparison.cells import Failure

        self.bars.update(self.task, completed=step.done, total=step.total)
        if self.as_json:
            typer.echo(json.dumps(_event(step)), err=True)
            return
        cell = step.cell
        place = f"[{step.done}/{step.total}] {cell.benchmark} {cell.language} {cell.method}"
        if isinstance(cell, Failure):
            self.console.print(f"{place}: failed: {cell.error}", style="red")
            return
        why = cell.settings.get("engine", {}).get("why")
        if why is not None and cell.method not in self.elsewhere:
            self.elsewhere.add(cell.method)
            self.console.print(f"{cell.method} is written by transformers: {why}")
        metric = next(iter(cell.harness.items()), None)
        score = f"{metric[0]} {metric[1]:.3f}" if metric else "done"
        self.console.print(f"{place}: {score}, {cell.cost.seconds:.0f} s")


def _event(step: "Progress") -> dict[str, Any]:
    from langsteer.evaluation.comparison.cells import Failure

    cell = step.cell
    key = dict(zip(("model", "benchmark", "language", "method"), cell.key, strict=True))
    about = {"event": "cell", "done": step.done, "total": step.total, **key}
    if isinstance(cell, Failure):
        return {**about, "event": "failed", "error": cell.error}
    told = {**about, "scores": dict(cell.harness), "seconds": cell.cost.seconds}
    engine = cell.settings.get("engine")
    return told if engine is None else {**told, "engine": engine}
