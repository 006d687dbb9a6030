"""Documents that must keep up with the code."""

import ast
import importlib
import importlib.util
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest

import langsteer
from langsteer.cli.commands import COMMANDS, load_command

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
HELPS = sorted(p for p in (DOCS / "reference" / "commands").glob("*.md") if p.stem != "index")
FRONT = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG", "SECURITY")]
PAGES = [
    *FRONT,
    *(p for p in sorted(DOCS.rglob("*.md")) if not {"_build", "python"} & set(p.parts)),
]
MOST_WORDS, MOST_NUMBERS, MOST_LINES, MOST_BYTES = 600, 40, 10, 1_500_000
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return [body for name, body in FENCE.findall(text) if name == language]


def _commands(page: Path) -> list[str]:
    """What a page tells the reader to type, of langsteer's: fenced, and in the help's examples."""
    lines = "\n".join(_blocks(page, "bash")).replace("\\\n", " ").splitlines()
    wanted = [re.split(" [#>] ", line)[0].strip() for line in lines]
    whole = [part.strip() for line in wanted for part in line.split("&&")]
    return [line for line in whole if line.startswith("langsteer ")]


TYPED = [(page, line) for page in PAGES for line in _commands(page)]


@pytest.mark.parametrize("page", HELPS, ids=_id)
def test_pages_show_the_help_of_today(page: Path) -> None:
    text, script = page.read_text(encoding="utf-8"), _script("make_help")
    assert script.BLOCK.search(text) or page.stem == "lm-eval"  # its help is the harness's
    assert script.updated(text) == text, "run python docs/make_help.py"


def test_every_command_has_a_page() -> None:
    assert {page.stem for page in HELPS} == set(COMMANDS)
    index = (DOCS / "reference" / "commands" / "index.md").read_text(encoding="utf-8")
    assert {name for name in COMMANDS if index.count(name + ".md)") == 1} == set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize(("page", "line"), TYPED, ids=lambda value: str(value)[:60])
def test_commands_of_pages_are_understood(page: Path, line: str) -> None:
    words = shlex.split(line.replace("$'", "'").removesuffix(" &"))[1:]
    if words == ["--version"]:
        return
    assert words[0] in COMMANDS, f"there is no {words[0]}"
    command, words = load_command(words[0]), words[1:]
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    try:
        command.make_context("langsteer", words)
    except Exception as error:
        if "does not exist" not in str(error):
            pytest.fail(f"{type(error).__name__}: {error}")


def test_there_are_commands_to_understand() -> None:
    assert len(TYPED) > 20
    assert len(MENTIONED) > 60


def _mentions(page: Path) -> list[str]:
    """Commands that stand in the text of a page, or of a command's help: whole ones, or parts."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    lines = re.findall(r"`(langsteer [a-z-][^`]*)`", text)
    whole = [part.strip() for line in lines for part in re.split("&&|[|]", line)]
    return [line for line in whole if line.startswith("langsteer ")]


HELP = sorted((ROOT / "src" / "langsteer" / "cli").glob("*.py"))
MENTIONED = sorted({(page, line) for page in (*PAGES, *HELP) for line in _mentions(page)})
OF_OTHERS = {"median", "numbers"}  # what the packages of examples add


@pytest.mark.parametrize(("page", "line"), MENTIONED, ids=lambda value: str(value)[-60:])
def test_commands_in_text_are_those_that_there_are(page: Path, line: str) -> None:
    """Each command and option that is named exists, and the values of whole ones are valid."""
    words = shlex.split(line.replace("$'", "'"))[1:]
    if words[0] in ("--version", "--help", "--install-completion"):
        return
    assert words[0] in COMMANDS, f"there is no {words[0]}"
    command, words = load_command(words[0]), words[1:]
    while hasattr(command, "commands") and words:
        command, words = command.commands[words[0]], words[1:]
    if hasattr(command, "commands"):
        return
    known = {"--help"} | {name for param in command.params for name in param.opts}
    if command.name != "lm-eval":
        named = {word.partition("=")[0] for word in words if re.match("--?[a-z]", word)}
        assert named <= known, f"{_id(page)}: {named - known}"
    if words[-1:] == ["--help"] or any(word.isupper() for word in words) or OF_OTHERS & set(words):
        return
    try:
        command.make_context(command.name, words)
    except Exception as error:
        if not re.search("Missing|requires an argument|does not exist", str(error)):
            pytest.fail(f"{_id(page)}: {type(error).__name__}: {error}")


RUN_HERE = re.compile(r"python (?:-m (benchmarks[.\w]+)|((?:scripts|docs|benchmarks)/[\w/]+\.py))")


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_scripts_and_targets_of_pages_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for module, script in RUN_HERE.findall(text):
        name = script or module.strip(".").replace(".", "/") + ".py"
        package = ROOT / name.removesuffix(".py") / "__main__.py"
        assert (ROOT / name).is_file() or package.is_file(), f"{page.name} runs {name}"
    for target in re.findall(r"^ *make ([a-z-]+)|`make ([a-z-]+)[ `]", text, re.MULTILINE):
        name = "".join(target)
        assert re.search(rf"^{name}:", makefile, re.MULTILINE), f"there is no make {name}"


def test_architecture_shows_the_imports_of_today() -> None:
    pytest.importorskip("grimp")
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    assert _script("make_graph").updated(text) == text, "run make graph"
    drawn = (DOCS / "architecture.svg").read_text(encoding="utf-8")
    assert _script("make_graph").drawing() == drawn, "run make graph"


def test_readme_is_read_in_two_minutes() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", text)) <= MOST_WORDS
    assert len(re.findall(r"\d+(?:\.\d+)?", text)) <= MOST_NUMBERS


def test_readme_shows_ten_lines_of_python() -> None:
    (code,) = _blocks(ROOT / "README.md", "python")
    assert len(code.splitlines()) <= MOST_LINES


@pytest.mark.parametrize("page", sorted((DOCS / "examples").glob("*.html")), ids=_id)
def test_example_pages_are_small_and_load_nothing(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert page.stat().st_size < MOST_BYTES
    assert not re.search(r"<(?:script|img|link)[^>]+(?:src|href)=[\"']?(?:https?:)?//", text)


IMPORTS = [
    (page, name.name, node.module)
    for page in PAGES
    for block in _blocks(page, "python")
    for node in ast.walk(ast.parse(block))
    if isinstance(node, ast.ImportFrom) and str(node.module).startswith("langsteer")
    for name in node.names
]


@pytest.mark.parametrize(("page", "name", "module"), IMPORTS, ids=str)
def test_imports_of_pages_exist(page: Path, name: str, module: str) -> None:
    assert hasattr(importlib.import_module(module), name), f"{_id(page)}: {module} has no {name}"


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_names_in_python_exist(page: Path) -> None:
    code = "\n".join(_blocks(page, "python"))
    for name in re.findall(r"\blangsteer\.(\w+)\(", code):
        assert hasattr(langsteer, name), f"there is no langsteer.{name}"


def test_the_page_of_comparisons_lists_every_benchmark() -> None:
    page = (DOCS / "reference" / "commands" / "compare.md").read_text(encoding="utf-8")
    table = page.partition("## Benchmarks")[2].partition("\n\n`form: english`")[0]
    named = set(re.findall(r"`(\w+)`", table))
    own = ROOT / "src" / "langsteer" / "evaluation" / "benchmarks" / "tasks"
    assert {path.stem for path in own.glob("*.yaml")} == named
