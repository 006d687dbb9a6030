import gc

import torch

from langsteer.evaluation.comparison.memory import PeakMemory
from langsteer.model.model import Model


def test_the_most_memory_inside_is_told_and_not_what_was_there_before(llama: Model) -> None:
    gc.collect()
    peak = PeakMemory(llama)
    with peak:
        torch.zeros(1).numpy()
    small = peak.bytes
    assert small > 0
    with peak:
        held = torch.ones(256 * 2**20 // 4)
        peak._over.wait(0.3)  # for a look at the memory
    assert peak.bytes - small > 32 * 2**20
    assert held.sum() == 256 * 2**20 // 4
    with peak:
        pass
    assert peak.bytes > 0
