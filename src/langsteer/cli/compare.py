"""langsteer compare"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from langsteer.cli import options as shared
from langsteer.extras import need


def command(
    config: Annotated[
        Path, typer.Argument(help="A YAML file; see docs/reference/commands/compare.md.")
    ],
    benchmarks: shared.Benchmarks = None,
    as_json: shared.Json = False,
) -> None:
    """Run a comparison of methods: models × benchmarks × languages.

    Example: `langsteer compare comparison.yaml && langsteer report results`

    A comparison that was stopped goes on where it was when the same command is run again.
    """
    shared.quiet_libraries()
    need("lm_eval", "eval", "a comparison")
    from langsteer.evaluation.comparison.cells import Cell
    from langsteer.evaluation.comparison.configuration import read_comparison
    from langsteer.evaluation.comparison.run import Progress, compare

    wanted = read_comparison(config, benchmark_files=benchmarks or ())
    console = shared.console(stderr=True)

    def tell(step: Progress) -> None:
        cell = step.cell
        place = f"[{step.done}/{step.total}] {cell.benchmark} {cell.language} {cell.method}"
        if isinstance(cell, Cell):
            score = next(iter(cell.harness.items()), None)
            found = f"{score[0]} {score[1]:.3f}" if score else "done"
            console.print(f"{place}: {found}, {cell.cost.seconds:.0f} s")
        else:
            console.print(f"{place}: failed: {cell.error}", style="red")

    outcome = compare(wanted, tell)
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
