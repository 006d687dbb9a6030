"""The requests that a worker runs, and where the compiled model reads what is added in a step."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from langsteer.engines.vllm.catalogue import Tables
from langsteer.engines.vllm.steering import read_steering
from langsteer.engines.vllm.steps import Array, Slots
from langsteer.engines.vllm.word import KEY

STAGES = 2  # a step is written while the one before is still being copied


class Running:
    """Requests by name, each with its slot, and the step's rows and scales on the device.

    `tables` are those that blocks here read, by layer, each [rows, hidden].
    """

    def __init__(self, catalogue: Tables, width: int, device: torch.device) -> None:
        self.catalogue = catalogue
        self.tables: dict[int, Tensor] = {}
        self.buffers = Buffers(width, device)
        self._slots = Slots(catalogue.places)
        self._slot: dict[str, int] = {}

    def start(self, name: str, extra: Mapping[str, Any] | None) -> int:
        """Take a request up, with what travels with it; its slot."""
        self.end(name)
        self._slot[name] = self._slots.put(read_steering((extra or {}).get(KEY), self.catalogue))
        return self._slot[name]

    def end(self, name: str) -> None:
        self._slots.free(self._slot.pop(name, 0))

    def slots_of(self, names: Sequence[str]) -> Array:
        return np.fromiter((self._slot.get(name, 0) for name in names), np.int64, len(names))

    def write(self, slots: Array, starts: Array, counts: Array) -> None:
        """Write a step: arguments as of `Slots.fill`."""
        self.buffers.write(self._slots, slots, starts, counts)


class Buffers:
    """`index` and `scale` [tokens] on the device, at one address for as long as the engine runs."""

    def __init__(self, width: int, device: torch.device) -> None:
        self.index = torch.zeros(width, dtype=torch.int32, device=device)
        self.scale = torch.zeros(width, dtype=torch.float32, device=device)
        self._stages = [_Stage(width, device) for _ in range(STAGES)]
        self._used = 0  # tokens that the last step may have left steered

    def write(self, slots: Slots, steering: Array, starts: Array, counts: Array) -> None:
        stage = self._stages[0]
        stage.wait()
        total = slots.fill(steering, starts, counts, stage.index.numpy(), stage.scale.numpy())
        width = max(total, self._used)
        if not width:
            return
        stage.index[total:width] = 0
        self.index[:width].copy_(stage.index[:width], non_blocking=True)
        self.scale[:total].copy_(stage.scale[:total], non_blocking=True)
        stage.mark()
        self._stages.reverse()
        self._used = total


class _Stage:
    """Rows and scales of a step in memory that a device copies from while the processor goes on."""

    def __init__(self, width: int, device: torch.device) -> None:
        pinned = device.type == "cuda"
        self.index = torch.zeros(width, dtype=torch.int32, pin_memory=pinned)
        self.scale = torch.zeros(width, dtype=torch.float32, pin_memory=pinned)
        self._copied = torch.cuda.Event() if pinned else None

    def wait(self) -> None:
        """Until what was written has been copied."""
        if self._copied is not None:
            self._copied.synchronize()

    def mark(self) -> None:
        if self._copied is not None:
            self._copied.record()
