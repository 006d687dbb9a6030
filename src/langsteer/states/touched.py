"""Which tokens changes of the hidden states have acted on."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Touched:
    """What has been acted on since a change was applied.

    `everywhere` counts the times that all tokens of a pass were.
    """

    everywhere: int = 0
    _shape: tuple[int, int] = (0, 0)
    _latest: Tensor | bool = False
    _times: Tensor | None = None

    def next_pass(self, rows: int, width: int) -> None:
        """A pass of so many rows and columns begins."""
        self._shape, self._latest = (rows, width), False

    def note(self, where: Tensor | bool) -> None:
        """A change acts at `where`, boolean [rows, columns or 1]; True for everywhere."""
        if where is True:
            self.everywhere += 1
            self._latest = True
            return
        if isinstance(where, Tensor):
            if self._latest is not True:
                self._latest = where | self._latest
            times, before = where.sum(1), self._times
            if before is not None and len(before) == len(times):
                times = times + before.to(times.device)
            self._times = times

    @property
    def tokens(self) -> Tensor:
        """Those of the latest pass that any change acted on: boolean [rows, columns]."""
        if isinstance(self._latest, Tensor):
            return self._latest.expand(self._shape)
        return torch.full(self._shape, self._latest)

    def rows(self, count: int) -> list[bool]:
        """By row of `count` prompts, in however many rows each was run: whether a token was touched."""
        if self.everywhere or self._times is None:
            return [bool(self.everywhere)] * count
        return (self._times > 0).view(count, -1).any(1).tolist()
