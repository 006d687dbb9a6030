"""The commands by name: a table that says what each is for, and imports it when it is called."""

import importlib
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from langsteer.version import __version__

MAKE, USE, MEASURE, EXPLAIN, HELP = "Make", "Use", "Measure", "Explain", "Help"

COMMANDS = {  # name: its panel in the help, and the first sentence of its own
    "fit": (MAKE, "Learn a steering vector from parallel text and choose its layer and strength."),
    "average": (
        MAKE,
        "Make a vector for a language with little or no parallel text, from those of other languages.",
    ),
    "tune": (
        MAKE,
        "Fine-tune with LoRA on instructions: by example (sft), then by preference (dpo).",
    ),
    "generate": (USE, "Continue a prompt without and with steering."),
    "serve": (
        USE,
        "Serve a model as OpenAI's interface does, each request steered by its language.",
    ),
    "export": (USE, "Write vectors into files that other tools read."),
    "push": (USE, "Share vectors on the Hugging Face hub, with a card that says what they are."),
    "inspect": (USE, "Say what a vector file is."),
    "diagnose": (
        MEASURE,
        "Say where the gap of a task lies, and what steering could win back, before anything is fitted.",
    ),
    "demo": (MEASURE, "Learn vectors from the built-in corpus and measure them on held-out text."),
    "evaluate": (
        MEASURE,
        "Measure vectors on benchmarks, or on tasks of the lm-evaluation-harness.",
    ),
    "compare": (MEASURE, "Run a comparison of methods: models × benchmarks × languages."),
    "report": (MEASURE, "Compare what a results folder holds, and write the report."),
    "lm-eval": (
        MEASURE,
        "The lm-evaluation-harness's own command, with the model `langsteer` in it.",
    ),
    "analyze": (
        EXPLAIN,
        "Show what a model's layers make of languages, before and after steering.",
    ),
    "drift": (
        EXPLAIN,
        "Show what fine-tuning moved in a model's layers, and whether it moved as steering does.",
    ),
    "vectors": (
        EXPLAIN,
        "Compare the vectors of several languages, and see what each says and does.",
    ),
    "doctor": (HELP, "Say what is installed, what is missing, and what to do about it."),
}
APP: dict[str, Any] = {
    "no_args_is_help": True,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": "markdown",
}


def load_command(name: str) -> Any:
    """The command of a name, imported: from `command`, with its `SETTINGS`, or `app` of its module."""
    from langsteer.cli.command import Command

    module = importlib.import_module(f"langsteer.cli.{name.replace('-', '_')}")
    if hasattr(module, "app"):
        group = typer.main.get_command(module.app)
        group.name = name
        return group
    single = typer.Typer(**{**APP, "no_args_is_help": False}, add_completion=False)
    single.command(name, cls=Command, **getattr(module, "SETTINGS", {}))(module.command)
    return typer.main.get_command(single)


class LazyGroup(TyperGroup):
    """A group that knows its commands by `COMMANDS`, and imports only the one that is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, (panel, help_line) in COMMANDS.items():
            named = TyperCommand(
                name, help=help_line, rich_help_panel=panel, rich_markup_mode="markdown"
            )
            self.add_command(named, name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if name in COMMANDS else command, rest


app = typer.Typer(
    name="langsteer",
    cls=LazyGroup,
    help="Make an open language model better in other languages with one vector at one layer.",
    **APP,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"langsteer {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Say which it is."),
    ] = False,
) -> None:
    pass
