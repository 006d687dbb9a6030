"""What `langsteer fit` does and prints without `--for`: it learns, and tells what was chosen."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from langsteer.cli import options as shared
from langsteer.cli.inspect import print_vector
from langsteer.cli.working import learn_there
from langsteer.errors import SaveError

if TYPE_CHECKING:
    from langsteer.scale.units import Workers
    from langsteer.steering.change import Change
    from langsteer.text.corpus import ParallelCorpus

FEW = 100  # pairs


def learn_and_print(
    place: Mapping[str, Any],
    text: "ParallelCorpus",
    method: str,
    files: Mapping[str, Path],
    options: Mapping[str, Any],
    *,
    output: str,
    router: bool,
    workers: "Callable[[], Workers] | None",
    gpus: float,
    as_json: bool,
) -> None:
    """Learn each language in this process, or where `workers` are; what cannot be is said before a model is opened.

    `place` says which model, and how it is opened; `method` may be a recipe; with `router`, one is made too.
    """
    from langsteer.cli.refusals import check_asked, check_router
    from langsteer.fitting.learning import learn_all, method_of
    from langsteer.fitting.router import fit_router
    from langsteer.fitting.search import check_strengths
    from langsteer.steering.files import ROUTER_NAME

    fitting = method_of(method)
    check_strengths(options["strengths"] or [1.0])
    if router and not Path(output).is_dir() and not output.endswith("/"):
        raise SaveError(f"a router lies in a folder of vectors: write --output {output}/")
    router_file = Path(output) / ROUTER_NAME if router else None
    if router_file is not None:
        check_router(router_file, options["overwrite"])
    failed = 0
    if workers is not None:
        learned, failed = learn_there(
            workers, place, gpus, text, files, method, router_file, options
        )
    else:
        check_asked(place["name"], text, fitting, files, options)
        model = shared.open_model(**place)
        learned = learn_all(model, text, method, files=files, **options)
        if router_file is not None:
            fit_router(model, text.texts, text.pivot).save(router_file)
    if learned:
        _print_learned(learned, files, text, output, options["together"], as_json)
    if failed:
        raise typer.Exit(1)


def _print_learned(
    learned: "Mapping[str, Change]",
    files: Mapping[str, Path],
    text: "ParallelCorpus",
    output: str,
    together: bool,
    as_json: bool,
) -> None:
    if as_json:
        told = [{"file": str(files[tag]), **learned[tag].describe()} for tag in learned]
        shared.print_json(told if len(told) > 1 else told[0])
        return
    if len(learned) == 1:
        ((tag, vector),) = learned.items()
        print_vector(vector, str(files[tag]))
    else:
        shared.console().print(_table(learned, output))
    _print_unhelpful(learned)
    tag, first = next(iter(learned.items()))
    if first.options.get("objective") == "centred" and not together and len(text) < FEW:
        _print_few(len(text), tag, files[tag])


def _print_few(lines: int, tag: str, file: Path) -> None:
    typer.echo(
        f"{lines} pairs are few: with vectors of other languages beside it, {tag}'s does better: "
        f"langsteer average FOLDER -l {tag} --own {file} -o {tag}-helped.safetensors",
        err=True,
    )


def _table(vectors: "Mapping[str, Change]", folder: str) -> Table:
    from langsteer.text.languages import language_name

    any_vector = next(iter(vectors.values()))
    title = f"{folder}: {any_vector.method}, {any_vector.model.get('name')}"
    table = Table(title=title, title_justify="left")
    for name in ("language", "layer", "strength", "of the states", "divergence from English"):
        table.add_column(name, justify="left" if name == "language" else "right")
    for tag, vector in vectors.items():
        before, after = vector.scores.get("divergence_unsteered"), vector.scores.get("divergence")
        table.add_row(
            f"{language_name(tag)} ({tag})",
            ", ".join(map(str, vector.layers)) or "–",
            f"{vector.strength:g}",
            _percent(vector.relative_strength),
            "–" if before is None or after is None else f"{before:.3f} → {after:.3f}",
        )
    return table


def _percent(share: float) -> str:
    return f"{share:.1%}" if share == share else "–"


def _print_unhelpful(vectors: "Mapping[str, Change]") -> None:
    worse = [
        tag
        for tag, vector in vectors.items()
        if vector.scores.get("divergence", 0) >= vector.scores.get("divergence_unsteered", 1)
    ]
    if worse:
        typer.echo(
            f"Steering did not bring {', '.join(worse)} nearer to how the model reads English on "
            "the pairs held out, where what it says after any text counts too: measure what you need "
            "it for, or try more text, another layer or another method.",
            err=True,
        )
