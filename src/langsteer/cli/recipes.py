"""What `langsteer fit --for` does and prints: a search for the recipe that is best for a task."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from langsteer.cli import options as shared
from langsteer.cli.searches import print_files, signed

if TYPE_CHECKING:
    from langsteer.diagnosis.found import Found
    from langsteer.diagnosis.items import TaskItems
    from langsteer.model.model import Model
    from langsteer.text.corpus import ParallelCorpus

SHOWN = 10  # of the candidates


def search_for(
    open_model: "Callable[[], Model]",
    tasks: "Mapping[str, TaskItems]",
    text: "ParallelCorpus",
    files: Mapping[str, Path],
    *,
    vectors: Sequence[Path],
    anyway: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Search for each language, and write the vectors that are better than nothing."""
    from langsteer.diagnosis.find import check_place, find_recipe, write_if_better
    from langsteer.diagnosis.task import check_apart
    from langsteer.steering.folder import read_changes

    for tag, task in tasks.items():
        check_apart(task, text)
        check_place(files[tag], settings["overwrite"])
    given = read_changes(*vectors) if vectors else {}
    model, told, searches = open_model(), [], []
    for tag, task in tasks.items():
        file = files[tag]
        folder = file.with_suffix(".search")
        change, found = find_recipe(model, task, text, folder, vectors=given, **settings)
        written = write_if_better(change, found, file, anyway=anyway)
        searches.append(found)
        told.append({**found.as_json(), "written": None if written is None else str(written)})
        if not as_json:
            _print(found, folder, written)
    if as_json:
        shared.print_json(told if len(told) > 1 else told[0])
    elif len(searches) > 1:
        _print_together(searches)


def _print_together(searches: "Sequence[Found]") -> None:
    """What the recipes of all languages are worth: more items, so less chance, than in each alone."""
    from langsteer.diagnosis.found import gain_over_languages

    gain = gain_over_languages(searches)
    line = (
        f"Over the {len(searches)} languages together, what was chosen has {signed(gain)} "
        f"{searches[0].unit} over nothing."
    )
    if gain.low > 0 and not all(found.better for found in searches):
        line += " That is more than chance, though it is not in each alone: --anyway writes all of them."
    shared.console().print(line)


def _print(found: "Found", folder: Path, written: Path | None) -> None:
    console = shared.console()
    console.print(_chosen(found))
    console.print(_reported(found))
    gain = signed(found.gain)
    if found.better:
        console.print(
            f"{found.recipe} is better than nothing by {gain} {found.unit} on items that it was not "
            "chosen on."
        )
    else:
        console.print(
            f"Nothing that was tried is better than nothing by more than chance: the best, {found.recipe}, "
            f"has {gain} {found.unit}.{_too_few(found)}"
        )
    if found.beats_translation is not None:
        console.print(f"Against the translation: {signed(found.beats_translation)} {found.unit}.")
    print_files(folder, written, "vector")


def _too_few(found: "Found") -> str:
    """How large a gain the items show, where the best's was smaller."""
    from langsteer.diagnosis.verdict import smallest_seen

    seen = smallest_seen(found.report_items)
    if found.unit != "points" or not 0 < found.gain.value < seen:
        return ""
    return f" So many items show differences of {seen:.0f} points or more: more of them may tell."


def _chosen(found: "Found") -> Table:
    title = (
        f"{found.source} ({found.language}): {found.tried} recipes in {found.seconds / 60:.1f} minutes\n"
        f"{found.split}; {found.development_items} and {found.report_items} of them were asked"
    )
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for name in ("recipe", "items", "chosen on", "over nothing"):
        table.add_column(name, justify="left" if name == "recipe" else "right")
    for standing in found.standings[:SHOWN]:
        table.add_row(
            standing.candidate,
            str(standing.items),
            f"{standing.value:.1f}",
            f"{standing.gain:+.1f}",
        )
    return table


def _reported(found: "Found") -> Table:
    kind = "batch-calibrated " if found.calibrated else ""
    title = f"On {found.report_items} other items: {kind}{found.unit}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("over nothing [95%]", justify="right", no_wrap=True)
    for row in found.reported:
        gain = "" if row.gain is None else signed(row.gain)
        table.add_row(row.name, f"{row.value:.1f}", gain)
    return table
