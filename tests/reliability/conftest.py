"""What is tried many times: twice in the ordinary tests, as often as LANGSTEER_TRIALS says in a long run."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.made.tally import Tally
from tests.made.workload import lay_out
from tests.made.zygote import Zygote

TRIALS = int(os.environ.get("LANGSTEER_TRIALS", "2"))
TALLY = os.environ.get("LANGSTEER_TALLY")


@pytest.fixture(scope="session")
def trials() -> int:
    return TRIALS


@pytest.fixture(scope="session")
def tally() -> Tally:
    """Writes how often what was tried, a line of JSON each, where LANGSTEER_TALLY names a file."""

    def write(**numbers: object) -> None:
        if TALLY:
            with Path(TALLY).open("a", encoding="utf-8") as file:
                file.write(json.dumps(numbers) + "\n")

    return write


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    process = Zygote()
    yield process
    process.close()


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """A folder in which every piece of work can be done."""
    return lay_out(tmp_path)
