"""langsteer evaluate"""

import contextlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from langsteer.cli import options as shared
from langsteer.errors import EngineError
from langsteer.extras import need
from langsteer.storage.parsed import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langsteer.evaluation.evaluate import TaskResult
    from langsteer.evaluation.harness.shown import ShownItem


def command(
    tasks: Annotated[list[str], shared.tasks("Benchmarks or tasks of the harness, with commas.")],
    vectors: Annotated[list[Path], shared.vectors("A vector file, or a folder; several times.")],
    languages: Annotated[
        list[str] | None, shared.languages("Tags, with commas; else all vectors'.")
    ] = None,
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
    engine: Annotated[
        Literal["transformers", "vllm"],
        typer.Option("--engine", help="What writes answers; vllm needs langsteer[vllm]."),
    ] = "transformers",
    engine_arguments: Annotated[
        str,
        typer.Option(
            "--engine-arguments", help="More of vLLM's own, as JSON: '{\"max_model_len\": 2048}'."
        ),
    ] = "",
    check_engine: Annotated[
        int | None,
        typer.Option(
            "--check-engine",
            min=1,
            help="Have transformers write the first answers too, so many, and count those that differ.",
        ),
    ] = None,
    show_tokens: Annotated[
        bool,
        typer.Option(
            "--show-tokens",
            help="Print which tokens of the first items are steered (of --limit, or 1), and stop.",
        ),
    ] = False,
    as_json: shared.Json = False,
) -> None:
    """Measure vectors on benchmarks, or on tasks of the lm-evaluation-harness.

    Example: `langsteer evaluate -t sib200 -v vectors/ --data data/`

    A task of the harness: `langsteer evaluate -t xcopa_sw -v sw.safetensors`

    Answers written by vLLM: `langsteer evaluate -t flores_to_english -v sw.safetensors --engine vllm --check-engine 8`
    """
    shared.quiet_libraries()
    need("lm_eval", "eval", "evaluation")
    from langsteer.evaluation import evaluate as evaluation
    from langsteer.evaluation.harness.engine import engine_writer
    from langsteer.model.opening import checkpoint_of
    from langsteer.steering.folder import read_changes

    arguments = _arguments(engine, engine_arguments, check_engine)
    opened = shared.open_model(model, dtype, device, device_map)
    asked = (opened, shared.listed(tasks), read_changes(*vectors))
    how: dict[str, Any] = {
        "languages": shared.listed(languages),
        "data": data,
        "form": form,
        "other_weights": carry,
        "benchmark_files": benchmarks or (),
    }
    if show_tokens:
        _print_tokens(evaluation.show_tokens(*asked, items=limit or 1, **how), as_json)
        return
    with contextlib.ExitStack() as stack:
        if engine != "transformers":
            made = engine_writer(opened, checkpoint_of(model), arguments, check_engine or 0)
            how["writer"] = stack.enter_context(made)
        _print_results(evaluation.evaluate(*asked, limit=limit, **how), as_json)


def _arguments(engine: str, text: str, check: int | None) -> dict[str, Any]:
    """vLLM's arguments. Raises EngineError where they are no JSON object, or given in vain."""
    given = {"--engine-arguments": bool(text), "--check-engine": check is not None}
    if engine == "transformers" and (vain := [name for name, there in given.items() if there]):
        raise EngineError(f"{vain[0]} is for another engine than transformers: add --engine vllm")
    try:
        arguments = parse_json(text or "{}")
    except ValueError as error:
        raise EngineError(f"--engine-arguments is not JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise EngineError("--engine-arguments is a JSON object: '{\"max_model_len\": 2048}'")
    return arguments


def _print_results(results: "Sequence[TaskResult]", as_json: bool) -> None:
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
    for result in results:
        for variant, told in (result.engine or {}).items():
            _print_engine(f"{result.task}, {variant}", told)
        if result.missed:
            shared.console(stderr=True).print(
                f"{result.task}: the vector touched no token of {result.missed} of {result.items} "
                "items, which are answered as without it (--show-tokens)",
                markup=False,
            )


def _print_engine(what: str, told: "Mapping[str, Any]") -> None:
    """Who wrote, and how many answers of transformers it was held against."""
    from langsteer.evaluation.harness.ties import counted

    if "why" in told:
        line = f"{what}: written by transformers: {told['why']}"
    else:
        line = f"{what}: written by vLLM {told['version']}"
        if (checked := told.get("checked")) is not None:
            line += f"; {counted([checked])}"
    shared.console(stderr=True).print(line, markup=False)


def _print_tokens(items: "Sequence[ShownItem]", as_json: bool) -> None:
    if as_json:
        shared.print_json([asdict(item) for item in items])
        return
    for item in items:
        at = item.positions or "positions of several parts"
        table = Table(box=box.SIMPLE, title_justify="left")
        table.title = Text(f"{item.task}, item {item.item}: {item.kind}, {item.language} at {at}")
        for name in ("part", "tokens", "steered", "scored", "what"):
            table.add_column(name, justify="right" if name == "tokens" else "left")
        for s in item.stretches:
            part = f"{s.part} {s.answer}" if s.part == "answer" else s.part
            marks = ("yes" if flag else "" for flag in (s.steered, s.scored))
            table.add_row(part, str(s.tokens), *marks, Text(s.text.replace("\n", "\\n")))
        shared.console().print(table)
