"""Rows that come while an engine runs: files of a folder, each called by the digest of its numbers.

An engine that was started with

    --additional-config '{"langsteer": {"rows": "rows/"}}'

knows no languages. Whoever sends requests writes what they add into the folder first (`write_rows`), and makes out the
steering of each request himself (`steering.py`). All blocks have tables then, of `ROOM` rows beside that of zeros: a
row is read by its digest where a request first needs it, and takes the place of one that none needs any more.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from langsteer.engines.vllm.catalogue import NONE, Catalogue, row_digest
from langsteer.engines.vllm.running import Running
from langsteer.engines.vllm.start import EngineModel
from langsteer.engines.vllm.steering import Steering, read_steering
from langsteer.engines.vllm.word import KEY
from langsteer.errors import EngineError, VectorError
from langsteer.storage.tensors import FileKind, read_tensors, write_tensors

KIND = FileKind("langsteer row", 1, "row")
ROOM = 32
"""how many different rows the requests of a moment may have"""


def write_rows(folder: Path, catalogue: Catalogue) -> None:
    """Put the rows of a catalogue into a folder; what is there is left. Raises SaveError."""
    for digest, place in catalogue.places.items():
        path = _path(folder, digest)
        if digest != NONE and not path.exists():
            row = catalogue.rows[place]
            write_tensors(path, KIND, {str(layer): values for layer, values in row.items()}, {})


def read_row(folder: str | Path, digest: str) -> Mapping[int, Tensor]:
    """What a row adds at its layers. Raises VectorError where it is not there, or is another."""
    path = _path(Path(folder), digest)
    if not path.is_file():
        raise VectorError(f"the engine has no vector {digest}: there is no {path}")
    tensors, _ = read_tensors(path, KIND)
    row = {int(layer): values for layer, values in tensors.items()}
    if row_digest(row) != digest:
        raise VectorError(f"{path} holds other numbers than its name says: delete it")
    return row


def check_rows(steering: Steering | None, folder: str | Path, model: EngineModel) -> None:
    """Raise VectorError where a row of a request is not in the folder, or does not fit the model."""
    for digest in {digest for *_, digest in steering.pieces} if steering is not None else ():
        for layer, values in read_row(folder, digest).items():
            if layer >= model.layers or len(values) != model.hidden_size:
                raise VectorError(
                    f"a row of {len(values)} numbers at layer {layer} does not fit {model.name}, which "
                    f"has {model.layers} layers and states of {model.hidden_size}"
                )


def _path(folder: Path, digest: str) -> Path:
    return folder / f"{digest}.safetensors"


class RowTables:
    """The tables of an engine that knows no languages: at every layer, and empty yet."""

    def __init__(self, model: EngineModel) -> None:
        self.layers = tuple(range(model.layers))
        self.places = {NONE: 0}
        self._hidden_size = model.hidden_size

    def table(self, layer: int) -> Tensor:
        return torch.zeros(ROOM + 1, self._hidden_size)


class RowsRunning(Running):
    """Requests that run where rows come with them: a row is put into the tables before it is needed."""

    def __init__(self, folder: str | Path, model: EngineModel, width: int, device: torch.device):
        self._own = RowTables(model)
        super().__init__(self._own, width, device)
        self._folder = folder
        self._rows: dict[str, frozenset[str]] = {}  # of each request
        self._free = list(range(ROOM, 0, -1))

    def start(self, name: str, extra: Mapping[str, Any] | None) -> int:
        """Raises EngineError where the requests of a moment have more rows than there is room for."""
        self.end(name)
        steering = read_steering((extra or {}).get(KEY))
        digests = frozenset(digest for *_, digest in steering.pieces) if steering else frozenset()
        for digest in digests - self._own.places.keys():
            self._put(digest, keep=digests)
        slot = super().start(name, extra)
        self._rows[name] = digests
        return slot

    def end(self, name: str) -> None:
        self._rows.pop(name, None)
        super().end(name)

    def _put(self, digest: str, keep: frozenset[str]) -> None:
        place = self._free.pop() if self._free else self._emptied(keep)
        row = read_row(self._folder, digest)
        for layer, table in self.tables.items():
            values = row.get(layer)
            table[place] = 0 if values is None else values.to(table.device)
        self._own.places[digest] = place

    def _emptied(self, keep: frozenset[str]) -> int:
        """The place of a row that no request has, which is forgotten: the one that came first."""
        held = keep.union({NONE}, *self._rows.values())
        gone = next((digest for digest in self._own.places if digest not in held), None)
        if gone is None:
            raise EngineError(
                f"requests with more than {ROOM} different vectors at once: send fewer"
            )
        return self._own.places.pop(gone)
