"""How soon the first result of a comparison is there: `direct` of the first language, against `direct` alone.

    python -m benchmarks.first_result --rounds 5

Each round starts `langsteer compare` twice, by turns: once with one language and `direct` alone, once with four
languages and the methods that are fitted too. A clock runs until the cell of `direct` in the first language is
on the disk; then the command is stopped. Opening the model is in both times.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from benchmarks.common import SHARED, report
from langsteer.evaluation.statistics import Array, paired_bootstrap

LANGUAGES = ["sw", "el", "hi", "et"]
METHODS = ["direct", "english", "few_shot", "mean_difference", "projection", "learned"]
WAIT = 0.02  # seconds


def seconds_to_direct(languages: list[str], methods: list[str], limit: int) -> float:
    """From the start of the command to the first cell of `direct`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = {
            "models": ["gemma-3-270m"],
            "benchmarks": ["sib200"],
            "languages": languages,
            "methods": methods,
            "limit": limit,
            "corpus": {"path": str(SHARED / "ntrex"), "lines": 400},
            "data": str(SHARED),
            "output": str(folder / "comparison"),
        }
        configuration = folder / "comparison.yaml"
        configuration.write_text(yaml.safe_dump(settings))
        command = [sys.executable, "-m", "langsteer", "compare", str(configuration)]
        started = time.perf_counter()
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                while not any(folder.glob(f"comparison/cells/*/sib200/{languages[0]}/direct.json")):
                    if process.poll() is not None and process.returncode:
                        raise RuntimeError(process.stderr.read() if process.stderr else "")
                    time.sleep(WAIT)
                return time.perf_counter() - started
            finally:
                process.kill()


def ratio(alone: Array, among: Array) -> Array:
    return np.asarray(among.mean(-1) / alone.mean(-1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=int, default=100, help="items")
    chosen = parser.parse_args()
    alone: list[float] = []
    among: list[float] = []
    for number in range(chosen.rounds):
        order = [
            (alone, (LANGUAGES[:1], ["direct"])),
            (among, (LANGUAGES, METHODS)),
        ]
        for kept, (languages, methods) in order[:: 1 if number % 2 else -1]:
            kept.append(seconds_to_direct(languages, methods, chosen.limit))
            print(f"{languages} {methods}: {kept[-1]:.1f} s", flush=True)
    report(
        "first_result",
        {
            "limit": chosen.limit,
            "seconds": {"alone": alone, "among others": among},
            "ratio": paired_bootstrap(ratio, np.array(alone), np.array(among)),
        },
    )


if __name__ == "__main__":
    main()
