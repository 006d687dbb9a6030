"""Cells as a unit of work: plain data that any process can be given."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from langsteer.errors import LangsteerError
from langsteer.evaluation.comparison.asked import asked_for, is_made
from langsteer.evaluation.comparison.cells import (
    Cell,
    Failure,
    existing_cell,
    read_cell,
    write_cell,
)
from langsteer.evaluation.comparison.configuration import Chosen, Comparison
from langsteer.evaluation.comparison.making import LanguageCells
from langsteer.evaluation.comparison.order import claims_of
from langsteer.model.model import Model
from langsteer.model.opening import load_model
from langsteer.scale.units import Held, Resources


@dataclass(frozen=True)
class CellsUnit:
    """Cells of one model, benchmark and language, to be made by one process.

    As plain data, so that it can be sent; `run` is what is done with it, wherever that is.
    """

    wanted: Comparison
    model: str
    benchmark: str
    language: str
    methods: tuple[Chosen, ...]

    @property
    def name(self) -> str:
        methods = " ".join(chosen.name for chosen in self.methods)
        return f"{self.model} / {self.benchmark} / {self.language} / {methods}"

    @property
    def where(self) -> str:
        """Work goes where this is held."""
        return self.model

    @property
    def claims(self) -> frozenset[str]:
        return frozenset().union(
            *(claims_of(self.model, self.language, chosen.name) for chosen in self.methods)
        )

    @property
    def needs(self) -> Resources:
        return self.wanted.resources_of(self.model)

    @property
    def folder(self) -> Path:
        return self.wanted.output

    def run(
        self, held: Held, on_cell: Callable[[Cell | Failure], None] = lambda _: None
    ) -> list[Cell | Failure]:
        """Make the cells and write them; those that are there already are read.

        A cell that fails is a Failure among the others. Raises SaveError where none can be written.
        """
        told: list[Cell | Failure] = []

        def tell(cell: Cell | Failure) -> None:
            if isinstance(cell, Cell):
                write_cell(self.wanted.output, cell)
            told.append(cell)
            on_cell(cell)

        left = [chosen for chosen in self.methods if not self._is_there(chosen, told)]
        try:
            model, answered = held.get(
                (self.model, self.wanted.dtype, self.wanted.device, self.wanted.device_map),
                lambda: (self._open(), {}),
            )
        except LangsteerError as error:
            for chosen in left:
                tell(Failure(self.model, self.benchmark, self.language, chosen.name, str(error)))
            return told
        benchmark = self.wanted.benchmark(self.benchmark)
        run = LanguageCells(
            self.wanted, self.model, model, benchmark, self.language, tell, answered
        )
        run.methods(left)
        return told

    def failures(self, error: str) -> list[Failure]:
        """What is told of the cells that are not there, where the unit cannot be done."""
        there: list[Cell | Failure] = []
        return [
            Failure(self.model, self.benchmark, self.language, chosen.name, error)
            for chosen in self.methods
            if not self._is_there(chosen, there)
        ]

    def made(self) -> list[Cell]:
        """The cells that are there."""
        there: list[Cell | Failure] = []
        for chosen in self.methods:
            self._is_there(chosen, there)
        return [cell for cell in there if isinstance(cell, Cell)]

    def _is_there(self, chosen: Chosen, there: list[Cell | Failure]) -> bool:
        key = (self.model, self.benchmark, self.language, chosen.name)
        path = existing_cell(self.wanted.output, *key)
        if path is None or not is_made(path, asked_for(self.wanted, self.benchmark, chosen)):
            return False
        there.append(read_cell(path))
        return True

    def _open(self) -> Model:
        return load_model(
            self.model,
            dtype=self.wanted.dtype,
            device=self.wanted.device,
            device_map=self.wanted.device_map,
        )
