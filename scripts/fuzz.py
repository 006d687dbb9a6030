"""Whether any bytes make a reader raise what is none of langsteer's errors, or take too long.

    python scripts/fuzz.py                        every kind of file, a minute each
    python scripts/fuzz.py vector router -m 5     kinds whose names hold a word, five minutes each

Guided by what code the bytes reach where atheris is installed (pip install atheris); else by chance. What is found
is kept in tests/reliability/seeds, where the tests read it again. Ends with status 1 where something is.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import io
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LONGEST = 1 << 16  # bytes of a file
SLOWEST = 20.0  # seconds that reading one may take
DAMAGED = 0.5  # of all changes, by ways in which files come out wrong; else by atheris


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("kinds", nargs="*")
    parser.add_argument("-m", "--minutes", type=float, default=1.0)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if chosen.alone:
        return one(chosen.kinds[0], 60 * chosen.minutes)
    from tests.made.kinds import KINDS

    names = [k.name for k in KINDS if not chosen.kinds or any(w in k.name for w in chosen.kinds)]
    command = [sys.executable, __file__, "--alone", "-m", str(chosen.minutes)]
    failed = [name for name in names if subprocess.run([*command, name], check=False).returncode]
    print(
        f"{len(names)} kinds, {len(failed)} with findings{': ' * bool(failed)}{', '.join(failed)}"
    )
    return 1 if failed or not names else 0


def one(name: str, seconds: float) -> int:
    """Try one kind of file for so long."""
    guided = importlib.util.find_spec("atheris") is not None
    with instrumented() if guided else contextlib.nullcontext():
        from tests.made.damage import DAMAGES
        from tests.made.kinds import KINDS

    kind = next(kind for kind in KINDS if kind.name == name)
    quiet()
    folder = Path(tempfile.mkdtemp())
    path = kind.lay_out(folder)
    whole = path.read_bytes()
    tried = Tried(kind, path)

    def damaged(data: bytes, seed: int) -> bytes:
        chance = random.Random(seed)
        for _ in range(chance.choice((1, 1, 2, 4))):
            data = chance.choice(DAMAGES)(data or whole, chance)
        return data[:LONGEST]

    print(f"{name}: {'guided' if guided else 'by chance'}, {seconds:.0f} s", flush=True)
    if guided:
        follow(tried, whole, damaged, folder, seconds)  # does not come back
    until, seed = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        tried(damaged(whole, seed))
        seed += 1
    return tried.told()


class Tried:
    """Reads bytes as a file of a kind, and keeps those that go wrong."""

    def __init__(self, kind: Any, path: Path) -> None:
        self.kind, self.path = kind, path
        self.count, self.seen = 0, set[str]()

    def __call__(self, data: bytes) -> None:
        from langsteer.errors import LangsteerError

        self.count += 1
        self.path.write_bytes(data)
        started = time.monotonic()
        try:
            with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
                warnings.simplefilter("ignore")
                self.kind.read(self.path)
        except LangsteerError as error:
            if not str(error).strip():
                self.keep(data, "an error without words")
        except Exception as error:
            last = error.__traceback__
            while last is not None and last.tb_next is not None:
                last = last.tb_next
            place = f"{last.tb_frame.f_code.co_name}:{last.tb_lineno}" if last else ""
            self.keep(data, f"{type(error).__name__} in {place}: {str(error)[:200]}")
        if time.monotonic() - started > SLOWEST:
            self.keep(data, f"{time.monotonic() - started:.0f} seconds")

    def keep(self, data: bytes, reason: str) -> None:
        """One file of each reason."""
        if reason.partition(":")[0] in self.seen:
            return
        self.seen.add(reason.partition(":")[0])
        from tests.made.kinds import SEEDS

        place = SEEDS / self.kind.slug / hashlib.sha256(data).hexdigest()[:12]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        print(f"{self.kind.name}: {reason} ({place.relative_to(ROOT)})", flush=True)

    def told(self) -> int:
        print(f"{self.kind.name}: {self.count} files tried, {len(self.seen)} findings", flush=True)
        return 1 if self.seen else 0


def follow(
    tried: Tried, whole: bytes, damaged: Callable[[bytes, int], bytes], folder: Path, seconds: float
) -> None:
    """Try what reaches new code, from the whole file on, for so long; then end this process."""
    import atheris

    def other(data: bytes, most: int, seed: int) -> bytes:
        if random.Random(seed).random() < DAMAGED:
            return damaged(data, seed)[:most]
        return bytes(atheris.Mutate(data, most))

    corpus = folder / "corpus"
    corpus.mkdir()
    (corpus / "whole").write_bytes(whole)
    until = time.monotonic() + seconds

    def target(data: bytes) -> None:
        if time.monotonic() > until:
            os._exit(tried.told())
        tried(data)

    options = [
        f"-max_len={LONGEST}",
        "-verbosity=0",
        "-rss_limit_mb=8192",
        f"-timeout={3 * SLOWEST:.0f}",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], target, custom_mutator=other)
    atheris.Fuzz()


def instrumented() -> Any:
    import atheris

    return atheris.instrument_imports(include=["langsteer"])


def quiet() -> None:
    """Let nothing but findings be said."""
    from langsteer.progress import show_progress

    show_progress(False)
    logging.disable(logging.CRITICAL)


if __name__ == "__main__":
    sys.exit(main())
