"""langsteer diagnose"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from langsteer.cli import options as shared
from langsteer.cli.searches import signed

if TYPE_CHECKING:
    from langsteer.diagnosis.diagnose import Diagnosis
    from langsteer.evaluation.statistics import Interval

ITEMS, EFFECT = 200, 5.0  # asked; points looked for


def command(
    on: Annotated[
        str, shared.task("--on", "A benchmark, or a file of JSON lines with one's own items.")
    ],
    language: Annotated[str, shared.language("BCP 47 tag of the items, such as sw.")],
    model_argument: shared.OldModelArgument = None,
    model: shared.ModelName = shared.DEFAULT_MODEL,
    data: Annotated[
        Path | None, shared.data("Folder with the data sets as published; else the hub.")
    ] = None,
    english: shared.EnglishItems = None,
    form: Annotated[
        str | None, shared.one_of(lambda: shared.FORMS, "--form", help="Form of the prompt.")
    ] = None,
    limit: Annotated[int, shared.limit(least=2)] = ITEMS,
    effect: Annotated[
        float, typer.Option("--effect", min=0.1, max=100, help="The points that are looked for.")
    ] = EFFECT,
    scoring: shared.Score = "auto",
    overwrite: shared.Overwrite = False,
    output: Annotated[
        Path | None, shared.output("Write what was found as JSON, too.", "<file>")
    ] = None,
    dtype: shared.Dtype = "auto",
    device: shared.Device = None,
    device_map: shared.DeviceMap = None,
    benchmarks: shared.Benchmarks = None,
    as_json: shared.Json = False,
) -> None:
    """Say where the gap of a task lies, and what steering could win back, before anything is fitted.

    Asks the items in the language and in English, answered in the one and in the other, and tries what an
    offset, a linear map and a vector learned from labels could do at each layer.

    Example: `langsteer diagnose -l id --on bmlama53 --data data/`

    Your own items: `langsteer diagnose -l id --on items.jsonl --english items.en.jsonl -m google/gemma-3-1b-pt`
    """
    from langsteer.diagnosis.diagnose import diagnose
    from langsteer.diagnosis.task import read_task
    from langsteer.storage.files import check_replaceable

    name = shared.named_model(model, model_argument)
    if output is not None:
        check_replaceable(output, lambda path: _other(path, name, on, language), overwrite)
    task = read_task(
        on, language, english=english, data=data, form=form, benchmark_files=benchmarks or ()
    )
    opened = shared.open_model(name, dtype, device, device_map)
    diagnosis = diagnose(opened, task, limit=limit, effect=effect, scoring=scoring)  # type: ignore[arg-type]
    if output is not None:
        diagnosis.write(output)
    if as_json:
        shared.print_json(diagnosis.as_json())
        return
    console = shared.console()
    console.print(_corners(diagnosis))
    if diagnosis.corners.note:
        console.print(diagnosis.corners.note)
    if diagnosis.reaches.slopes:
        console.print(_layers(diagnosis))
    if diagnosis.reaches.exact:
        console.print(_exact(diagnosis))
    console.print(f"\n{diagnosis.verdict}")


def _other(path: Path, model: str, on: str, language: str) -> str | None:
    """What a file is, where it is not a diagnosis of the same model, items and language."""
    from langsteer.diagnosis.diagnose import is_diagnosis
    from langsteer.storage.kept import read_record
    from langsteer.text.languages import parse_tag

    if not is_diagnosis(path):
        return "is no diagnosis"
    made = [read_record(path).get(key) for key in ("model", "source", "language")]
    if made in [[model, source, parse_tag(language)] for source in (on, str(Path(on)))]:
        return None
    return "is the diagnosis of {} on {} ({})".format(*made)


def _corners(diagnosis: "Diagnosis") -> Table:
    kind = "accuracy" if diagnosis.unit == "points" else "log-likelihood of the reference, nats"
    kind = f"batch-calibrated {kind}" if diagnosis.calibrated else kind
    chance = f", chance {diagnosis.chance:.1f}" if diagnosis.unit == "points" else ""
    title = f"{diagnosis.source} ({diagnosis.language}), {diagnosis.corners.items} items: {kind}{chance}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for name in ("prompt in", "answers in"):
        table.add_column(name)
    table.add_column("[95%]", justify="right", no_wrap=True)
    for corner in diagnosis.corners.corners:
        names = [f"the {n}" if n == "language" else n for n in (corner.prompt, corner.answers)]
        table.add_row(*names, _level(corner.value))
    parts = ("gap", "reading", "answering", "both")
    told = ("the gap to English", "of it in reading", "in answering", "in neither alone")
    for part, words in zip(parts, told, strict=True):
        interval = getattr(diagnosis.corners, part)
        if interval is not None:
            table.add_row(words, "", signed(interval))
    return table


def _layers(diagnosis: "Diagnosis") -> Table:
    """First-order gains at each layer, at the positions where they are largest."""
    title = (
        f"To the first order, by layer: nats an item ({diagnosis.reaches.pairs or 'labels alone'})"
    )
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    table.add_column("layer", justify="right")
    kinds = list(dict.fromkeys(slope.means for slope in diagnosis.reaches.slopes))
    for kind in kinds:
        table.add_column(_NAMES[kind], justify="right")
    layers = sorted({slope.layer for slope in diagnosis.reaches.slopes})
    for layer in layers:
        row = []
        for kind in kinds:
            own = [s for s in diagnosis.reaches.slopes if (s.means, s.layer) == (kind, layer)]
            best = max(own, key=lambda s: s.nats)
            row.append(f"{best.nats:+.2f} {best.positions}")
        table.add_row(str(layer), *row)
    return table


_NAMES = {"offset": "offset", "map": "linear map", "labels": "from labels"}


def _exact(diagnosis: "Diagnosis") -> Table:
    title = "Run exactly, each on items that it was not learned from"
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for name in ("", "layer", "positions", "strength"):
        table.add_column(name, justify="left" if name in ("", "positions") else "right")
    table.add_column(f"gain, {diagnosis.unit} [95%]", justify="right", no_wrap=True)
    for reach in diagnosis.reaches.exact:
        table.add_row(
            _NAMES[reach.means],
            str(reach.layer),
            reach.positions,
            f"{reach.strength:g}",
            signed(reach.gain),
        )
    return table


def _level(interval: "Interval") -> str:
    return f"{interval.value:.1f} [{interval.low:.1f}, {interval.high:.1f}]"
