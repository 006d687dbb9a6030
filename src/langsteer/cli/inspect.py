"""langsteer inspect"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from langsteer.cli import options as shared

if TYPE_CHECKING:
    from langsteer.steering.vector import SteeringVector

SERVES = {
    "centred": "questions about a text, answered in {} or by choosing",
    "translation": "translating a text into {}",
}


def command(
    file: Annotated[Path, typer.Argument(help="A vector file.")],
    model: Annotated[str | None, shared.model("Also check that it fits this model.")] = None,
    as_json: shared.Json = False,
) -> None:
    """Say what a vector file is.

    Example: `langsteer inspect sw.safetensors`
    """
    from langsteer.steering.vector import SteeringVector

    vector = SteeringVector.load(file)
    if model is not None:
        vector.check_fits(shared.open_model(model, "auto", None, None))
    if as_json:
        shared.print_json({"file": str(file), **describe(vector)})
    else:
        print_vector(vector, str(file))


def describe(vector: "SteeringVector") -> dict[str, Any]:
    """Everything a vector knows about itself but its numbers."""
    return {
        "language": vector.language,
        "pivot": vector.pivot,
        "model": vector.model,
        "layer": vector.layer,
        "hidden_size": vector.values.shape[0],
        "strength": vector.strength,
        "relative_strength": vector.relative_strength,
        "positions": vector.positions,
        "method": vector.method,
        "options": vector.options,
        "corpus": vector.corpus,
        "scores": vector.scores,
        "loss": list(vector.loss),
        "version": vector.version,
    }


def print_vector(vector: "SteeringVector", name: str) -> None:
    from langsteer.text.languages import language_name

    table = Table(title=name, show_header=False, title_justify="left")
    names = f"{language_name(vector.language)} ({vector.language})"
    table.add_row("language", f"{names} → {language_name(vector.pivot)} ({vector.pivot})")
    table.add_row("model", str(vector.model.get("name")))
    if "carried_from" in vector.model:
        table.add_row("carried from", str(vector.model["carried_from"].get("name")))
    table.add_row("layer", f"{vector.layer} of {vector.model.get('fingerprint', {}).get('layers')}")
    table.add_row("strength", f"{vector.strength:g} ({vector.relative_strength:.1%} of the states)")
    table.add_row("positions", vector.positions)
    objective = vector.options.get("objective")
    table.add_row("method", f"{vector.method}, {objective}" if objective else vector.method)
    if objective in SERVES:
        table.add_row("serves", SERVES[objective].format(language_name(vector.pivot)))
    corpus = vector.corpus
    table.add_row("fitted on", f"{corpus.get('lines')} pairs of {corpus.get('name')}")
    if "divergence" in vector.scores:
        before, after = vector.scores["divergence_unsteered"], vector.scores["divergence"]
        table.add_row("divergence from English", f"{before:.3f} → {after:.3f} nats, held out")
    if vector.loss:
        table.add_row("loss", " → ".join(f"{loss:.3f}" for loss in vector.loss))
    table.add_row("langsteer", vector.version)
    shared.console().print(table)
