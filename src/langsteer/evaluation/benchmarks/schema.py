"""What a benchmark's YAML file may say. `definition` makes a `Benchmark` of it.

In texts and paths `{code}` stands for the data set's code of the language, `{tag}` for its tag,
`{language}` for its English name and `{part}` for what the files call the part.
"""

from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

PARTS = ("train", "development", "test")
FORMATS = ("tsv", "csv", "jsonl", "json", "xml", "parquet")


class _Keys(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(_Keys):
    """A field of an item, and the column of the file that it is read from."""

    column: str | list[str] | None = None
    """its name in the file, or the names that it has in one file or another; else the field's"""
    kind: Literal["text", "number", "any"] = Field("text", alias="as")
    values: list[str] | None = None
    """what the column may hold"""
    index: bool = False
    """the value's place among `values`, from 0, in place of the value"""
    constant: Any = None
    """a value for every item, of no column"""

    @property
    def names(self) -> list[str]:
        return [self.column] if isinstance(self.column, str) else list(self.column or ())

    @property
    def is_constant(self) -> bool:
        return "constant" in self.model_fields_set


class Files(_Keys):
    """The published files of one part in one language: the first of `path` that is there."""

    path: list[str]
    format: Literal["tsv", "csv", "jsonl", "json", "xml", "parquet"] | None = None
    """else by the end of the file's name"""
    header: bool | list[str] = True
    """whether the first line of a table names its columns; a list names them where none does"""
    quoted: bool | Literal["auto"] | None = None
    """whether fields of a table may stand in double quotes; else in csv, and not in tsv"""
    within: str | None = None
    """json: keys to the list of items, with dots; xml: the element that is an item"""
    only: dict[str, str] = {}
    """columns and the value that a row must have to count"""
    others: bool = True
    """whether columns that `columns` does not name are kept"""
    columns: dict[str, Column]

    @field_validator("path", mode="before")
    @classmethod
    def _one_path(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("path")
    @classmethod
    def _inside(cls, paths: list[str]) -> list[str]:
        for path in paths:
            check_inside(path, "the data set's folder")
        return paths

    @field_validator("columns", mode="before")
    @classmethod
    def _plain_columns(cls, value: Any) -> Any:
        """A list of names, or fields with the kind alone."""
        if isinstance(value, list):
            return {name: {} for name in value}
        if isinstance(value, dict):
            return {
                name: {"as": column} if isinstance(column, str) else column or {}
                for name, column in value.items()
            }
        return value


class Part(_Keys):
    """What the files and the hub call a part; without one, it has no such part."""

    file: str | None = None
    hub: str | None = None
    file_in: dict[str, str] = {}
    """tags whose file is called otherwise"""
    reader: str | None = None
    """a function (folder, code, part) that reads this part"""


class Hub(_Keys):
    """A data set on the Hugging Face Hub."""

    id: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")
    config: str | None = "{code}"


class Items(_Keys):
    """What is done to every row, of the files and of the hub."""

    id: str | None = None
    """from fields, and {place}, which counts the rows from 1; else the row's own, or its place"""
    text: list[str] = []
    """fields that become text: a number is written out, nothing is an empty text"""
    one_space: list[str] = []
    """fields whose repeated spaces become one"""
    leave_out: dict[str, list[str]] = {}
    """rows are left out whose field holds one of these"""
    leave_out_places: list[tuple[int, int]] = []
    """rows are left out from the first of these places to the last, counted from 1"""
    add: dict[str, str] = {}
    """fields and the template that gives each, from those before it; always in the sandbox"""


class Metric(BaseModel):
    """A metric of the harness, with its own options."""

    model_config = ConfigDict(extra="allow", frozen=True)
    metric: str
    aggregation: str = "mean"
    higher_is_better: bool = True


class Prompt(_Keys):
    """Keys of the harness's tasks. `harness` is one of its own files, which these override."""

    harness: str | None = None
    without: list[str] = []
    """keys of that file to leave out"""
    doc_to_text: str | None = None
    doc_to_choice: str | list[str] | None = None
    doc_to_target: str | int | None = None
    target_delimiter: str | None = None
    description: str | None = None
    generation_kwargs: dict[str, Any] | None = None
    filter_list: list[dict[str, Any]] | None = None
    metric_list: list[Metric] | None = None

    @field_validator("metric_list", mode="before")
    @classmethod
    def _plain_metrics(cls, value: Any) -> Any:
        if isinstance(value, list):
            return [{"metric": m} if isinstance(m, str) else m for m in value]
        return value

    @field_validator("harness")
    @classmethod
    def _inside(cls, path: str | None) -> str | None:
        if path is not None:
            check_inside(path, "lm_eval/tasks")
        return path

    def keys(self) -> dict[str, Any]:
        """The harness's keys that were given."""
        plain = self.model_dump(exclude={"harness", "without", "texts", "languages"})
        return {key: value for key, value in plain.items() if value is not None}


class Form(Prompt):
    """A prompt form. `texts` overrides its keys in some languages."""

    texts: dict[str, Prompt] = {}
    languages: list[str] | None = None
    """the tags that have the native form; else all, or those of `texts` where it is all there is"""

    def limited_to(self) -> frozenset[str] | None:
        if self.languages is not None:
            return frozenset(self.languages)
        if self.doc_to_text is None and self.harness is None:
            return frozenset(self.texts)
        return None


class BenchmarkFile(_Keys):
    """A benchmark. Its name is the file's."""

    title: str
    about: str = ""
    licence: str = ""
    kind: Literal["choice", "generate"]
    metric: str
    item_metric: str | None = None
    filter: str = "none"
    languages: str | list[str] | dict[str, str]
    """codes, by their tags where the tag cannot be told from the code; `flores200` for all of it"""
    without: list[str] = []
    """tags of `languages` that are left out"""
    folders: list[str] = []
    layout: str
    parts: dict[str, Part]
    hub: Hub | None = None
    files: Files | None = None
    items: Items = Items()
    source: list[str] = []
    answers: list[str] = []
    target: str | None = None
    forms: dict[str, Form] = Field(min_length=1)
    instructions: dict[str, str]
    reader: str | None = None
    fetcher: str | None = None
    translator: str | None = None
    scores: str | None = None

    @field_validator("languages", mode="before")
    @classmethod
    def _no_norway(cls, value: Any) -> Any:
        if isinstance(value, list | dict) and (False in value or True in value):
            raise ValueError('YAML reads no as false; write Norwegian as nb or "no"')
        return value

    @field_validator("parts", mode="before")
    @classmethod
    def _plain_parts(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {
                name: {"file": part, "hub": part} if isinstance(part, str) else part
                for name, part in value.items()
            }
        return value

    @model_validator(mode="after")
    def _whole(self) -> "BenchmarkFile":
        for name in self.parts:
            if name not in PARTS:
                raise ValueError(f"parts has {name!r}: it may have {', '.join(PARTS)}")
        if "test" not in self.parts:
            raise ValueError("parts has no test, which is what is asked")
        if "en" not in self.instructions:
            raise ValueError("instructions has no en")
        if not (self.files or self.reader or self.hub or self.fetcher):
            raise ValueError("give files: or hub:, from which the items are read")
        for name, form in self.forms.items():
            if name != "native" and form.limited_to() is not None:
                raise ValueError(f"forms.{name} needs doc_to_text: or harness:, in every language")
        return self


def check_inside(path: str, folder: str) -> None:
    """ValueError for a path that may leave the folder that it is relative to."""
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ValueError(f"{path!r} must be a path inside {folder}")
