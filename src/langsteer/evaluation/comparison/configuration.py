"""The configuration of a comparison: a YAML file, checked before anything is run."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langsteer.errors import ConfigError, LangsteerError
from langsteer.evaluation.benchmarks import Benchmark, get_benchmark
from langsteer.evaluation.benchmarks.loading import nearest
from langsteer.evaluation.methods import get_method
from langsteer.extras import need
from langsteer.model.opening import DEFAULT_MODEL
from langsteer.text.corpus import BUILTIN
from langsteer.text.languages import parse_tag

ALL = "all"
RESTRICTIONS = ("languages", "benchmarks")
DEFAULT_METHODS = ("direct", "english", "mean_difference", "learned")


@dataclass(frozen=True)
class Chosen:
    """A method or a benchmark by name, with options.

    With `languages`, in these only; a method with `benchmarks`, on these only.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    languages: tuple[str, ...] = ()
    benchmarks: tuple[str, ...] = ()

    def in_language(self, tag: str) -> bool:
        return not self.languages or tag in self.languages


@dataclass(frozen=True)
class FitText:
    """Parallel text that methods fit on: where it is, and how many of its lines are used."""

    path: str = BUILTIN
    lines: int | None = None


@dataclass(frozen=True)
class Comparison:
    """Models × benchmarks × languages × methods, and where the results go.

    Without `languages`, all that a benchmark has. `data` is a folder with the data sets as
    published; without it they come from the hub. `limit` bounds the items of each cell.
    `benchmark_files` are YAML files with benchmarks of one's own, or folders with them.
    """

    output: Path
    models: tuple[str, ...] = (DEFAULT_MODEL,)
    benchmarks: tuple[Chosen, ...] = (Chosen("sib200"),)
    languages: tuple[str, ...] = ()
    methods: tuple[Chosen, ...] = tuple(Chosen(name) for name in DEFAULT_METHODS)
    corpus: FitText = FitText()
    data: Path | None = None
    limit: int | None = None
    seed: int = 0
    dtype: str = "auto"
    device: str | None = None
    device_map: str | None = None
    benchmark_files: tuple[Path, ...] = ()

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

    def as_yaml(self) -> str:
        """The same as a configuration file."""
        yaml = need("yaml", "eval", "a comparison")
        plain = {
            "output": str(self.output),
            "models": list(self.models),
            "benchmarks": [_plain(chosen) for chosen in self.benchmarks],
            "languages": list(self.languages) or ALL,
            "methods": [_plain(chosen) for chosen in self.methods],
            "corpus": dataclasses.asdict(self.corpus),
            "data": str(self.data) if self.data else None,
            **{name: getattr(self, name) for name in ("limit", "seed", "dtype", "device")},
            "device_map": self.device_map,
        }
        if self.benchmark_files:
            plain["benchmark_files"] = [str(path) for path in self.benchmark_files]
        return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))


def read_comparison(path: str | Path, *, benchmark_files: Sequence[str | Path] = ()) -> Comparison:
    """Read and check a configuration. Relative paths count from the file's folder.

    `benchmark_files` are joined to those of the file; they count from the working directory. Raises ConfigError, naming the key and what it may be.
    """
    yaml = need("yaml", "eval", "a comparison")
    path = Path(path)
    try:
        keys = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(keys, dict):
        raise ConfigError(f"{path} is not a mapping of keys such as models: and languages:")
    more = [str(Path(file).expanduser().resolve()) for file in benchmark_files]
    try:
        if more:
            there = keys.get("benchmark_files")
            named = _names(there, "benchmark_files") if there else ()
            keys = {**keys, "benchmark_files": [*named, *more]}
        return comparison(keys, path.parent)
    except LangsteerError as error:
        raise ConfigError(f"{path}: {error}") from error


def comparison(keys: Mapping[str, Any], folder: Path = Path()) -> Comparison:
    """A comparison from plain keys, as they stand in the file."""
    known = [f.name for f in dataclasses.fields(Comparison)]
    for key in keys:
        if key not in known:
            raise ConfigError(f"there is no key {key!r}{nearest(str(key), known)}")
    if keys.get("output") is None:
        raise ConfigError("the key output is missing: a folder for the results")
    values: dict[str, Any] = {key: value for key, value in keys.items() if value is not None}
    for key, convert in _CONVERSIONS.items():
        if key in values:
            values[key] = convert(values[key], key)
    for key in ("output", "data"):
        if key in values:
            values[key] = folder / Path(values[key]).expanduser()
    if "benchmark_files" in values:
        files = values["benchmark_files"]
        values["benchmark_files"] = tuple(folder / Path(path).expanduser() for path in files)
    if "corpus" in values:
        values["corpus"] = _resolved(values["corpus"], folder)
    result = Comparison(**values)
    _check(result)
    return result


def _check(wanted: Comparison) -> None:
    for chosen in wanted.benchmarks:
        wanted.benchmark(chosen.name)
        if not wanted.languages_of(chosen.name):
            raise ConfigError(
                f"{chosen.name} has none of the languages {', '.join(wanted.languages)}: it has "
                f"{', '.join(sorted(wanted.benchmark(chosen.name).codes))}"
            )
    for chosen in wanted.methods:
        get_method(chosen.name)
        for benchmark in chosen.benchmarks:
            wanted.benchmark(benchmark)
    for names in (wanted.models, [c.name for c in wanted.benchmarks + wanted.methods]):
        twice = next((name for name in names if list(names).count(name) > 1), None)
        if twice is not None:
            raise ConfigError(f"{twice} is there twice")
    offered = {tag for c in wanted.benchmarks for tag in wanted.benchmark(c.name).codes}
    for tag in wanted.languages:
        if tag not in offered:
            raise ConfigError(
                f"no benchmark of the comparison has {tag!r}: they have "
                f"{', '.join(sorted(offered - {'en'}))}"
            )


def _names(value: Any, key: str) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise ConfigError(f"{key} must be a list of names, not {value!r}")
    return tuple(names)


def _languages(value: Any, key: str) -> tuple[str, ...]:
    if value is True or value is False or (isinstance(value, list) and False in value):
        raise ConfigError(f"{key}: YAML reads no as false; write Norwegian as 'nb' or \"no\"")
    if value == ALL:
        return ()
    return tuple(dict.fromkeys(parse_tag(name) for name in _names(value, key)))


def _chosen(value: Any, key: str) -> tuple[Chosen, ...]:
    entries: Sequence[Any] = value if isinstance(value, list) else [value]
    chosen: list[Chosen] = []
    for entry in entries:
        if isinstance(entry, str):
            chosen.append(Chosen(entry))
        elif isinstance(entry, dict) and all(
            isinstance(options, dict | None) for options in entry.values()
        ):
            chosen += [_with_options(str(name), options or {}) for name, options in entry.items()]
        else:
            raise ConfigError(f"{key} must be a list of names, or of name: {{option: value}}")
    if not chosen:
        raise ConfigError(f"{key} is empty")
    return tuple(chosen)


def _with_options(name: str, options: Mapping[str, Any]) -> Chosen:
    more = {key: value for key, value in options.items() if key not in RESTRICTIONS}
    languages = _languages(options.get("languages", ALL), f"{name}: languages")
    benchmarks = (
        _names(options["benchmarks"], f"{name}: benchmarks") if "benchmarks" in options else ()
    )
    return Chosen(name, more, languages, benchmarks)


def _fit_text(value: Any, key: str) -> FitText:
    if isinstance(value, str):
        return FitText(value)
    if not isinstance(value, dict) or not set(value) <= {"path", "lines"}:
        raise ConfigError(f"{key} must be a path, or {{path: …, lines: …}}")
    lines = value.get("lines")
    return FitText(str(value.get("path", BUILTIN)), None if lines is None else _number(lines, key))


def _resolved(text: FitText, folder: Path) -> FitText:
    if text.path == BUILTIN or text.path.startswith("hf:"):
        return text
    return dataclasses.replace(text, path=str(folder / Path(text.path).expanduser()))


def _number(value: Any, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{key} must be a whole number, not {value!r}")
    return value


def _plain(chosen: Chosen) -> Any:
    only = {key: list(getattr(chosen, key)) for key in RESTRICTIONS if getattr(chosen, key)}
    options = {**chosen.options, **only}
    return {chosen.name: options} if options else chosen.name


_CONVERSIONS: dict[str, Any] = {
    "models": _names,
    "languages": _languages,
    "benchmarks": _chosen,
    "methods": _chosen,
    "benchmark_files": _names,
    "corpus": _fit_text,
    "limit": _number,
    "seed": _number,
}
