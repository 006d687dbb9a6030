"""langsteer demo"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich import box
from rich.table import Table

from langsteer.cli import options as shared
from langsteer.fitting.names import DEFAULT_METHOD

if TYPE_CHECKING:
    from langsteer.evaluation.demo import DemoResult, LanguageResult
    from langsteer.evaluation.statistics import Interval

LANGUAGES = "sw,et,hi,el,tr,de"


def command(
    model: shared.ModelName = shared.DEFAULT_MODEL,
    languages: Annotated[
        list[str], shared.languages("Tags of the built-in corpus, with commas.")
    ] = [LANGUAGES],  # noqa: B006
    method: shared.Method = DEFAULT_METHOD,
    output: Annotated[
        Path, shared.output("Folder for demo.json, demo.png and vectors/.", "<folder>")
    ] = Path("demo"),
    limit: Annotated[int | None, shared.limit(least=7)] = None,
    overwrite: shared.Overwrite = False,
    dtype: shared.Dtype = "auto",
    device: shared.Device = None,
    device_map: shared.DeviceMap = None,
    as_json: shared.Json = False,
) -> None:
    """Learn vectors from the built-in corpus and measure them on held-out text.

    Example: `langsteer demo -l sw,hi`
    """
    from langsteer.evaluation.demo import run_demo

    result = run_demo(
        shared.open_model(model, dtype, device, device_map),
        shared.listed(languages),
        method=method,
        folder=output,
        limit=limit,
        overwrite=overwrite,
    )
    if as_json:
        shared.print_json(result.as_json())
        return
    console = shared.console()
    console.print(_table(result))
    console.print(_verdict(result))
    console.print(f"Written: {output / 'demo.json'}, {output / 'demo.png'}, {output / 'vectors'}/")


def _table(result: "DemoResult") -> Table:
    from langsteer.text.languages import language_name

    table = Table(
        box=box.SIMPLE,
        padding=0,
        title=f"Topic classification, {result.items} held-out sentences, accuracy (%)",
        caption=f"{result.model}, {result.method}; batch-calibrated; [95% paired bootstrap interval]",
    )
    for name in ("language", "unsteered", "steered", "translated", "change", "gap closed"):
        table.add_column(name, justify="left" if name == "language" else "right", no_wrap=True)
    english = f"{result.english:.1f}"
    table.add_row("English", english, "", english, "", "", end_section=True)
    for row in result.languages:
        table.add_row(*_cells(language_name(row.language), row))
    table.add_section()
    table.add_row(*_cells("mean", result.mean), style="bold")
    return table


def _cells(name: str, row: "LanguageResult") -> tuple[str, ...]:
    return (
        name,
        f"{row.unsteered:.1f}",
        f"{row.steered:.1f}",
        f"{row.translated:.1f}",
        _interval(row.change, 1, "+.1f"),
        _interval(row.gap_closed, 100, ".0f", "%"),
    )


def _interval(interval: "Interval | None", times: float, form: str, unit: str = "") -> str:
    if interval is None:
        return "no clear gap"
    value, low, high = (times * x for x in (interval.value, interval.low, interval.high))
    return f"{value:{form}}{unit} [{low:{form}}, {high:{form}}]"


def _verdict(result: "DemoResult") -> str:
    change = result.mean.change
    if change.low > 0:
        return (
            "On average over the languages steering helps: the interval of the change is above 0."
        )
    if change.high < 0:
        return (
            "On average over the languages steering hurts: the interval of the change is below 0."
        )
    return "The interval of the mean change includes 0: this run does not show that steering helps."
