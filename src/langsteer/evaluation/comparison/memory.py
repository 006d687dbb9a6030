"""The most memory that something took."""

import threading
from contextlib import AbstractContextManager

import torch

from langsteer.extras import need
from langsteer.model.model import Model

SAMPLING = 0.05  # seconds between two looks at the memory


class PeakMemory(AbstractContextManager["PeakMemory"]):
    """The most memory in use inside, in bytes: of the GPU where the model is on one."""

    def __init__(self, model: Model) -> None:
        self.device = model.device
        self.bytes = 0

    def __enter__(self) -> "PeakMemory":
        self.bytes = 0
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            return self
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self.device)
            return
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        process = need("psutil", "eval", "a comparison").Process()
        while True:
            self.bytes = max(self.bytes, process.memory_info().rss)
            if self._over.wait(SAMPLING):
                return
