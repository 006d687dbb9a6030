"""A command of the command line: what all refuse, and the old spellings of options that they still take."""

import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand

from langsteer.cli.outputs import check_no_input
from langsteer.storage.files import check_writable

OLD_SPELLINGS = {
    "--languages": "--language",
    "--out": "--output",
    "--vector": "--vectors",
    "--other-weights": "--carry",
    "--items": "--limit",
    "--skip-damaged": "--skip-bad-vectors",
}
ONCE = ("language",)  # what another of would be meant to be added to
TEXTS = ("prompt", "before", "after")  # what goes to a model, and may be empty


class Command(TyperCommand):
    """A command that refuses names of nothing, and still takes old spellings, of which it says the
    new one on standard error.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = {name for param in self.params for name in param.opts}
        args, old = _respelt(args, known)
        if not ctx.resilient_parsing:
            for spelling in old:
                now = OLD_SPELLINGS[spelling]
                print(f"langsteer: {spelling} is called {now} now", file=sys.stderr)
            self._refuse_senseless(ctx, args)
        return super().parse_args(ctx, args)

    def _refuse_senseless(self, ctx: Any, args: Sequence[str]) -> None:
        """Raise BadParameter where a path or a name is empty, which would be the current folder, and
        where one of two languages would be dropped.
        """
        given, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for param in order:
            at: Any = param
            if param.name in ONCE and not at.multiple and order.count(param) > 1:
                raise typer.BadParameter("it takes one, and is given several times.", ctx, at)
            value = given.get(param.name or "")
            values = value if isinstance(value, (list, tuple)) else [value]
            if param.name not in TEXTS and any(
                isinstance(text, str) and not text.strip() for text in values
            ):
                hint = "" if param.required else ", or leave it out"
                raise typer.BadParameter(f"it is empty: say what it is to be{hint}.", ctx, at)

    def invoke(self, ctx: Any) -> Any:
        for param in self.params:
            place = ctx.params.get("output")
            if param.name == "output" and place is not None:
                check_no_input(place, self.params, ctx.params)
                kind = {"<folder>": True, "<file>": False}.get(str(param.metavar))
                check_writable(place, folder=kind)
        return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        pieces = [self.options_metavar] if self.options_metavar else []
        for param in self.get_params(ctx):
            if not getattr(param, "hidden", False):
                pieces += param.get_usage_pieces(ctx)
        return pieces


def _respelt(args: Sequence[str], known: set[str]) -> tuple[list[str], list[str]]:
    """The arguments with the spellings of today, and the old spellings that were in them."""
    end = list(args).index("--") if "--" in args else len(args)
    new, old = [], []
    for word in args[:end]:
        name, equals, value = word.partition("=")
        spelling = OLD_SPELLINGS.get(name)
        if spelling is None or name in known or spelling not in known:
            new.append(word)
        else:
            new.append(f"{spelling}{equals}{value}")
            old.append(name)
    return [*new, *args[end:]], list(dict.fromkeys(old))
