"""A task by its name: a benchmark, or a file of one's own items."""

from collections.abc import Sequence
from pathlib import Path

from langsteer.diagnosis.items import TaskItems
from langsteer.diagnosis.own_items import read_own_items
from langsteer.errors import BenchmarkError, DiagnosisError
from langsteer.progress import announce
from langsteer.text.corpus import ParallelCorpus, plain
from langsteer.text.identify import identifiable, language_of_most
from langsteer.text.languages import language_name


def is_items_file(on: str) -> bool:
    """Whether a task's name is that of a file of one's own items, and not a benchmark's."""
    return Path(on).suffix in (".jsonl", ".json") or Path(on).is_file()


def read_task(
    on: str,
    language: str,
    *,
    english: str | Path | None = None,
    data: str | Path | None = None,
    form: str | None = None,
    benchmark_files: Sequence[str | Path] = (),
    seed: int = 0,
) -> TaskItems:
    """The items of a benchmark by its name, or of a file of JSON lines.

    `english` is a file with the English of the items in a file; `data`, `form` and `benchmark_files`
    are for benchmarks. Raises DiagnosisError or BenchmarkError where there is no such task, or its
    items cannot be used.
    """
    if is_items_file(on):
        of_benchmarks = {"--data": data, "--form": form, "--benchmarks": benchmark_files}
        for option, value in of_benchmarks.items():
            if value:
                raise DiagnosisError(
                    f"{option} goes with a benchmark, and {on} is a file of items: leave it out"
                )
        task = read_own_items(on, language, english, seed)
        _tell_other_language(task)
        _tell_same_as_english(task)
        return task
    if english is not None:
        raise DiagnosisError(
            f"--english goes with a file of items, and {on} is a benchmark, which has its own"
        )
    _check_known(on, benchmark_files)
    from langsteer.diagnosis.published import read_published_items

    return read_published_items(
        on, language, data, form=form, benchmark_files=benchmark_files, seed=seed
    )


def _tell_other_language(task: TaskItems) -> None:
    """Say so where most items are surely in another language than they are said to be in."""
    if not identifiable(task.language):
        return
    texts = [getattr(item.own.prompt, "source", "") or str(item.own.prompt) for item in task.all]
    other = language_of_most(texts, task.language)
    if other is not None:
        announce(
            f"{task.source}: most items seem to be in {language_name(other)}, not in "
            f"{language_name(task.language)}: check --language and the file"
        )


def _tell_same_as_english(task: TaskItems) -> None:
    """Say so where most items of another language are asked as in English."""
    same = sum(
        i.english is not None and str(i.own.prompt) == str(i.english.prompt) for i in task.all
    )
    if 2 * same > len(task.all) and task.language.split("-")[0] != "en":
        announce(
            f"{task.source}: {same} of {len(task.all)} items ask the same in {language_name(task.language)} and in "
            "English: check the file"
        )


def _check_known(on: str, benchmark_files: Sequence[str | Path]) -> None:
    """Raise BenchmarkError where there is neither a benchmark nor a file of this name."""
    from langsteer.evaluation.benchmarks.loading import nearest
    from langsteer.evaluation.benchmarks.registry import registry

    benchmarks = registry(benchmark_files)
    if on in benchmarks:
        return
    if Path(on).is_dir():
        raise BenchmarkError(
            f"{on} is a folder, and no benchmark is called so: name a file of items in it"
        )
    raise BenchmarkError(
        f"there is no file {on}, and no benchmark {on!r}{nearest(on, list(benchmarks))}"
    )


def check_apart(task: TaskItems, corpus: ParallelCorpus) -> None:
    """Raise DiagnosisError where text that is asked stands in the text to fit on."""
    fitted = {plain(line) for lines in corpus.texts.values() for line in lines}
    for item in task.all:
        for wording in (item.own, item.english):
            text = getattr(wording.prompt, "source", "") if wording is not None else ""
            if text.strip() and plain(text) in fitted:
                raise DiagnosisError(
                    f"{corpus.name} holds text of {task.source} (item {item.id}): fit on other text "
                    "than is asked"
                )
