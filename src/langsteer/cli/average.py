"""langsteer average"""

from pathlib import Path
from typing import Annotated

import typer

from langsteer.cli import options as shared
from langsteer.cli.inspect import print_vector


def command(
    files: Annotated[
        list[Path], typer.Argument(help="Vector files of other languages, or folders of them.")
    ],
    language: Annotated[str, shared.language("The language with little or no parallel text.")],
    output: Annotated[Path, shared.output("The vector's file.", "<file>")],
    own: Annotated[
        Path | None,
        typer.Option(help="The language's own vector, from few pairs: it counts half."),
    ] = None,
    strength: shared.Strength = None,
    overwrite: shared.Overwrite = False,
    as_json: shared.Json = False,
) -> None:
    """Make a vector for a language with little or no parallel text, from those of other languages.

    The mean of the vectors, at the mean of their strengths.

    Example: `langsteer average vectors/ -l am -o am.safetensors`

    With what was learned from 50 pairs: `langsteer average vectors/ -l am --own few.safetensors -o am.safetensors`
    """
    from langsteer.fitting.average import average, check_place
    from langsteer.steering.folder import load_vectors
    from langsteer.steering.vector import SteeringVector

    check_place(output, language, overwrite)
    few = SteeringVector.load(own) if own is not None else None
    vector = average(load_vectors(files), language, few)
    if strength is not None:
        vector = vector.with_strength(strength)
    vector.save(output)
    if as_json:
        shared.print_json({"file": str(output), **vector.describe()})
    else:
        print_vector(vector, str(output))
