"""Units of work that are quickly done, or die, or fail."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langsteer.errors import SaveError
from langsteer.scale.units import Held, Resources


@dataclass(frozen=True)
class MadeUnit:
    """Sleeps, notes in its folder when it began and ended, and does as `what` says."""

    name: str
    folder: Path
    where: str = "a"
    claims: frozenset[str] = frozenset()
    seconds: float = 0.0
    what: str = ""
    needs: Resources = field(default_factory=Resources)

    def run(self, held: Held) -> Sequence[Any]:
        begun = time.time()
        tries = self.folder / f"{self.name}.tries"
        with tries.open("a") as file:
            file.write(f"{os.getpid()}\n")
        kept = held.get(self.where, lambda: f"{self.where} opened by {os.getpid()} at {begun}")
        time.sleep(self.seconds)
        times = len(tries.read_text().splitlines())
        if self.what == "dies" or (self.what == "dies once" and times == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what == "full":
            raise SaveError(f"cannot write {self.folder}: No space left on device")
        if self.what == "odd":
            raise ZeroDivisionError("odd")
        return [(self.name, os.getpid(), kept, begun, time.time())]


def tries_of(folder: Path, name: str) -> int:
    """How often a unit was begun."""
    return len((folder / f"{name}.tries").read_text().splitlines())
