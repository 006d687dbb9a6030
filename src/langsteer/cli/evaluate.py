"""langsteer evaluate"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from langsteer.cli import options as common


def command(
    tasks: Annotated[
        str,
        typer.Option("--tasks", "-t", help="Benchmarks or tasks of the harness, with commas."),
    ],
    vectors: Annotated[Path, typer.Option("--vectors", "-v", help="A vector file, or a folder.")],
    languages: Annotated[
        str | None, typer.Option("--languages", "-l", help="Tags, with commas; else all vectors'.")
    ] = None,
    model: common.ModelName = common.DEFAULT,
    data: Annotated[
        Path | None, typer.Option(help="Folder with the data sets as published; else the hub.")
    ] = None,
    form: Annotated[str | None, typer.Option(help="Prompt form: english or native.")] = None,
    benchmarks: Annotated[
        list[Path] | None,
        typer.Option(help="A YAML file with a benchmark of one's own, or a folder; may repeat."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask so many items only.")] = None,
    other_weights: common.OtherWeights = False,
    dtype: common.Dtype = "auto",
    device: common.Device = None,
    device_map: common.DeviceMap = None,
    json: common.Json = False,
) -> None:
    """Measure vectors on benchmarks, or on tasks of the lm-evaluation-harness.

    Example: langsteer evaluate -t sib200 -v vectors/ --data data/

    A task of the harness: langsteer evaluate -t xcopa_sw -v sw.safetensors
    """
    common.quiet_libraries()
    evaluate = common.needs_extra("evaluation", "lm-eval", "eval", "langsteer.evaluation.evaluate")
    results = evaluate.evaluate(
        common.open_model(model, dtype, device, device_map),
        common.listed(tasks),
        vectors,
        languages=common.listed(languages),
        data=data,
        form=form,
        limit=limit,
        other_weights=other_weights,
        benchmark_files=benchmarks or (),
    )
    if json:
        common.print_json([asdict(result) for result in results])
        return
    table = Table(box=box.SIMPLE)
    for name in ("task", "items", "metric"):
        table.add_column(name)
    for name in ("unsteered", "steered", "change [95%]"):
        table.add_column(name, justify="right", no_wrap=True)
    for result in results:
        change = result.change
        table.add_row(
            result.task,
            str(result.items),
            result.metric,
            f"{result.unsteered:.3f}",
            f"{result.steered:.3f}",
            f"{change.value:+.3f} [{change.low:+.3f}, {change.high:+.3f}]",
        )
    Console().print(table)
