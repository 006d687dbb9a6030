"""Put what each command's --help prints into its page: python docs/make_help.py"""

import re
from pathlib import Path

from typer.testing import CliRunner

from langsteer.cli import app

DOCS = Path(__file__).parent
BLOCK = re.compile(r"```\n\n Usage: langsteer ([a-z -]+?) [\[{].*?```\n", re.DOTALL)


def help_of(command: str) -> str:
    """The block of a command, such as `fit`, or `tune sft`."""
    terminal = {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1", "TERM": "dumb"}
    told = CliRunner(env=terminal).invoke(
        app, [*command.split(), "--help"], prog_name="langsteer", catch_exceptions=False
    )
    lines = [line.rstrip() for line in told.output.strip("\n").splitlines()]
    return "```\n\n" + "\n".join(lines).strip("\n") + "\n\n```\n"


def updated(page: str) -> str:
    """The page with the help of today."""
    return BLOCK.sub(lambda block: help_of(block.group(1)), page)


if __name__ == "__main__":
    for path in sorted((DOCS / "reference" / "commands").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if text.startswith("# langsteer ") and BLOCK.search(text):
            path.write_text(updated(text), encoding="utf-8")
