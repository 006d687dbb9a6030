"""What `langsteer fit` refuses before a model is opened."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langsteer.errors import FitError, SaveError, VectorError

if TYPE_CHECKING:
    from langsteer.fitting.options import Method
    from langsteer.text.corpus import ParallelCorpus

LANGUAGE = "{language}"
ALONE = "it searches in this process alone"
NOT_TAKEN = {  # by --for, and why
    "--together": "it learns each language's vector for itself",
    "--router": "a router is made where vectors are fitted without a search",
    "--jobs": ALONE,
    "--on": ALONE,
    "--gpus": ALONE,
}
OTHER_FILES = (
    ".csv", ".gguf", ".gz", ".html", ".json", ".jsonl", ".md", ".ndjson", ".pt", ".pth", ".tmx", ".tsv", ".txt",
    ".yaml", ".yml",
)  # fmt: skip


def check_name(output: str, is_file: bool) -> None:
    """Raise SaveError for an output of which langsteer or others would take another file, or a search's own folder."""
    suffix = Path(output).suffix.lower()
    if suffix == ".search":
        raise SaveError(
            f"cannot write {output}: a search keeps what it tries in a folder of such a name. Name a "
            ".safetensors file."
        )
    if is_file and suffix in OTHER_FILES:
        raise SaveError(
            f"cannot write {output}: no vector's file ends in {suffix}. Name a .safetensors file."
        )


def check_asked(
    model: str,
    text: "ParallelCorpus",
    method: "Method",
    files: Mapping[str, Path],
    options: Mapping[str, Any],
) -> None:
    """Refuse what can be refused before a model is opened: files that are taken, layers that it lacks."""
    from langsteer.fitting.asked import Asked
    from langsteer.model.opening import check_layers

    asked = {name: value for name, value in options.items() if name != "overwrite"}
    named = {name: asked.pop(name) for name in ("layers", "strengths", "together")}
    Asked(text, method, options=asked, **named).check_kept(files, options["overwrite"])
    check_layers(model, named["layers"])


def check_router(file: Path, overwrite: bool) -> None:
    """Refuse to replace what is no router."""
    from langsteer.steering.router import FILE
    from langsteer.storage.files import check_replaceable, check_writable
    from langsteer.storage.tensors import format_of

    def refusal(path: Path) -> str | None:
        with contextlib.suppress(VectorError):
            if format_of(path) == FILE.format:
                return None
        return "is no router"

    check_writable(file)
    check_replaceable(file, refusal, overwrite)


def refuse_beside_search(
    searching: bool, fixed: Mapping[str, object], searched: Mapping[str, object]
) -> None:
    """Raise FitError for an option that says what --for is to find out, or that it does not take, or that only it
    takes.
    """
    for name, value in (fixed if searching else searched).items():
        if value:
            hint = "searches for that: leave it out" if searching else "is needed with it"
            if searching and name in NOT_TAKEN:
                hint = f"does not take it, as {NOT_TAKEN[name]}: leave it out"
            raise FitError(f"{name}: --for {hint}")


def refuse_by_task(
    answers: bool, of_items: Mapping[str, object], of_answers: Mapping[str, object]
) -> None:
    """Raise FitError for an option about items beside `--for answers`, which has none, and for one about answers
    beside anything else.
    """
    why = "about items of a task, and --for answers has none" if answers else "for --for answers"
    for name, value in (of_items if answers else of_answers).items():
        if value:
            raise FitError(f"{name} is {why}: leave it out")


def check_budget(minutes: float) -> None:
    """Raise FitError for one that is no number."""
    if not math.isfinite(minutes):
        raise FitError(f"--budget is a number of minutes, and not {minutes}")


def task_of_each(task: str, tags: Sequence[str]) -> dict[str, str]:
    """What --for names in each language: a benchmark, or a file of items, whose name holds {language} where there
    are several. Raises FitError for one file of several languages.
    """
    from langsteer.diagnosis.task import is_items_file

    if LANGUAGE in task:
        return {tag: task.replace(LANGUAGE, tag) for tag in tags}
    if len(tags) > 1 and is_items_file(task):
        raise FitError(
            f"{task} holds the items of one language, and there are {len(tags)}: put {LANGUAGE} in the "
            f"name, such as --for items.{LANGUAGE}.jsonl, for a file each"
        )
    return dict.fromkeys(tags, task)
