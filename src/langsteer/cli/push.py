"""langsteer push"""

from pathlib import Path
from typing import Annotated, Any

import typer

from langsteer.cli import options as shared
from langsteer.storage.parsed import parse_json

_MARK = "library_name: langsteer"  # in the card of every folder that was written for the hub


def command(
    vectors: Annotated[Path, typer.Argument(help="A vector file, or a folder of them.")],
    repository: Annotated[str, typer.Argument(help="Where on the hub: user/repo.")],
    private: Annotated[
        bool, typer.Option("--private", help="Let nobody else see the repository.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Upload nothing; write the folder and its card.")
    ] = False,
    output: Annotated[
        Path | None, shared.output("Folder of a dry run. [default: the repository's name]")
    ] = None,
    licence: Annotated[
        str, typer.Option("--license", metavar="<id>", help="Licence, as the hub names it.")
    ] = "other",
    base_model: Annotated[
        str | None,
        typer.Option("--base-model", metavar="<id>", help="Hub id of the model, for the card."),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            "--results",
            metavar="<path>",
            help="What langsteer evaluate --json printed, for the card.",
        ),
    ] = None,
    as_json: shared.Json = False,
) -> None:
    """Share vectors on the Hugging Face hub, with a card that says what they are.

    Example: `langsteer push vectors/ user/repo --private`

    See first what would be uploaded: `langsteer push vectors/ user/repo --dry-run -o shared/`
    """
    from langsteer.hub.card import CardOptions
    from langsteer.hub.push import CARD_NAME, push_to_hub, write_for_hub
    from langsteer.storage.files import check_own_folder, check_writable

    shared.quiet_libraries()
    card = CardOptions(licence, base_model, _results(results))
    if dry_run:
        folder = output or Path(repository.rpartition("/")[2])
        check_writable(folder, folder=True)
        there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        check_own_folder(
            folder, there, lambda own: _MARK in _text(own / CARD_NAME), "langsteer push"
        )
        files = [str(path) for path in write_for_hub(vectors, folder, repository, card=card)]
        told: dict[str, Any] = {"repository": repository, "files": files}
        lines = files
    else:
        url = push_to_hub(vectors, repository, private=private, card=card)
        told, lines = {"repository": repository, "url": url}, [url]
    if as_json:
        shared.print_json(told)
    else:
        for line in lines:
            typer.echo(line)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _results(path: Path | None) -> list[dict[str, Any]]:
    from langsteer.errors import HubError

    if path is None:
        return []
    try:
        rows = parse_json(path.read_text(encoding="utf-8"))
        for row in rows:
            _ = [row[name] + 0 for name in ("items", "unsteered", "steered")]
            _ = [row["change"][name] + 0 for name in ("value", "low", "high")]
            _ = [row[name] for name in ("task", "language", "metric")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HubError(f"{path} is not what langsteer evaluate --json prints: {error}") from error
    return list(rows)
