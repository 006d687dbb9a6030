"""The benchmarks there are: langsteer's, those of packages, and one's own."""

import dataclasses
import importlib.metadata
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("lm_eval")

from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks import (
    BENCHMARKS,
    Benchmark,
    get_benchmark,
    registry,
)
from langsteer.evaluation.benchmarks.definition import read_benchmark
from langsteer.evaluation.benchmarks.registry import GROUP, Registry
from langsteer.text.languages import parse_tag
from tests.made.own import OWN, own_file

SIB = get_benchmark("sib200")


def test_get_benchmark_names_the_nearest() -> None:
    with pytest.raises(BenchmarkError, match="no benchmark 'sib-200'; did you mean 'sib200'"):
        get_benchmark("sib-200")
    with pytest.raises(BenchmarkError, match="there are belebele, bmlama53, flores_from_english"):
        get_benchmark("???")


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=lambda b: b.name)
def test_descriptions_are_complete(benchmark: Benchmark) -> None:
    assert BENCHMARKS[benchmark.name] is benchmark
    assert benchmark.forms
    assert "test" in benchmark.parts
    assert set(benchmark.parts) <= {"train", "development", "test"}
    assert "en" in benchmark.instructions
    assert benchmark.layout
    assert all(parse_tag(tag) == tag for tag in benchmark.codes)
    assert (benchmark.native or set()) <= set(benchmark.codes)


@pytest.mark.parametrize("name", ["sib200", "xcopa", "mgsm"])
def test_instructions_in_every_language_with_a_native_form(name: str) -> None:
    benchmark = get_benchmark(name)
    tags = benchmark.native or benchmark.codes
    assert set(benchmark.instructions) == set(tags)
    assert len(set(benchmark.instructions.values())) == len(tags)


def test_files_are_not_read_before_they_are_asked_for() -> None:
    code = "import sys, langsteer.evaluation.benchmarks as b; print(len(b.BENCHMARKS) > 15)\n"
    code += "print('langsteer.evaluation.benchmarks.definition' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert output.stdout.split() == ["True", "False"]


def test_a_folder_of_one_s_own_joins(tmp_path: Path) -> None:
    own_file(tmp_path)
    assert "colours" in registry([tmp_path])
    assert get_benchmark("sib200", [tmp_path]).codes == SIB.codes
    assert "colours" not in BENCHMARKS
    with pytest.raises(BenchmarkError, match="no benchmark 'colour'; did you mean 'colours'"):
        get_benchmark("colour", [tmp_path])


def test_names_are_unique(tmp_path: Path) -> None:
    path = own_file(tmp_path, "sib200")
    with pytest.raises(
        BenchmarkError, match=r"two benchmarks are called sib200: in .* and in "
    ) as e:
        get_benchmark("xcopa", [tmp_path])
    assert str(path) in str(e.value)


def test_folders_without_benchmarks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"has no benchmark: it should hold .yaml files"):
        get_benchmark("sib200", [tmp_path])
    with pytest.raises(BenchmarkError, match=r"there is no file or folder .*x.yaml"):
        get_benchmark("sib200", [tmp_path / "x.yaml"])


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], Registry]:
    """A registry where a made-up distribution's entry point gives a value."""

    class Point:
        name, value = "colours", "colours_package:PLACE"

        def __init__(self, value: object) -> None:
            self.load = lambda: value

    def install(value: object) -> Registry:
        points = [Point(value)]
        monkeypatch.setattr(
            importlib.metadata, "entry_points", lambda group: points if group == GROUP else []
        )
        return Registry()

    return install


def test_an_installed_package_joins(
    installed: Callable[[object], Registry], tmp_path: Path
) -> None:
    path = own_file(tmp_path)
    for value in (path, str(path), tmp_path):
        assert installed(value)["colours"].title == "Colours"
    benchmark = dataclasses.replace(SIB, name="mine")
    assert installed(benchmark)["mine"] is benchmark
    with pytest.raises(BenchmarkError, match=r"colours_package:PLACE.* is int: it should be the"):
        list(installed(3))


def test_an_installed_package_may_bring_code(
    installed: Callable[[object], Registry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("colours_package")
    exec("def read(folder, code, part):\n    return [{'text': code}]", module.__dict__)
    monkeypatch.setitem(sys.modules, "colours_package", module)
    path = own_file(tmp_path, text=OWN + "reader: colours_package:read\n")
    docs = installed(path)["colours"].read(tmp_path, "sw", "test")
    assert docs == [{"text": "sw", "id": "1"}]
    with pytest.raises(BenchmarkError, match=r"may name functions of langsteer.evaluation"):
        read_benchmark(path)
