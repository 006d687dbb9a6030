"""langsteer evaluate"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from rich import box
from rich.table import Table

from langsteer.cli import options as shared
from langsteer.extras import need


def command(
    tasks: Annotated[str, shared.tasks("Benchmarks or tasks of the harness, with commas.")],
    vectors: Annotated[list[Path], shared.vectors("A vector file, or a folder; several times.")],
    languages: Annotated[str, shared.languages("Tags, with commas; else all vectors'.")] = "",
    model: shared.ModelName = shared.DEFAULT_MODEL,
    data: Annotated[
        Path | None, shared.data("Folder with the data sets as published; else the hub.")
    ] = None,
    form: Annotated[
        str | None, shared.one_of(lambda: shared.FORMS, "--form", help="Form of the prompt.")
    ] = None,
    limit: Annotated[int | None, shared.limit(least=1)] = None,
    carry: shared.Carry = False,
    dtype: shared.Dtype = "auto",
    device: shared.Device = None,
    device_map: shared.DeviceMap = None,
    benchmarks: shared.Benchmarks = None,
    as_json: shared.Json = False,
) -> None:
    """Measure vectors on benchmarks, or on tasks of the lm-evaluation-harness.

    Example: `langsteer evaluate -t sib200 -v vectors/ --data data/`

    A task of the harness: `langsteer evaluate -t xcopa_sw -v sw.safetensors`
    """
    shared.quiet_libraries()
    need("lm_eval", "eval", "evaluation")
    from langsteer.evaluation.evaluate import evaluate
    from langsteer.steering.folder import read_changes

    results = evaluate(
        shared.open_model(model, dtype, device, device_map),
        shared.listed(tasks),
        read_changes(*vectors),
        languages=shared.listed(languages),
        data=data,
        form=form,
        limit=limit,
        other_weights=carry,
        benchmark_files=benchmarks or (),
    )
    if as_json:
        shared.print_json([asdict(result) for result in results])
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
    shared.console().print(table)
