"""What benchmarks share: their description, the hub, and the harness's own task files."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from langsteer.errors import BenchmarkError, MissingExtraError
from langsteer.extras import need
from langsteer.text.hub import load_rows
from langsteer.text.languages import parse_tag

Doc = dict[str, Any]
"""An item in the schema of its data set on the hub, plus `id`: the same in every language."""


@dataclass(frozen=True)
class Benchmark:
    """A data set in several languages, where it is read from, and how the harness asks it.

    `codes` maps a tag to the data set's own code. `source` names the fields of a doc that hold
    text in the language, `answers` those that hold answer choices in it, `target` the field with
    the right answer, where that is the same in every language. `forms[0]` is the usual form;
    `native` lists the tags that have the native form (None: all). `parts` maps train, development
    and test to the names of the hub's splits. `instructions` maps a tag to one sentence, in that
    language, that says what to do. `layout` describes the folder that `read` reads.
    """

    name: str
    title: str
    hub: str
    kind: Literal["choice", "generate"]
    metric: str
    """the harness's metric to report"""
    codes: Mapping[str, str]
    source: tuple[str, ...]
    answers: tuple[str, ...]
    forms: tuple[str, ...]
    parts: Mapping[str, str]
    layout: str
    read: Callable[[Path, str, str], list[Doc]]
    """(folder of the data set, tag, part), from the published files"""
    fetch: Callable[[str, str], list[Doc]]
    """(tag, part), from the hub"""
    config: Callable[[str, str], dict[str, Any]]
    """(tag, form): keys for the harness's ConfigurableTask, without the data set"""
    instructions: Mapping[str, str]
    target: str | None = None
    native: frozenset[str] | None = None
    folders: tuple[str, ...] = ()
    """names that the data set's folder may have inside the folder of all data sets"""
    item_metric: str | None = None
    """the metric that gives one item's value, where `metric` is one of the whole corpus"""
    filter: str = "none"
    """the harness's filter after which the metric is taken"""
    translated: Callable[[Path | None, str, str], list[Doc]] | None = field(default=None)
    """(folder or None for the hub, tag, part): the publisher's translations to English"""

    def code(self, language: str) -> str:
        """The data set's code for a tag; BenchmarkError where it has no such language."""
        try:
            return self.codes[language]
        except KeyError:
            raise BenchmarkError(
                f"{self.title} has no {language!r}: it has {', '.join(sorted(self.codes))}"
            ) from None

    def forms_of(self, language: str) -> tuple[str, ...]:
        """The prompt forms that a language has, the usual one first."""
        if self.native is None or language in self.native:
            return self.forms
        return tuple(form for form in self.forms if form != "native")


def by_tag(codes: Iterable[str]) -> dict[str, str]:
    """A data set's codes by their tags."""
    return {parse_tag(code): code for code in codes}


def find(root: Path, *paths: str) -> Path:
    """The first of these paths under `root` that is there, else the first."""
    return next((root / path for path in paths if (root / path).exists()), root / paths[0])


def numbered(rows: Iterable[Mapping[str, Any]], identify: Callable[[Doc, int], str]) -> list[Doc]:
    """Docs with their ids: `identify` is given the row and its place."""
    return [{**row, "id": identify(dict(row), place)} for place, row in enumerate(rows)]


def rows_on_hub(title: str, hub: str, config: str | None, split: str, layout: str) -> list[Doc]:
    """The rows of one split on the Hugging Face Hub, or in its cache here."""
    try:
        rows = load_rows(hub, config, split, extra="eval", feature="reading data sets from the hub")
        return [dict(row) for row in rows]
    except MissingExtraError:
        raise
    except Exception as error:  # the hub's client raises a dozen unrelated kinds
        named = f"{hub} ({config}, {split})" if config else f"{hub} ({split})"
        raise BenchmarkError(
            f"{title}: the data set {named} could not be loaded from the Hugging Face Hub "
            f"({_why(error)}). Use --data DIR with a folder that holds {layout}."
        ) from error


def _why(error: Exception) -> str:
    kinds = {type(e).__name__ for e in _chain(error)}
    if kinds & {"ConnectError", "ConnectionError", "ConnectTimeout", "OfflineModeIsEnabled"} or (
        "reach the Hub" in str(error)
    ):
        return "it cannot be reached"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def harness_config(path: str, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The configuration in one of the harness's own task files, `path` inside lm_eval/tasks.

    Keys in `without` are left out, and the functions they name are not imported.
    """
    tasks = Path(str(harness("lm_eval.tasks").__file__)).parent.resolve()  # as the harness does
    loader = harness("lm_eval.tasks._yaml_loader")
    if not (tasks / path).is_file():
        raise BenchmarkError(
            f"this version of lm-eval has no task file {path}: pip install -U 'langsteer[eval]'"
        )
    keys = {
        key: value
        for key, value in loader.load_yaml(tasks / path, resolve_func=False).items()
        if key not in without
    }
    for key, value in keys.items():
        if isinstance(value, str) and value.startswith(str(tasks)):
            keys[key] = loader._import_fun_from_str(value)
    return keys


def harness(module: str) -> Any:
    """A module of lm-eval; MissingExtraError where it is not installed."""
    return need(module, "eval", "benchmarks")


def mean_metric(*names: str) -> list[dict[str, Any]]:
    """The harness's metrics of these names, averaged over items."""
    return [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in names]
