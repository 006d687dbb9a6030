"""What `langsteer fit --for` does and prints: a search for the recipe that is best for a task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from langsteer.cli import options as shared
from langsteer.cli.searches import (
    RECIPE_WIDTH,
    print_files,
    say_late,
    search_folder,
    signed,
    tell_outcome,
)

if TYPE_CHECKING:
    from langsteer.diagnosis.items import TaskItems
    from langsteer.diagnosis.search_results import SearchResults
    from langsteer.evaluation.statistics import Interval
    from langsteer.model.model import Model
    from langsteer.steering.change import Change
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
    from langsteer.diagnosis.find import find_recipe, write_if_better
    from langsteer.diagnosis.outcome import check_place
    from langsteer.diagnosis.task import check_apart
    from langsteer.steering.folder import read_changes

    for tag, task in tasks.items():
        check_apart(task, text)
        check_place(files[tag], settings["overwrite"])
    given = read_changes(*vectors) if vectors else {}
    model = open_model()
    searches: list[_Search] = []
    for tag, task in tasks.items():
        file = files[tag]
        change, results = find_recipe(
            model, task, text, search_folder(file), vectors=given, **settings
        )
        written = write_if_better(change, results, file, anyway=anyway)
        searches.append(_Search(change, results, file, written))
        if not as_json:
            _print(results, file, written is not None)
    if not anyway:
        _write_together(searches)
    if as_json:
        for search in searches:
            tell_outcome(search.results, search.file, search.written, "vector")
        told = [search.as_json() for search in searches]
        shared.print_json(told if len(told) > 1 else told[0])
    elif len(searches) > 1:
        _print_together(searches)


@dataclass
class _Search:
    """One that is done, and where its change was written, by its own gain or that of several `together`."""

    change: "Change"
    results: "SearchResults"
    file: Path
    written: Path | None = None
    together: "Interval | None" = None

    def as_json(self) -> dict[str, Any]:
        told = {**self.results.as_json(), "written": self.written and str(self.written)}
        if self.together is not None:
            told["gain_of_languages_together"] = asdict(self.together)
        return told


def _write_together(searches: "Sequence[_Search]") -> None:
    """Write what gains where languages that are not better than nothing alone are so together."""
    from langsteer.diagnosis.find import write_if_better
    from langsteer.diagnosis.search_results import better_together

    places, gain = better_together([search.results for search in searches])
    for search in [searches[place] for place in places]:
        search.together = gain
        search.written = write_if_better(
            search.change, search.results, search.file, anyway=True, together=gain
        )


def _print_together(searches: "Sequence[_Search]") -> None:
    """What the recipes of all languages are worth: more items than those of one, which show a smaller gain."""
    from langsteer.diagnosis.search_results import gain_over_languages

    unit = searches[0].results.unit
    gain = gain_over_languages([search.results for search in searches])
    line = f"Over the {len(searches)} languages together, what was chosen has {signed(gain)} {unit} over nothing."
    others = [search for search in searches if search.together is not None]
    if others and (shared_gain := others[0].together) is not None:
        line += (
            f" Those that are not better than nothing alone have {signed(shared_gain)} {unit} together, "
            "which is more than chance, so that those of them that gain are written too:"
        )
    console = shared.console()
    console.print(line)
    for search in others:
        console.print(f"Written: {search.written}")


def _print(results: "SearchResults", file: Path, written: bool) -> None:
    console = shared.console()
    console.print(_chosen(results))
    console.print(_reported(results))
    gain = signed(results.gain)
    if results.better:
        console.print(
            f"{results.recipe} is better than nothing by {gain} {results.unit} on items that it was not "
            f"chosen on.{_from_items(results)}"
        )
    else:
        console.print(
            f"Nothing that was tried is better than nothing by more than chance: the best, {results.recipe}, "
            f"has {gain} {results.unit}.{_too_few(results)}"
        )
    say_late(results.seconds, results.budget)
    if results.beats_translation is not None:
        console.print(
            f"Against the translation: {signed(results.beats_translation)} {results.unit}."
        )
    print_files(file, written, "vector")


def _from_items(results: "SearchResults") -> str:
    from langsteer.diagnosis.labels import LABEL
    from langsteer.diagnosis.translated_items import OF_ITEMS

    if results.recipe.startswith(f"{LABEL}:"):
        source = "the right answers of the items that it was chosen on"
    elif OF_ITEMS in results.recipe:
        source = "the items that it was chosen on and their English"
    else:
        return ""
    return (
        f" It is learned from {source}, and not from the corpus: it has this task in it, and may not "
        "help elsewhere."
    )


def _too_few(results: "SearchResults") -> str:
    """How large a gain the items show, where the best's was smaller."""
    from langsteer.diagnosis.verdict import smallest_seen

    seen = smallest_seen(results.report_items)
    if results.unit != "points" or not 0 < results.gain.value < seen:
        return ""
    return f" So many items show differences of {seen:.0f} points or more: more of them may tell."


def _chosen(results: "SearchResults") -> Table:
    chosen_on = max(standing.items for standing in results.standings)
    title = (
        f"{results.source} ({results.language}): {results.tried} recipes in {results.seconds / 60:.1f} minutes\n"
        f"{results.split}; {chosen_on} and {results.report_items} of them were asked"
    )
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    ranked = results.unit == "points"  # nats are ranked by themselves
    table.add_column("recipe", overflow="fold", min_width=RECIPE_WIDTH)
    for name in (
        "items",
        "chosen on",
        "over nothing",
        *(["ranked by"] if ranked else []),
    ):
        table.add_column(name, justify="right")
    for standing in results.standings[:SHOWN]:
        table.add_row(
            standing.candidate,
            str(standing.items),
            f"{standing.value:.1f}",
            f"{standing.gain:+.1f}",
            *([f"{standing.smooth:+.1f}"] if ranked else []),
        )
    return table


def _reported(results: "SearchResults") -> Table:
    kind = "batch-calibrated " if results.calibrated else ""
    title = f"On {results.report_items} other items: {kind}{results.unit}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("over nothing [95%]", justify="right", no_wrap=True)
    for row in results.reported:
        gain = "" if row.gain is None else signed(row.gain)
        table.add_row(row.name, f"{row.value:.1f}", gain)
    return table
