"""One measurement, in a process of its own: a peer's memory and operations, and by turns with langsteer its time.

    python -m benchmarks.peers.unit PART PEER ROUNDS

Prints what came of it as a line of JSON.
"""

import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from torch.utils.flop_counter import FlopCounterMode

import langsteer
from benchmarks.common import paired
from benchmarks.peers.part import OURS, Case, Outcome, Part, Peer
from benchmarks.peers.parts import PARTS
from langsteer.model.model import Model
from langsteer.progress import show_progress

MODEL = "gemma-3-270m"
SIGNIFICANT = 4


def measure(model: Model, part: Part, name: str, rounds: int) -> dict[str, Any]:
    """The peer's peak memory first, in a process that has done nothing else; then the rest.

    `times` is the peer's processor time over langsteer's, with its interval, and `seconds` what both
    took; `operations` are theirs and ours. Of langsteer itself, the memory alone.
    """
    peer = Peer("", part.ours) if name == OURS else part.peers[name]
    run, own = peer.run, peer.ours or part.ours
    if run is None:
        return {"cannot": peer.cannot}
    case = part.make(model, part.settings | part.memory)
    with FlopCounterMode(display=False) as counter:
        told: dict[str, Any] = peak_memory(model, lambda: run(case))
    if name == OURS:
        return told
    if part.memory:
        case = part.make(model, part.settings)
    told["operations"] = operations(part, model, name, int(counter.get_total_flops()), case, own)
    outcomes: dict[str, Outcome] = {}

    def keep(who: str, work: Callable[[Case], Outcome]) -> None:
        outcomes[who] = work(case)

    rounds = peer.rounds or rounds
    ratio = paired(
        lambda: keep(name, run), lambda: keep(OURS, own), rounds, warm=0, clock=time.process_time
    )
    return told | {
        "times": [rounded(x) for x in (ratio.median, ratio.low, ratio.high)],
        "seconds": [rounded(ratio.first_seconds), rounded(ratio.second_seconds)],
        "rounds": rounds,
        "same": part.compare(outcomes[name], outcomes[OURS]),
    }


def operations(
    part: Part, model: Model, name: str, theirs: int, case: Case, own: Callable[[Case], Outcome]
) -> list[int]:
    """Floating-point operations, theirs (which were counted) and ours; of a larger case, where the part tells them."""
    if part.operations is not None:
        whole = part.make(model, part.settings | part.counted)
        return [part.operations(whole, who) for who in (name, OURS)]
    with FlopCounterMode(display=False) as counter:
        own(case)
    return [theirs, int(counter.get_total_flops())]


def peak_memory(model: Model, run: Callable[[], object]) -> dict[str, float]:
    """Megabytes that the process holds once the model is loaded, and at the most while running."""
    for parameter in model.network.parameters():  # a mapped file is in memory once it is read
        parameter.sum()
    loaded = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    run()
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if "VmHWM" in line)
    return {"loaded_mb": loaded >> 20, "peak_mb": peak >> 20, "memory": rounded(peak / loaded)}


def rounded(number: float) -> float:
    return float(f"{number:.{SIGNIFICANT}g}")


def main() -> None:
    title, name, rounds = sys.argv[1:]
    logging.disable(logging.WARNING)
    show_progress(False)
    torch.set_num_threads(1)
    told = measure(langsteer.load_model(MODEL), PARTS[title], name, int(rounds))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
