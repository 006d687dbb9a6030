"""What `langsteer fit --for answers` does and prints: a search for a change that brings answers in the language."""

from collections.abc import Callable, Mapping
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
from langsteer.errors import DiagnosisError
from langsteer.text.languages import language_name

if TYPE_CHECKING:
    from langsteer.diagnosis.answers import AnswerSearchResults
    from langsteer.model.model import Model
    from langsteer.text.corpus import ParallelCorpus

SHOWN = 8  # of the candidates
COLUMNS = ("right", "other", "distinct_3")
TITLES = {
    "right": "in the language, %",
    "other": "in another, %",
    "distinct_1": "different words, %",
    "distinct_2": "different pairs of words, %",
    "distinct_3": "different threes of words, %",
    "copied": "copied from the question, %",
    "words": "words",
    "score": "chrF++ of the first line",
}


def answers_for(
    open_model: "Callable[[], Model]",
    text: "ParallelCorpus",
    files: Mapping[str, Path],
    *,
    anyway: bool,
    as_json: bool,
    prompts: Path | None = None,
    **settings: Any,
) -> None:
    """Search for each language, and write the changes that bring answers in it."""
    from langsteer.diagnosis.answer_prompts import read_prompts
    from langsteer.diagnosis.answers import find_answers, write_answers
    from langsteer.diagnosis.outcome import check_place

    if prompts is not None:
        if len(text.languages) > 1:
            raise DiagnosisError(
                "--prompts are to be answered in one language: name one with --language"
            )
        settings |= {"prompts": read_prompts(prompts), "prompts_from": str(prompts)}
    for tag in text.languages:
        check_place(files[tag], settings["overwrite"])
    model, told = open_model(), []
    for tag in text.languages:
        file = files[tag]
        change, results = find_answers(model, text.only(tag), search_folder(file), **settings)
        written = write_answers(change, results, file, anyway=anyway)
        told.append({**results.as_json(), "written": None if written is None else str(written)})
        if as_json:
            tell_outcome(results, file, written, "file")
        else:
            _print(results, file, written is not None)
    if as_json:
        shared.print_json(told if len(told) > 1 else told[0])


def _print(results: "AnswerSearchResults", file: Path, written: bool) -> None:
    console = shared.console()
    console.print(_chosen(results))
    console.print(_reported(results))
    language = language_name(results.language)
    scored = "score" in results.before
    scoring, less = (" or to score less", " or scoring less") if scored else ("", "")
    if results.better:
        console.print(
            f"{results.recipe} brings answers in {language}, and is not seen to repeat more{scoring}."
        )
    else:
        console.print(
            f"Nothing that was tried brings more answers in {language} without repeating more{less}: the "
            f"best is {results.recipe}."
        )
    say_late(results.seconds, results.budget)
    print_files(file, written, "file")


def _chosen(results: "AnswerSearchResults") -> Table:
    title = f"Answers in {language_name(results.language)}: {len(results.standings) - 1} recipes in {results.seconds / 60:.1f} minutes"
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    table.add_column("recipe", overflow="fold", min_width=RECIPE_WIDTH)
    for name in ("lines", *(TITLES[measure] for measure in COLUMNS)):
        table.add_column(name, justify="right")
    for standing in results.standings[: SHOWN + 1]:
        own = standing.measures
        numbers = [f"{own[measure]:.1f}" for measure in COLUMNS]
        table.add_row(standing.candidate, str(standing.lines), *numbers)
    return table


def _reported(results: "AnswerSearchResults") -> Table:
    lines = f"prompts of {results.prompts}" if results.prompts else "other lines"
    title = f"On {results.report_lines} {lines}: {results.recipe}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for name in ("", "as it is", "changed", "change [95%]"):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    for measure, name in TITLES.items():
        if measure not in results.before:
            continue
        table.add_row(
            name,
            f"{results.before[measure]:.1f}",
            f"{results.after[measure]:.1f}",
            signed(results.changes[measure]),
        )
    return table
