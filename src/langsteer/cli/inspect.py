"""langsteer inspect"""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from langsteer.cli import options as shared
from langsteer.cli.searches import signed

if TYPE_CHECKING:
    from langsteer.steering.change import Change


def command(
    file: Annotated[Path, typer.Argument(help="A vector file.")],
    model: Annotated[str | None, shared.model("Also check that it fits this model.")] = None,
    as_json: shared.Json = False,
) -> None:
    """Say what a vector file is.

    Example: `langsteer inspect sw.safetensors`
    """
    from langsteer.steering.folder import load

    vector = load(file)
    if model is not None:
        vector.check_fits(shared.open_model(model, "auto", None, None))
    if as_json:
        shared.print_json({"file": str(file), **vector.describe()})
    else:
        print_vector(vector, str(file))


def print_vector(vector: "Change", name: str) -> None:
    from langsteer.text.languages import language_name

    table = Table(title=name, show_header=False, title_justify="left")
    names = f"{language_name(vector.language)} ({vector.language})"
    table.add_row("language", f"{names} → {language_name(vector.pivot)} ({vector.pivot})")
    table.add_row("model", str(vector.model.get("name")))
    if "carried_from" in vector.model:
        table.add_row("carried from", str(vector.model["carried_from"].get("name")))
    layers = vector.model.get("fingerprint", {}).get("layers")
    for parts in _alike(vector.used_parts):
        if len(vector.parts) > 1:
            table.add_row("part", parts[0].method)
        of_all = f" of {layers}" if layers else ""
        there = ", ".join(str(layer) for part in parts for layer in part.layers)
        table.add_row("layer", f"{there}{of_all}" if there else "none: it acts on logits")
        table.add_row("strength", _strength(parts))
        table.add_row("positions", str(parts[0].positions))
    objective = vector.options.get("objective")
    table.add_row("method", f"{vector.method}, {objective}" if objective else vector.method)
    if vector.serves:
        table.add_row("serves", vector.serves)
    corpus = vector.corpus
    table.add_row("fitted on", f"{corpus.get('lines')} pairs of {corpus.get('name')}")
    if "divergence" in vector.scores:
        before, after = vector.scores["divergence_unsteered"], vector.scores["divergence"]
        told = f"{before:.3g} → {after:.3g} nats, held out"
        table.add_row(f"divergence from {language_name(vector.pivot)}", told)
        if (measured := _measured_on(vector)) != vector.positions:
            table.add_row("", f"measured on the positions {measured}")
    if loss := getattr(vector, "loss", ()):
        table.add_row("loss", " → ".join(f"{value:.3f}" for value in loss))
    for row in _searched(vector):
        table.add_row(*row)
    table.add_row("langsteer", vector.version)
    shared.console().print(table)


def _searched(vector: "Change") -> list[tuple[str, str]]:
    """What a search says of a change that it has written."""
    told = vector.scores.get("search")
    if not isinstance(told, dict):
        return []
    unit, better = told.get("unit"), bool(told.get("better_than_nothing"))
    rows = [("searched on", f"{told.get('task')}, reported on {_asked(told)}")]
    if "gain" in told:
        rows.append(("gain there", _gain(told["gain"], unit, better)))
    if isinstance(changes := told.get("changes"), dict):  # of answers in the language
        rows.append(("answers in it", _gain(changes.get("right"), "points", better)))
    if together := told.get("gain_of_languages_together"):
        rows.append(("gain of languages together", _gain(together, unit, True)))
    return rows


def _asked(told: Mapping[str, Any]) -> str:
    if "report_items" in told:
        return f"{told['report_items']} items"
    prompts = f" of {told['prompts']}" if told.get("prompts") else ""
    return f"{told.get('report_lines')} lines{prompts}"


def _gain(told: Any, unit: object, better: bool) -> str:
    from langsteer.evaluation.statistics import Interval

    try:
        interval = signed(Interval(*(float(told[end]) for end in ("value", "low", "high"))))
    except (KeyError, TypeError, ValueError):
        return "unknown"
    return f"{interval} {unit}: {'' if better else 'not '}better than nothing by more than chance"


def _alike(parts: "Sequence[Change]") -> "list[list[Change]]":
    """Parts one after another that are the same but for their layer and their numbers."""
    groups = itertools.groupby(
        parts, key=lambda part: (part.kind.name, part.method, part.strength, part.positions)
    )
    return [list(group) for _, group in groups]


def _strength(parts: "Sequence[Change]") -> str:
    shares = [part.relative_strength for part in parts]
    least, most = (f"{share:.1%}" for share in (min(shares), max(shares)))
    known = least if least == most else f"{least} to {most}"
    known = f" ({known} of the states)" if not math.isnan(sum(shares)) else ""
    return f"{parts[0].strength:g}{known}"


def _measured_on(vector: "Change") -> str | None:
    """The positions that it had when its divergence was measured: an export may have other ones."""
    return vector.options.get("exported", {}).get("positions", vector.positions)
