"""The `langsteer` command: parsing and printing only. What it needs is imported when it runs."""

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, TextIO

INTERRUPTED = 130  # what a shell makes of Ctrl-C, and typer of a KeyboardInterrupt
TERMINATED = 143  # what a shell makes of SIGTERM
GO_ON = {"compare", "demo", "fit", "tune"}  # commands that keep what is done


def main() -> None:
    """Run the command; an error that the user can mend is one line and exit status 1."""
    before = signal.signal(signal.SIGTERM, _terminate)  # as Ctrl-C: temporary files go with it
    try:
        _run()
    except KeyboardInterrupt:
        _stopped(INTERRUPTED)
    except BrokenPipeError:
        sys.exit(1)
    except SystemExit as error:
        if error.code == INTERRUPTED:
            _stopped(INTERRUPTED)
        if error.code == TERMINATED:
            _stopped(TERMINATED)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        _end_output(sys.stdout)


def _run() -> None:
    from langsteer.cli.commands import app
    from langsteer.errors import LangsteerError

    for stream in (sys.stdout, sys.stderr):
        _take_any_text(stream)
    try:
        _check_arguments(sys.argv[1:])
        app(prog_name="langsteer")
    except LangsteerError as error:
        print(f"langsteer: {error}", file=sys.stderr)
        sys.exit(1)


def _check_arguments(arguments: Sequence[str]) -> None:
    """Refuse what the shell gave in another encoding: neither a tokeniser nor a record could hold it."""
    from langsteer.errors import LangsteerError

    for place, argument in enumerate(arguments, 1):
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            shown = os.fsencode(argument).decode(errors="backslashreplace")
            raise LangsteerError(
                f"argument {place} is not UTF-8: {shown}. Write it in UTF-8; a file of such a name "
                "can be renamed"
            ) from error


def _terminate(*_: object) -> None:
    sys.exit(TERMINATED)


def _stopped(status: int) -> None:
    goes_on = GO_ON & set(sys.argv[1:2])
    print(
        f"langsteer: stopped{'; the same command goes on from what is done' * bool(goes_on)}",
        file=sys.stderr,
    )
    sys.exit(status)


def _take_any_text(stream: Any) -> None:
    """What an encoding such as ASCII or cp1252 lacks is written as an escape; nothing is refused."""
    if hasattr(stream, "reconfigure") and "utf" not in (stream.encoding or "").lower():
        stream.reconfigure(errors="backslashreplace")


def _end_output(stream: TextIO) -> None:
    """Write what is left, also where nobody reads it any more (`langsteer ... | head -1`)."""
    try:
        stream.flush()
    except BrokenPipeError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except ValueError:
        pass  # closed already


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from langsteer.cli.commands import app

    return app
