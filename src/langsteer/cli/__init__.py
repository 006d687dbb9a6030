"""The `langsteer` command: parsing and printing only."""

import sys

import typer

from langsteer.cli import (
    analyze,
    average,
    compare,
    demo,
    drift,
    evaluate,
    export,
    fit,
    generate,
    inspect,
    lm_eval,
    report,
    tune,
    vectors,
)
from langsteer.errors import LangsteerError

INTERRUPTED = 130  # what typer makes of a KeyboardInterrupt

app = typer.Typer(
    name="langsteer",
    help="Make an open language model better in other languages with one vector at one layer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for module in (
    fit,
    average,
    generate,
    inspect,
    export,
    demo,
    evaluate,
    compare,
    report,
    analyze,
    drift,
    vectors,
):
    app.command(module.__name__.rpartition(".")[2])(module.command)
app.command(
    "lm-eval",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(lm_eval.command)
app.add_typer(tune.app, name="tune")


def main() -> None:
    """Run the command; an error that the user can mend is one line and exit status 1."""
    try:
        app()
    except LangsteerError as error:
        print(f"langsteer: {error}", file=sys.stderr)
        sys.exit(1)
    except SystemExit as error:
        if error.code == INTERRUPTED:
            print("langsteer: stopped", file=sys.stderr)
        raise
