"""Which row at which scale each token of a step gets, worked out for all tokens at once."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from langsteer.engines.vllm.steering import OPEN, Steering

Array = np.ndarray[Any, Any]
FAR = 2**40  # no token is as far
FIRST_SLOTS = 64
FIRST_EDGES = 4


class Slots:
    """The steering of requests that run, one slot each; slot 0 is that of all unsteered ones.

    `edges` [slots, most edges] are the positions at which the row changes, in rising order and then
    far away, and `rows` [slots, most edges + 1] the places in the tables between them.
    """

    def __init__(self, places: Mapping[str, int]) -> None:
        self._places = places
        self._edges = np.full((FIRST_SLOTS, FIRST_EDGES), FAR - 1, dtype=np.int64)
        self._rows = np.zeros((FIRST_SLOTS, FIRST_EDGES + 1), dtype=np.int32)
        self._scale = np.zeros(FIRST_SLOTS, dtype=np.float32)
        self._free = list(range(FIRST_SLOTS - 1, 0, -1))

    def put(self, steering: Steering | None) -> int:
        """The slot that a request's steering has been written to."""
        if steering is None:
            return 0
        edges, rows = self._edges_of(steering)
        self._widen(len(edges))
        if not self._free:
            self._lengthen()
        slot = self._free.pop()
        self._edges[slot], self._rows[slot] = FAR - 1, rows[-1]
        self._edges[slot, : len(edges)] = edges
        self._rows[slot, : len(rows)] = rows
        self._scale[slot] = steering.scale
        return slot

    def free(self, slot: int) -> None:
        if slot:
            self._free.append(slot)

    def fill(self, slots: Array, starts: Array, counts: Array, index: Array, scale: Array) -> int:
        """Write the row and the scale of each token of a step; the number of tokens, 0 where none
        is steered, and then nothing is written.

        The step's requests are given in the order of its tokens: their slots, their first
        positions, and how many tokens each has.
        """
        places = np.flatnonzero(slots)
        if not len(places):
            return 0
        total = int(counts.sum())
        index[:total] = 0
        lengths, own = counts[places], slots[places]
        ordinal = np.repeat(np.arange(len(places)), lengths)
        offset = np.arange(len(ordinal)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        width = self._edges.shape[1]
        edges = self._edges[own] + np.arange(len(places))[:, None] * FAR
        wanted = starts[places][ordinal] + offset + ordinal * FAR
        piece = np.searchsorted(edges.ravel(), wanted, side="right") - ordinal * width
        tokens = (np.cumsum(counts) - counts)[places][ordinal] + offset
        index[tokens] = self._rows[own][ordinal, piece]
        scale[tokens] = self._scale[own][ordinal]
        return total

    def _edges_of(self, steering: Steering) -> tuple[list[int], list[int]]:
        edges: list[int] = []
        rows = [0]
        for first, end, digest in steering.pieces:
            if edges and edges[-1] == first:
                rows[-1] = self._places[digest]
            else:
                edges.append(first)
                rows.append(self._places[digest])
            if end != OPEN:
                edges.append(end)
                rows.append(0)
        return edges, rows

    def _widen(self, wanted: int) -> None:
        have = self._edges.shape[1]
        if wanted <= have:
            return
        more = max(wanted, 2 * have) - have
        self._edges = np.pad(self._edges, ((0, 0), (0, more)), constant_values=FAR - 1)
        self._rows = np.pad(self._rows, ((0, 0), (0, more)), mode="edge")

    def _lengthen(self) -> None:
        have = len(self._scale)
        self._edges = np.pad(self._edges, ((0, have), (0, 0)), constant_values=FAR - 1)
        self._rows = np.pad(self._rows, ((0, have), (0, 0)))
        self._scale = np.pad(self._scale, (0, have))
        self._free = list(range(2 * have - 1, have - 1, -1))
