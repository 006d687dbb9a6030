"""Cells as a unit of work: plain data that any process can be given."""

from collections.abc import Callable
from dataclasses import dataclass

from langsteer.engines.vllm.start import check_version, installed_version
from langsteer.errors import LangsteerError
from langsteer.evaluation.comparison.asked import asked_for, by_engine, made_cell
from langsteer.evaluation.comparison.cells import (
    Cell,
    Failure,
    existing_cell,
    write_cell,
)
from langsteer.evaluation.comparison.configuration import Chosen, Comparison
from langsteer.evaluation.comparison.making import LanguageCells, work_folder
from langsteer.evaluation.comparison.order import claims_of
from langsteer.evaluation.comparison.questions import Answers
from langsteer.evaluation.harness.engine import EngineWriter
from langsteer.model.model import Model
from langsteer.model.opening import checkpoint_of, load_model
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

        left = []
        for chosen in self.methods:
            cell = self._existing(chosen)
            if cell is None:
                left.append(chosen)
            else:
                told.append(cell)
        try:
            if by_engine(self.wanted, self.benchmark):
                check_version(installed_version())
            key = (self.model, self.wanted.dtype, self.wanted.device, self.wanted.device_map)
            model, answered, writer = held.get((*key, self.wanted.engine), self._opened)
        except LangsteerError as error:
            for chosen in left:
                tell(self._failure(chosen, str(error)))
            return told
        benchmark = self.wanted.benchmark(self.benchmark)
        run = LanguageCells(
            self.wanted, self.model, model, benchmark, self.language, tell, answered, writer
        )
        run.methods(left)
        return told

    def told_of(self, error: str) -> list[Cell | Failure]:
        """The cells that are there, and a Failure of each other, where the unit cannot be done."""
        there = {chosen.name: self._existing(chosen) for chosen in self.methods}
        lost = [self._failure(chosen, error) for chosen in self.methods if not there[chosen.name]]
        return [*(cell for cell in there.values() if cell), *lost]

    def _failure(self, chosen: Chosen, error: str) -> Failure:
        return Failure(self.model, self.benchmark, self.language, chosen.name, error)

    def _existing(self, chosen: Chosen) -> Cell | None:
        key = (self.model, self.benchmark, self.language, chosen.name)
        path = existing_cell(self.wanted.output, *key)
        return (
            None
            if path is None
            else made_cell(path, asked_for(self.wanted, self.benchmark, chosen))
        )

    def _opened(self) -> tuple[Model, dict[str, Answers], EngineWriter | None]:
        """The model, what it answers in every language, and what writes in its place."""
        model, writer = self._open(), None
        if self.wanted.engine != "transformers":
            writer = EngineWriter(
                model,
                checkpoint_of(self.model),
                work_folder(self.wanted, self.model) / "rows",
                self.wanted.engine_arguments,
                self.wanted.check_engine,
            )
        return model, {}, writer

    def _open(self) -> Model:
        return load_model(
            self.model,
            dtype=self.wanted.dtype,
            device=self.wanted.device,
            device_map=self.wanted.device_map,
        )
