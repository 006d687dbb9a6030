"""The configuration of a comparison: a YAML file, checked before anything is run."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from langsteer.errors import ConfigError, EngineError, LangsteerError
from langsteer.evaluation.benchmarks import Benchmark, get_benchmark
from langsteer.evaluation.benchmarks.loading import nearest
from langsteer.evaluation.harness.engine import check_arguments
from langsteer.evaluation.methods import get_method
from langsteer.extras import need
from langsteer.model.opening import DEFAULT_MODEL
from langsteer.scale.units import Resources
from langsteer.storage.parsed import not_utf8, not_yaml, parse_yaml
from langsteer.storage.pointers import read_text
from langsteer.text.corpus import BUILTIN
from langsteer.text.languages import parse_tag

ALL = "all"
CONFIGURATION = "configuration.yaml"  # in the folder of the results
RESTRICTIONS = ("languages", "benchmarks")
_NO_KEY = ("unexpected_keyword_argument", "invalid_key")
DEFAULT_METHODS = ("direct", "english", "mean_difference", "learned")


def _fault(text: str) -> PydanticCustomError:
    return PydanticCustomError("fault", "{text}", {"text": text})


def _must_be(expected: str) -> WrapValidator:
    """Says so where something is not; what was said already of a part of it stays."""

    def check(value: Any, validate: Any) -> Any:
        try:
            return validate(value)
        except ValidationError as error:
            kind = error.errors()[0]["type"]
            if kind == "fault":
                raise
            empty = kind == "too_short"
            raise _fault("is empty" if empty else f"must be {expected}, not {value!r}") from None

    return WrapValidator(check)


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _tags(value: Any, names: Any) -> tuple[str, ...]:
    if any(isinstance(name, bool) for name in _listed(value)):
        raise _fault("names no language: YAML reads no as false; write Norwegian as 'nb' or \"no\"")
    return () if value == ALL else tuple(dict.fromkeys(map(parse_tag, names(value))))


def _entries(value: Any) -> list[dict[str, Any]]:
    """Names, and {name: {option: value}}, as the fields of `Chosen`."""
    pairs = (e.items() if isinstance(e, dict) else [(e, None)] for e in _listed(value))
    return [{"name": name, **_parted(options)} for entry in pairs for name, options in entry]


def _parted(options: Any) -> dict[str, Any]:
    if not isinstance(options, dict | None):
        return {"options": options}
    own = dict(options or {})
    return {key: own.pop(key) for key in RESTRICTIONS if key in own} | {"options": own}


def _placed(path: Path, info: Any) -> Path:
    return Path(info.context) / path.expanduser()


def _located(path: str, info: Any) -> str:
    return path if path == BUILTIN or path.startswith("hf:") else str(_placed(Path(path), info))


Text = Annotated[str, _must_be("text")]
Whole = Annotated[int, Field(strict=True, ge=0), _must_be("a whole number, 0 or more")]
Count = Annotated[int, Field(strict=True, ge=1), _must_be("a whole number, 1 or more")]
Place = Annotated[Path, AfterValidator(_placed), _must_be("a path")]
Places = Annotated[tuple[Place, ...], BeforeValidator(_listed)]
Names = Annotated[
    tuple[str, ...], Field(min_length=1), BeforeValidator(_listed), _must_be("a list of names")
]
Languages = Annotated[Names, WrapValidator(_tags)]
Engine = Annotated[Literal["transformers", "vllm"], _must_be("transformers or vllm")]


@dataclass(frozen=True)
class Chosen:
    """A method or a benchmark by name, with options.

    With `languages`, in these only; a method with `benchmarks`, on these only.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    languages: Languages = ()
    benchmarks: Names = ()

    def in_language(self, tag: str) -> bool:
        return not self.languages or tag in self.languages


@dataclass(frozen=True)
class FitText:
    """Parallel text that methods fit on: where it is, and how many of its lines are used."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    path: Annotated[str, AfterValidator(_located)] = BUILTIN
    lines: Count | None = None


def _bytes(value: Any) -> Any:
    """Bytes, of a number or of text such as 16GB or 16GiB."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", str(value).strip(), re.I)
    if match is None or isinstance(value, bool):
        raise _fault(f"must be bytes, such as 16GB, not {value!r}")
    power = " KMGT".index(match[2].upper() or " ")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power)


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise _fault(f"must be a number, not {value!r}")
    return value


@dataclass(frozen=True)
class ModelResources(Resources):
    """What a process takes that holds a model, as it stands in the file: `{gpus: 1, memory: 40GB}`."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    cpus: Annotated[float, BeforeValidator(_no_truth), Field(gt=0, allow_inf_nan=False)] = 1.0
    gpus: Annotated[float, BeforeValidator(_no_truth), Field(ge=0, allow_inf_nan=False)] = 0.0
    memory: Annotated[int, BeforeValidator(_bytes)] | None = None


Entries = Annotated[
    tuple[Chosen, ...],
    Field(min_length=1),
    BeforeValidator(_entries),
    _must_be("a list of names, or of name: {option: value}"),
]
Corpus = Annotated[
    FitText,
    BeforeValidator(lambda value: {"path": value} if isinstance(value, str) else value),
    _must_be("a path, or {path: …, lines: …}"),
]


@dataclass(frozen=True)
class Comparison:
    """Models × benchmarks × languages × methods, and where the results go.

    Without `languages`, all that a benchmark has. `data` is a folder with the data sets as
    published; without it they come from the hub. `limit` bounds the items of each cell.
    `benchmark_files` are YAML files with benchmarks of one's own, or folders with them.
    `resources` says what a process takes that holds a model, by its name, or `all`. `engine` writes
    the answers of benchmarks that are answered in writing; `engine_arguments` are vLLM's, and of the
    first `check_engine` items of each cell transformers writes the answer too.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    output: Place
    models: Names = (DEFAULT_MODEL,)
    benchmarks: Entries = (Chosen("sib200"),)
    languages: Languages = ()
    methods: Entries = tuple(Chosen(name) for name in DEFAULT_METHODS)
    corpus: Corpus = FitText()
    data: Place | None = None
    limit: Count | None = None
    seed: Whole = 0
    dtype: Text = "auto"
    device: Text | None = None
    device_map: Text | None = None
    benchmark_files: Places = ()
    resources: Mapping[str, ModelResources] = field(default_factory=dict)
    engine: Engine = "transformers"
    engine_arguments: Mapping[str, Any] = field(default_factory=dict)
    check_engine: Whole = 0

    def resources_of(self, model: str) -> Resources:
        """What a process takes that holds a model: by its name, else what `all` says."""
        return self.resources.get(model) or self.resources.get(ALL) or Resources()

    def benchmark(self, name: str) -> Benchmark:
        """A benchmark by name, those of `benchmark_files` too; BenchmarkError where none is."""
        return get_benchmark(name, self.benchmark_files)

    def languages_of(self, benchmark: str) -> tuple[str, ...]:
        """The languages to ask a benchmark in: those wanted that it has, never English."""
        has = [tag for tag in self.benchmark(benchmark).codes if tag != "en"]
        chosen = next(c for c in self.benchmarks if c.name == benchmark)
        return tuple(t for t in self.languages or has if t in has and chosen.in_language(t))

    def methods_of(self, benchmark: str, language: str) -> tuple[Chosen, ...]:
        """The methods to ask a benchmark with in a language."""
        return tuple(
            method
            for method in self.methods
            if method.in_language(language) and benchmark in (method.benchmarks or (benchmark,))
        )

    def cells(self) -> Iterator[tuple[str, str, str, Chosen]]:
        """Model, benchmark, language and method of each cell that is asked for, in order."""
        for model in self.models:
            for benchmark in self.benchmarks:
                for language in self.languages_of(benchmark.name):
                    for method in self.methods_of(benchmark.name, language):
                        yield model, benchmark.name, language, method

    def as_yaml(self) -> str:
        """The same as a configuration file."""
        yaml = need("yaml", "eval", "a comparison")
        plain = {
            "output": str(self.output),
            "models": list(self.models),
            "benchmarks": [_plain(chosen) for chosen in self.benchmarks],
            "languages": list(self.languages) or ALL,
            "methods": [_plain(chosen) for chosen in self.methods],
            "corpus": asdict(self.corpus),
            "data": str(self.data) if self.data else None,
            **{name: getattr(self, name) for name in ("limit", "seed", "dtype", "device")},
            "device_map": self.device_map,
        }
        if self.benchmark_files:
            plain["benchmark_files"] = [str(path) for path in self.benchmark_files]
        if self.resources:
            plain["resources"] = {name: asdict(takes) for name, takes in self.resources.items()}
        if self.engine != "transformers":
            plain |= {"engine": self.engine, "check_engine": self.check_engine}
            plain["engine_arguments"] = dict(self.engine_arguments)
        return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))


def read_comparison(path: str | Path, *, benchmark_files: Sequence[str | Path] = ()) -> Comparison:
    """Read and check a configuration. Relative paths count from the file's folder.

    `benchmark_files` are joined to those of the file; they count from the working directory. Raises ConfigError, naming the key and what it may be.
    """
    yaml = need("yaml", "eval", "a comparison")
    path = Path(path)
    try:
        keys = parse_yaml(read_text(path))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(not_utf8(path, error)) from error
    except yaml.YAMLError as error:
        raise ConfigError(not_yaml(path, error)) from error
    if not isinstance(keys, dict):
        raise ConfigError(f"{path} is not a mapping of keys such as models: and languages:")
    more = [str(Path(file).expanduser().resolve()) for file in benchmark_files]
    if more:
        keys = {**keys, "benchmark_files": [*_listed(keys.get("benchmark_files") or []), *more]}
    try:
        return comparison(keys, path.parent)
    except LangsteerError as error:
        raise ConfigError(f"{path}: {error}") from error


def comparison(keys: Mapping[str, Any], folder: Path = Path()) -> Comparison:
    """A comparison from plain keys, as they stand in the file."""
    values = {key: value for key, value in keys.items() if value is not None}
    try:
        result = TypeAdapter(Comparison).validate_python(values, context=folder)
    except ValidationError as error:
        raise ConfigError(_first_fault(error)) from None
    _check(result)
    return result


def _first_fault(error: ValidationError) -> str:
    faults = error.errors(include_url=False)
    fault = next((f for f in faults if f["type"] in _NO_KEY), faults[0])
    key, *steps = fault["loc"]
    if fault["type"] in _NO_KEY and steps:
        *inside, unknown = steps
        known = [f.name for f in fields(ModelResources)]
        return f"{'.'.join(map(str, (key, *inside)))} has no key {unknown!r}{nearest(str(unknown), known)}"
    if fault["type"] in _NO_KEY:
        return f"there is no key {key!r}{nearest(str(key), [f.name for f in fields(Comparison)])}"
    if fault["type"] == "missing":
        return f"the key {key} is missing: a folder for the results"
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return f"{key}{place} {fault['msg']}"


def _check(wanted: Comparison) -> None:
    for chosen in wanted.benchmarks:
        wanted.benchmark(chosen.name)
        if not wanted.languages_of(chosen.name):
            raise ConfigError(
                f"{chosen.name} has none of the languages {', '.join(wanted.languages)}: it has "
                f"{', '.join(sorted(wanted.benchmark(chosen.name).codes))}"
            )
    for chosen in wanted.methods:
        get_method(chosen.name).check_options(chosen.options)
        for benchmark in chosen.benchmarks:
            wanted.benchmark(benchmark)
    for names in (wanted.models, [c.name for c in wanted.benchmarks + wanted.methods]):
        twice = next((name for name in names if list(names).count(name) > 1), None)
        if twice is not None:
            raise ConfigError(f"{twice} is there twice")
    for name in wanted.resources:
        if name not in (ALL, *wanted.models):
            raise ConfigError(f"resources names {name!r}, which is no model of the comparison")
    _check_engine(wanted)
    offered = {tag for c in wanted.benchmarks for tag in wanted.benchmark(c.name).codes}
    for tag in wanted.languages:
        if tag not in offered:
            raise ConfigError(
                f"no benchmark of the comparison has {tag!r}: they have "
                f"{', '.join(sorted(offered - {'en'}))}"
            )


def _check_engine(wanted: Comparison) -> None:
    if wanted.engine == "transformers" and (wanted.engine_arguments or wanted.check_engine):
        key = "engine_arguments" if wanted.engine_arguments else "check_engine"
        raise ConfigError(f"{key} is for another engine than transformers: add engine: vllm")
    try:
        check_arguments(wanted.engine_arguments)
    except EngineError as error:
        raise ConfigError(str(error)) from error


def _plain(chosen: Chosen) -> Any:
    only = {key: list(getattr(chosen, key)) for key in RESTRICTIONS if getattr(chosen, key)}
    options = {**chosen.options, **only}
    return {chosen.name: options} if options else chosen.name
