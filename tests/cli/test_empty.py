"""A path or a name of nothing would be the current folder: every option and argument refuses it."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from langsteer.cli.command import TEXTS, Command
from langsteer.cli.commands import COMMANDS, load_command


def texts() -> Iterator[tuple[str, str, Any]]:
    """Commands of langsteer's own, and their options and arguments that take a value."""
    for name in COMMANDS:
        command = load_command(name)
        for below, member in getattr(command, "commands", {"": command}).items():
            for param in member.params if isinstance(member, Command) else ():
                if not getattr(param, "is_flag", False):
                    yield f"{name} {below}".strip(), param.name, member


GIVEN = [(command, name, member) for command, name, member in texts() if name not in TEXTS]


@pytest.mark.parametrize("value", ["", "  "])
@pytest.mark.parametrize(("command", "name", "member"), GIVEN, ids=lambda v: str(v)[:20])
def test_nothing_is_no_name(command: str, name: str, member: Any, value: str) -> None:
    (param,) = (p for p in member.params if p.name == name)
    words = [value] if param.param_type_name == "argument" else [param.opts[0], value]
    with pytest.raises(typer.BadParameter, match="it is empty: say what it is to be"):
        member.make_context(command, words)


def test_there_are_options_to_try() -> None:
    assert {"output", "model", "corpus", "vectors", "data", "files", "config"} <= {
        name for _, name, _ in GIVEN
    }


def test_texts_may_be_empty() -> None:
    member = load_command("generate")
    context = member.make_context("generate", ["", "-v", "v", "--before", "", "--after", ""])
    assert (context.params["prompt"], context.params["before"]) == ("", "")
