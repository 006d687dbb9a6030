"""Is what stands there made of the same as what is asked for now?

What a thing is made from is a record of plain values, kept in a JSON file beside it or in it. It is compared
as JSON gives it back, so that a path is its text and a tuple a list.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from langsteer.errors import LangsteerError
from langsteer.storage.files import write_json
from langsteer.storage.parsed import parse_json

T = TypeVar("T")


@dataclass(frozen=True)
class Difference:
    """A key of what is asked for, its value there, and its value in what was made (None: none)."""

    key: str
    wanted: Any
    made: Any


def as_kept(about: Mapping[str, Any]) -> dict[str, Any]:
    """A record as its file gives it back; what JSON does not have is its text."""
    plain: dict[str, Any] = json.loads(json.dumps(about, default=str))
    return plain


def first_difference(wanted: Mapping[str, Any], made: Any) -> Difference | None:
    """The first key of `wanted` that `made` has otherwise; None where it has them all alike.

    A key that `made` lacks is None there. Keys of `made` alone do not count: a record may say more
    than what a thing was made from.
    """
    record = made if isinstance(made, Mapping) else {}
    for key, value in as_kept(wanted).items():
        if record.get(key) != value:
            return Difference(key, value, record.get(key))
    return None


def is_same(wanted: Mapping[str, Any], made: Any) -> bool:
    """Whether two records are the same, with the same keys."""
    return bool(as_kept(wanted) == made)


def read_record(path: str | Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is no file, or it is damaged."""
    try:
        record = parse_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def kept(
    path: Path,
    about: Mapping[str, Any],
    load: Callable[[Path], T],
    make: Callable[[], T],
    measured: Callable[[], float] | None = None,
) -> tuple[T, float]:
    """What stands at `path`, where it was made from the same things, or else made and recorded.

    `about` is what it is made from; `make` writes `path`, and is timed. Beside it a JSON file
    keeps `about` and the seconds that it took, which are returned too; `measured` gives them
    where they are not those of `make` alone.
    """
    place = path.parent / f"{path.name}.json"
    record = read_record(place)
    if is_same(about, record.get("about")):
        try:
            return load(path), float(record["seconds"])
        except (LangsteerError, OSError, KeyError, ValueError, TypeError):
            pass  # damaged or gone: it is made again
    started = time.perf_counter()
    made = make()
    seconds = round(measured() if measured is not None else time.perf_counter() - started, 3)
    write_json(place, {"about": as_kept(about), "seconds": seconds})
    return made, seconds
