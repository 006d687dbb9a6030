"""The table of commands: true, quick, and grouped."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from langsteer import cli
from langsteer.cli import commands, options
from langsteer.cli.commands import COMMANDS, load_command
from langsteer.model.model import Model
from langsteer.version import __version__
from tests.helpers import make_vector, run

GOES_ON = "; the same command goes on from what is done"
HEAVY = ("torch", "transformers", "numpy", "sklearn", "matplotlib")
WHAT_WAS_IMPORTED = (
    "import json, sys; sys.argv = ['langsteer', *sys.argv[1:]]\n"
    "from langsteer.cli import main\n"
    "try: main()\n"
    "except SystemExit: pass\n"
    "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_says_what_the_command_says(name: str) -> None:
    _, told = COMMANDS[name]
    help_text = inspect.cleandoc(load_command(name).help or "")
    assert help_text.split("\n\n")[0].replace("\n", " ") == told


def test_panels_are_shown_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    places = [out.index(f"─ {panel} ─") for panel in ("Make", "Use", "Measure", "Explain", "Help")]
    assert places == sorted(places)
    for name, (panel, _) in COMMANDS.items():
        assert out.index(f"─ {panel} ─") < out.index(f"│ {name} ")


@pytest.mark.parametrize(
    "arguments",
    [[], ["--help"], ["--version"], *([name, "--help"] for name in COMMANDS if name != "lm-eval")],
    ids=" ".join,
)
def test_help_imports_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", WHAT_WAS_IMPORTED, *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=dict(os.environ),
        check=True,
    )
    assert ran.stdout
    imported = json.loads(ran.stderr.splitlines()[-1])
    assert "langsteer.cli.commands" in imported
    assert not set(HEAVY) & set(imported)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, f"langsteer {__version__}\n", "")


def test_a_command_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "analyse")
    assert code == 2
    assert "Did you mean 'analyze'" in err


def completed(
    monkeypatch: pytest.MonkeyPatch, line: str, capsys: pytest.CaptureFixture[str]
) -> str:
    words = line.split(" ")
    monkeypatch.setattr(sys, "argv", ["langsteer"])
    monkeypatch.setenv("_LANGSTEER_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    with pytest.raises(SystemExit):
        cli.main()
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("langsteer an", ["analyze"]),
        ("langsteer fit --meth", ["--method"]),
        ("langsteer fit --method prob", ["probe"]),
        ("langsteer fit -l sw,e", ["sw,el", "sw,en", "sw,es", "sw,et"]),
        ("langsteer evaluate -t sib200,xs", ["sib200,xstorycloze"]),
        ("langsteer generate --positions g", ["generated"]),
        ("langsteer demo --dtype b", ["bfloat16"]),
        ("langsteer tune d", ["dpo"]),
    ],
)
def test_completion(
    line: str,
    names: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert completed(monkeypatch, line, capsys).split() == names


def test_stopped_while_a_command_is_imported(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "load_command", stop)
    assert run(capsys, "fit") == (130, "", f"langsteer: stopped{GOES_ON}\n")


def test_stopped_before_there_are_commands(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", stop)
    assert run(capsys) == (130, "", "langsteer: stopped\n")


@pytest.mark.parametrize(
    "command",
    [["analyze", "-l", "sw"], ["vectors", "sw.safetensors", "-m", "tiny"]],
    ids=["analyze", "vectors"],
)
def test_a_folder_of_others_is_refused_before_a_model_is_opened(
    command: list[str],
    llama: Model,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def opened(*_: object, **__: object) -> Model:
        raise AssertionError("the model was opened")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(options, "open_model", opened)
    make_vector(llama).save("sw.safetensors")
    page = tmp_path / "taken" / "index.html"
    page.parent.mkdir()
    page.write_text("mine", encoding="utf-8")
    code, _, err = run(capsys, *command, "-o", "taken")
    assert code == 1
    assert "index.html" in err
    assert page.read_text(encoding="utf-8") == "mine"
