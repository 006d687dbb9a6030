"""langsteer compare"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from langsteer.cli import options as common
from langsteer.evaluation.comparison.cells import Cell


def command(
    config: Annotated[Path, typer.Argument(help="A YAML file; see docs/reference/commands/compare.md.")],
    json: common.Json = False,
) -> None:
    """Run a comparison of methods: models × benchmarks × languages.

    Example: langsteer compare comparison.yaml && langsteer report results

    A comparison that was stopped goes on where it was when the same command is run again.
    """
    common.quiet_libraries()
    from langsteer.evaluation.comparison.configuration import read_comparison
    from langsteer.evaluation.comparison.run import Progress, compare

    wanted = read_comparison(config)
    console = Console(stderr=True)

    def tell(step: Progress) -> None:
        cell = step.cell
        place = f"[{step.done}/{step.total}] {cell.benchmark} {cell.language} {cell.method}"
        if isinstance(cell, Cell):
            score = next(iter(cell.harness.items()), None)
            found = f"{score[0]} {score[1]:.3f}" if score else "done"
            console.print(f"{place}: {found}, {cell.cost.seconds:.0f} s", highlight=False)
        else:
            console.print(f"{place}: failed: {cell.error}", style="red", highlight=False)

    outcome = compare(wanted, tell)
    if json:
        common.print_json(
            {
                "output": str(wanted.output),
                "made": [str(path) for path in outcome.made],
                "kept": [str(path) for path in outcome.kept],
                "failed": [asdict(failure) for failure in outcome.failed],
                "seconds": outcome.seconds,
            }
        )
    else:
        Console().print(
            f"{len(outcome.made)} cells made, {len(outcome.kept)} were there, "
            f"{len(outcome.failed)} failed; {outcome.seconds:.0f} s. "
            f"Now: langsteer report {wanted.output}",
            highlight=False,
            soft_wrap=True,
        )
    if outcome.failed:
        raise typer.Exit(1)
