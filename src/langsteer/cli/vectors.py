"""langsteer vectors"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from langsteer.cli import options as shared

if TYPE_CHECKING:
    from langsteer.analysis.vectors.results import VectorResults

LINES = 60
STRENGTH = 1.0
_TOKENS = 6  # of a vector, on the screen


def command(
    files: Annotated[list[Path], typer.Argument(help="Vector files, or folders of them.")],
    model: Annotated[
        str | None, shared.model("Also read the vectors out, and carry each over.")
    ] = None,
    corpus: Annotated[
        str,
        shared.corpus(
            "Texts to carry vectors over to: builtin; a text, .tsv, .jsonl or .tmx file; a "
            "FLORES or NTREX folder; hf:ID."
        ),
    ] = shared.BUILTIN,
    pivot_file: shared.PivotFile = None,
    split: shared.Split = None,
    lines: Annotated[int, shared.lines(2)] = LINES,
    strength: Annotated[
        float, shared.strength("Strength of all vectors when they are carried over.")
    ] = STRENGTH,
    transfer: Annotated[
        bool, typer.Option(help="Whether vectors are carried over to other languages.")
    ] = True,
    seed: shared.Seed = 0,
    output: Annotated[
        Path | None, shared.output("Folder for numbers, figures and page.", "<folder>")
    ] = None,
    carry: shared.Carry = False,
    dtype: shared.Dtype = "auto",
    device: shared.Device = None,
    device_map: shared.DeviceMap = None,
    as_json: shared.Json = False,
) -> None:
    """Compare the vectors of several languages, and see what each says and does.

    How alike they are, and whether language families show. With a model, also which tokens each
    speaks for, and what the vector of one language does for the texts of another. With --output,
    writes vectors.json, figures and one page, index.html, that needs nothing else.

    Example: `langsteer vectors vectors/`

    With a model: `langsteer vectors vectors/ -m gemma-3-270m -o vectors-page/`
    """
    from langsteer.analysis.inputs import texts_for
    from langsteer.analysis.vectors.examine import examine
    from langsteer.analysis.vectors.page import (
        group_text,
        readout_text,
        similarity_text,
        transfer_text,
    )
    from langsteer.analysis.vectors.results import VectorResults
    from langsteer.analysis.write import check_output, examine_into
    from langsteer.steering.folder import read_vectors
    from langsteer.steering.vector import check_comparable

    vectors = check_comparable(read_vectors(*files).values())
    text = texts_for(vectors, corpus, pivot_file, split) if model is not None and transfer else None
    if text is not None:
        shared.print_checks(text)
    if output is not None:
        check_output(output, VectorResults)
    opened = None if model is None else shared.open_model(model, dtype, device, device_map)
    options: dict[str, Any] = {
        "lines": lines,
        "strength": strength,
        "other_weights": carry,
        "seed": seed,
    }
    written: list[Path] = []
    if output is None:
        results = examine(vectors, opened, text, **options)
    else:
        results, written = examine_into(output, vectors, opened, text, **options)
    if as_json:
        shared.print_json(results.as_json())
        return
    console = shared.console()
    console.print(_table(results))
    if results.readouts:
        console.print(_tokens(results))
    for sentence in (
        *similarity_text(results),
        *group_text(results),
        *readout_text(results),
        *transfer_text(results),
        *results.notes,
    ):
        console.print(sentence)
    if output is not None:
        main = [str(path) for path in written if path.parent == output]
        console.print(f"Written: {', '.join(main)}, {output / 'figures'}/")


def _table(results: "VectorResults") -> Table:
    from langsteer.look.grid import size_form

    title = f"{results.model.get('name')}, layer {results.layer}, towards {results.pivot_name}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for name in ("language", "family"):
        table.add_column(name)
    for name in ("length", "relative", "most alike"):
        table.add_column(name, justify="right")
    for place, record in enumerate(results.vectors):
        relative = "–" if record.relative != record.relative else f"{record.relative:.1%}"
        row = [
            f"{record.name} ({record.language})",
            record.branch or "–",
            f"{record.length:{size_form(record.length)}}",
        ]
        row += [relative, _most_alike(results, place)]
        table.add_row(*row)
    return table


def _tokens(results: "VectorResults") -> Table:
    from langsteer.text.languages import language_name

    table = Table(title="The tokens that each speaks", title_justify="left", box=box.SIMPLE)
    for name in ("language", "for", "against"):
        table.add_column(name)
    for tag, readout in results.readouts.items():
        ways = (" ".join(repr(token.text or token.id) for token in way[:_TOKENS])
                for way in (readout.up, readout.down))  # fmt: skip
        table.add_row(language_name(tag), *map(Text, ways))
    return table


def _most_alike(results: "VectorResults", place: int) -> str:
    others = [i for i in range(len(results.vectors)) if i != place]
    if not others:
        return "–"
    cosine = results.similarity.cosine[place]
    best = max(others, key=cosine.__getitem__)
    return f"{results.vectors[best].language} {cosine[best]:.2f}"
