"""The benchmarks there are: langsteer's, those of installed packages, and a user's own files.

An installed package joins through the entry points `langsteer.benchmarks`: each is the path of a
YAML file, or of a folder with them, or a `Benchmark`. A file is read when its benchmark is asked
for.
"""

import functools
import importlib.metadata
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks.common import Benchmark
from langsteer.evaluation.benchmarks.loading import nearest
from langsteer.plugins import entry_points
from langsteer.storage.files import listed

GROUP = "langsteer.benchmarks"
FOLDER = Path(__file__).parent / "tasks"
FILES = ("*.yaml", "*.yml")


@dataclass(frozen=True)
class _Source:
    """Where a benchmark comes from, and how it is made."""

    where: str
    make: Callable[[], Benchmark]


@dataclass(frozen=True)
class Registry(Mapping[str, Benchmark]):
    """Benchmarks by name. `files` are YAML files of one's own, or folders with them.

    Raises BenchmarkError where two have one name, and where a file is not a benchmark's.
    """

    files: tuple[Path, ...] = ()
    _made: dict[str, Benchmark] = field(default_factory=dict, repr=False, compare=False)

    def __getitem__(self, name: str) -> Benchmark:
        if name not in self._made:
            self._made[name] = self._sources[name].make()
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._sources

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)

    @functools.cached_property
    def _sources(self) -> Mapping[str, _Source]:
        sources: dict[str, _Source] = {}
        for path in listed(FOLDER, *FILES):
            _add(sources, path.stem, _from_file(path, trusted=True))
        for point in entry_points(GROUP).values():
            for name, source in _from_entry_point(point).items():
                _add(sources, name, source)
        for path in self.files:
            for file in _own_files(path):
                _add(sources, file.stem, _from_file(file, trusted=False))
        return sources

    def __hash__(self) -> int:
        return hash(self.files)


def registry(files: Sequence[str | Path] = ()) -> Registry:
    """All benchmarks, with those in `files`: YAML files, or folders with them."""
    paths = tuple(Path(path).expanduser().resolve() for path in files)
    return _registry(paths) if paths else BENCHMARKS


def get_benchmark(name: str, files: Sequence[str | Path] = ()) -> Benchmark:
    """The benchmark of this name; BenchmarkError, with the nearest names, where there is none."""
    benchmarks = registry(files)
    if name not in benchmarks:
        raise BenchmarkError(f"there is no benchmark {name!r}{nearest(name, list(benchmarks))}")
    return benchmarks[name]


@functools.lru_cache(maxsize=16)
def _registry(files: tuple[Path, ...]) -> Registry:
    return Registry(files)


def _add(sources: dict[str, _Source], name: str, source: _Source) -> None:
    if name in sources:
        raise BenchmarkError(
            f"two benchmarks are called {name}: in {sources[name].where} and in {source.where}"
        )
    sources[name] = source


def _from_file(path: Path, *, trusted: bool) -> _Source:
    def make() -> Benchmark:
        from langsteer.evaluation.benchmarks.definition import read_benchmark

        return read_benchmark(path, trusted=trusted)

    return _Source(str(path), make)


def _own_files(path: Path) -> list[Path]:
    if path.is_dir():
        if files := listed(path, *FILES):
            return files
        raise BenchmarkError(f"{path} has no benchmark: it should hold .yaml files")
    if not path.is_file():
        raise BenchmarkError(f"there is no file or folder {path}, expected benchmarks in YAML")
    return [path]


def _from_entry_point(point: importlib.metadata.EntryPoint) -> dict[str, _Source]:
    """What an installed package adds; a package that is broken is left out with a warning."""
    where = f"the entry point {point.name} ({point.value})"
    try:
        value = point.load()
    except Exception as error:  # a stranger's module may raise anything
        warnings.warn(f"{where} of {GROUP} is left out: {error}", stacklevel=2)
        return {}
    if isinstance(value, Benchmark):
        benchmark = value
        return {benchmark.name: _Source(where, lambda: benchmark)}
    if isinstance(value, str | Path):
        paths = _own_files(Path(value))
        return {path.stem: _from_file(path, trusted=True) for path in paths}
    raise BenchmarkError(
        f"{where} of {GROUP} is {type(value).__name__}: it should be the path of a YAML file or of "
        "a folder, or a Benchmark"
    )


BENCHMARKS = Registry()
"""langsteer's benchmarks and those of installed packages"""
