"""Where the work of a command is done, as its options `--jobs` and `--on` say."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langsteer.cli import options as shared
from langsteer.errors import ScaleError
from langsteer.scale.units import Resources, Workers

if TYPE_CHECKING:
    from langsteer.steering.change import Change
    from langsteer.text.corpus import ParallelCorpus

RAY = "ray"
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", "-j", min=1, help="Processes at once, each with a model of its own."),
]
On = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="<where>",
        help="ray, for the cluster that this machine is in, or ray://HOST:10001.",
    ),
]


def shared_workers(folder: Path, jobs: int | None, on: str | None) -> Callable[[], Workers] | None:
    """What opens the processes that work is given to; None where it is done in this one.

    `folder` is where the results go. Raises ScaleError for a place that there is not.
    """
    if on is not None:
        if on != RAY and ":" not in on:
            raise ScaleError(f"--on {on}: work can be done on ray, or on ray://HOST:10001")
        from langsteer.scale.on_ray import RayWorkers

        return lambda: RayWorkers(folder, None if on == RAY else on, jobs)
    if jobs is None or jobs == 1:
        return None
    from langsteer.scale.processes import Processes

    return lambda: Processes(jobs)


def learn_there(
    workers: Callable[[], Workers],
    model: Mapping[str, Any],
    gpus: float,
    text: "ParallelCorpus",
    files: Mapping[str, Path],
    method: str,
    router: Path | None,
    options: Mapping[str, Any],
) -> "tuple[dict[str, Change], int]":
    """Learn each language where `workers` are; the changes that are there now, and how many failed.

    Each is told on standard error as it ends.
    """
    from langsteer.fitting.unit import ModelPlace, learn_shared
    from langsteer.steering.folder import load

    place = ModelPlace(**model, needs=Resources(gpus=gpus))
    count = len(files) + (router is not None)

    def tell(name: str, error: str | None, done: int) -> None:
        outcome = "done" if error is None else f"failed: {error}"
        style = None if error is None else "red"
        shared.console(stderr=True).print(f"[{done}/{count}] {name}: {outcome}", style=style)

    ended = learn_shared(place, text, files, workers, method, router=router, on_end=tell, **options)
    return {tag: load(file) for tag, file in files.items() if tag in ended.written}, len(
        ended.failed
    )
