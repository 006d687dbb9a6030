import mmap

import torch

from langsteer.evaluation.comparison.memory import PeakMemory
from langsteer.model.model import Model

SIZE = 64 * 2**20


def test_the_most_memory_inside_is_told_and_not_what_was_there_before(llama: Model) -> None:
    peak = PeakMemory(llama)
    with peak:
        torch.zeros(1).numpy()
    small = peak.bytes
    assert small > 0
    filling = b"x" * SIZE
    with peak:
        held = mmap.mmap(-1, SIZE)  # from the system: the process may have freed as much before
        held.write(filling)
        peak._over.wait(0.3)  # for a look at the memory
    assert peak.bytes - small > SIZE // 2
    assert held[-1] == filling[-1]
    with peak:
        pass
    assert peak.bytes > 0
