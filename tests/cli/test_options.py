"""One option, one spelling, over all commands."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from langsteer.analysis.drift.compare import DriftOptions
from langsteer.analysis.layers.analyze import AnalysisOptions
from langsteer.analysis.layers.maps import MAPS
from langsteer.analysis.vectors import transfer
from langsteer.cli import analyze, demo, diagnose, drift, fit, options, tune, vectors
from langsteer.cli.command import OLD_SPELLINGS, _respelt
from langsteer.cli.commands import COMMANDS, load_command
from langsteer.diagnosis import diagnose as diagnosis
from langsteer.diagnosis.find import BUDGET
from langsteer.diagnosis.scoring import SCORINGS
from langsteer.diagnosis.verdict import EFFECT
from langsteer.evaluation import demo as evaluation_demo
from langsteer.evaluation.benchmarks import BENCHMARKS
from langsteer.fitting import methods
from langsteer.fitting import options as fitting_options
from langsteer.fitting.descent import DescentOptions
from langsteer.model.opening import DEFAULT_MODEL
from langsteer.states.intervention import POSITIONS
from langsteer.text import corpus
from langsteer.tuning import DpoOptions, SftOptions, job
from tests.helpers import run

SHORT = {
    "--language": "-l",
    "--output": "-o",
    "--model": "-m",
    "--corpus": "-c",
    "--vectors": "-v",
    "--lines": "-n",
    "--data": "-d",
    "--tasks": "-t",
    "--jobs": "-j",
}
OTHERS = {
    "--after", "--anyway", "--api-key", "--base-model", "--batch", "--before", "--benchmarks", "--beta", "--budget", "--carry", "--chat",
    "--device", "--device-map", "--draws", "--dry-run", "--check", "--check-engine", "--dtype", "--effect", "--engine", "--engine-arguments", "--english", "--epochs", "--everywhere", "--for", "--form", "--gains", "--gpus",
    "--held-out", "--host", "--items", "--json", "--layer", "--license", "--limit", "--llama-server", "--log-texts", "--map",
    "--max-body", "--max-length", "--max-new-tokens", "--method", "--name", "--objective", "--on", "--only-script", "--overwrite", "--own", "--partial", "--pivot",
    "--pivot-file", "--port", "--positions", "--priors", "--private", "--prompts", "--queue", "--rank", "--rate", "--recipe", "--results",
    "--router", "--rows", "--score", "--seed", "--show-tokens", "--skip-bad-vectors", "--split", "--strength", "--template", "--to", "--together", "--transfer", "--watch",
    "--tuned-lens", "--within-reach",
}  # fmt: skip


def every_command() -> Iterator[tuple[str, Any]]:
    for name in COMMANDS:
        command = load_command(name)
        for below, member in getattr(command, "commands", {"": command}).items():
            yield f"{name} {below}".strip(), member


def shown_options(command: Any) -> list[Any]:
    return [p for p in command.params if p.param_type_name == "option" and not p.hidden]


def test_every_option_has_one_spelling() -> None:
    for name, command in every_command():
        for option in shown_options(command):
            spelling, *short = sorted(option.opts, reverse=True, key=len)
            assert spelling in SHORT or spelling in OTHERS, f"{name} spells {spelling} anew"
            assert short == ([SHORT[spelling]] if spelling in SHORT else []), (name, spelling)
            assert spelling not in set(OLD_SPELLINGS) - {"--items"}, (name, spelling)


def test_an_option_is_one_python_name() -> None:
    names = defaultdict(set)
    for _, command in every_command():
        for option in shown_options(command):
            names[option.opts[0]].add(
                option.name.removesuffix("s")
            )  # of one language, or of several
    assert {spelling: found for spelling, found in names.items() if len(found) > 1} == {}


@pytest.mark.parametrize(("name", "command"), every_command(), ids=lambda value: str(value))
def test_help_has_an_example(name: str, command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert re.search(rf"Example[^`]*`langsteer {name}( |`)", command.help)
    if name != "lm-eval":
        code, out, _ = run(capsys, *name.split(), "--help")
        assert code == 0
        assert f"langsteer {name}" in " ".join(out.split())
    for option in shown_options(command):
        assert option.help, f"{name} does not say what {option.opts[0]} is"


@pytest.mark.parametrize(
    ("line", "old", "new"),
    [
        ("analyze --vector no.safetensors", "--vector", "--vectors"),
        ("analyze --vectors no.safetensors --out x --languages sw", "--out", "--output"),
        ("analyze --vectors=no.safetensors --languages=sw", "--languages", "--language"),
        ("drift x --vector no.safetensors --vector no.safetensors", "--vector", "--vectors"),
        ("generate Habari --vector no.safetensors", "--vector", "--vectors"),
        ("generate Habari -v no.safetensors --other-weights", "--other-weights", "--carry"),
        ("evaluate -t sib200 --vectors no.safetensors --languages sw", "--languages", "--language"),
        ("demo --languages qx --items 21", "--items", "--limit"),
        ("tune sft --vector no.safetensors --out x", "--out", "--output"),
        ("vectors no.safetensors --out x", "--out", "--output"),
    ],
)
def test_old_spellings_work_and_say_the_new_one(
    line: str,
    old: str,
    new: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    model = [] if line.startswith(("drift", "vectors")) else ["-m", str(folder)]
    code, _, err = run(capsys, *line.replace("drift x", f"drift {folder}").split(), *model)
    assert code == 1, err  # understood: what is wrong is the file, or the tag
    assert err.count(f"langsteer: {old} is called {new} now\n") == 1


def test_an_old_spelling_that_is_a_value_after_the_end_of_options() -> None:
    words = ["--out", "x", "--", "--vector"]
    assert _respelt(words, {"--output", "--vectors"}) == (
        ["--output", "x", "--", "--vector"],
        ["--out"],
    )


@pytest.mark.parametrize("line", ["analyze {folder} -l qx", "tune sft {folder} -o x -d no.jsonl"])
def test_a_model_named_without_its_option(
    line: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *line.format(folder=folder).split())
    assert code == 1
    if line.startswith("tune"):  # the other stops before it opens a model
        assert "langsteer: the model is named with --model now" in err


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("fit -l sw -o x --method no", ["learned", "probe"]),
        ("fit -l sw -o x --objective no", options.OBJECTIVES),
        ("fit -l sw -o x --positions generated", ["source", "prompt", "all"]),
        ("fit -l sw -o x --dtype no", options.DTYPES),
        ("generate Habari -v x --positions no", options.POSITIONS),
        ("analyze --map no", ["pca", "umap"]),
        ("evaluate -t sib200 -v x --form no", ["english", "native"]),
        ("demo --method no", ["learned", "probe"]),
    ],
)
def test_a_choice_refuses_what_it_does_not_know(
    line: str, names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, *line.split())
    assert code == 2
    told = " ".join(err.replace("│", " ").split())
    assert "is not one of" in told
    for name in names:
        assert name in told.partition("is not one of")[2]


@pytest.mark.parametrize(("given", "meant"), [("bf16", "bfloat16"), ("auto", "auto")])
def test_short_names_of_data_types(
    given: str, meant: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def open_model(name: str, dtype: str, *more: Any) -> None:
        asked.append(dtype)
        raise typer.Exit(3)

    monkeypatch.setattr(options, "open_model", open_model)
    assert run(capsys, "demo", "--dtype", given)[0] == 3
    assert asked == [meant]


def test_methods_of_other_packages_are_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    def entry_points(group: str) -> dict[str, Any]:
        return {"theirs": None} if group == "langsteer.methods" else {}

    monkeypatch.setattr(options, "entry_points", entry_points)
    assert options.methods()[-1] == "theirs"
    assert "theirs" not in options.benchmarks()


def test_names_are_those_of_the_library() -> None:
    assert set(options.METHODS) == set(methods.METHODS)
    assert options.DEFAULT_MODEL == DEFAULT_MODEL
    assert set(options.benchmarks()) == set(BENCHMARKS)
    assert options.POSITIONS == POSITIONS
    assert options.FITTED_AT == fitting_options.FITTED_AT
    assert options.MAPS == MAPS
    assert options.SCORINGS == SCORINGS
    assert options.BUILTIN == corpus.BUILTIN
    assert options.corpus_languages() == sorted([*corpus.builtin().languages, "en"])


def test_objectives_are_those_of_the_library() -> None:
    from langsteer.fitting.objectives import get_objective

    assert options.OBJECTIVES[0] == "centred"
    for name in options.OBJECTIVES:
        assert get_objective(name, still=DescentOptions.still, top=DescentOptions.top)


def test_defaults_are_those_of_the_library() -> None:
    assert demo.LANGUAGES.split(",") == list(evaluation_demo.LANGUAGES)
    assert AnalysisOptions.items == analyze.ITEMS
    assert AnalysisOptions.map == options.MAPS[0]
    assert DriftOptions.draws == drift.DRAWS
    assert vectors.STRENGTH == transfer.STRENGTH
    assert tune.ALL == job.ALL
    assert diagnose.EFFECT == EFFECT
    assert diagnose.ITEMS == diagnosis.ITEMS
    assert fit.BUDGET == BUDGET
    for defaults, kind in ((tune.SFT, SftOptions()), (tune.DPO, DpoOptions())):
        assert defaults == {name: getattr(kind, name) for name in defaults}


@pytest.mark.parametrize("words", [["-l", "sw,hi"], ["-l", "sw", "--language", "hi"]])
def test_languages_with_commas_or_one_by_one(words: list[str]) -> None:
    member = load_command("analyze")
    assert options.listed(member.make_context("analyze", words).params["languages"]) == ["sw", "hi"]


def test_a_language_is_not_dropped() -> None:
    for name, command in every_command():
        for option in shown_options(command):
            if option.opts[0] == "--language" and not option.multiple:
                words = ["-l", "sw", "-l", "hi"]
                with pytest.raises(typer.BadParameter, match="it takes one"):
                    command.make_context(name, words)
