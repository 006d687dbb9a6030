"""Where the work of a command is done, as its options `--jobs` and `--on` say."""

from collections.abc import Callable
from pathlib import Path

from langsteer.errors import ScaleError
from langsteer.scale.units import Workers

RAY = "ray"


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
