"""What a reader must know of the cells of a table: other items, other answers, other scores."""

from collections.abc import Iterable, Mapping, Sequence

from langsteer.evaluation.comparison.cells import Cell
from langsteer.evaluation.harness.ties import counted
from langsteer.evaluation.report.samples import DIRECT, ItemScores, item_scores


def notes_on(scored: ItemScores) -> Iterable[str]:
    """A sentence each."""
    parts = sorted({cell.part for cell in scored.cells.values()})
    if len(parts) > 1:
        yield f"The cells are of several parts of the data: {', '.join(parts)}."
    if not any(method == DIRECT for method, _ in scored.cells):
        yield "There are no cells of 'direct', so nothing is compared."
    for (method, language), cell in sorted(scored.cells.items()):
        direct = scored.cells.get((DIRECT, language))
        if direct is not None and method != DIRECT:
            yield from _mismatch(direct, cell)
        yield from _harness(cell)
        if cell.missed:
            yield (
                f"{method} / {language}: {cell.missed} of {len(cell.items)} items are answered as "
                "without it, since it touched none of their tokens."
            )
    for method in dict.fromkeys(sorted(method for method, _ in scored.cells)):
        yield from _engine(method, [c for (m, _), c in scored.cells.items() if m == method])


def _mismatch(direct: Cell, cell: Cell) -> Iterable[str]:
    asked = {item.id: item.target for item in direct.items}
    answered = {item.id: item.target for item in cell.items}
    shared = asked.keys() & answered.keys()
    where = f"{cell.method} / {cell.language}"
    if len(shared) < max(len(asked), len(answered)):
        yield (
            f"{where}: {len(shared)} items compared; {len(asked) - len(shared)} were answered by "
            f"direct only, {len(answered) - len(shared)} by {cell.method} only."
        )
    differ = sum(asked[name] != answered[name] for name in shared) if cell.kind == "choice" else 0
    if differ:
        yield f"{where}: {differ} items have another right answer than in direct's cell."


def _harness(cell: Cell) -> Iterable[str]:
    if cell.kind != "choice" or "acc" not in cell.harness:
        return
    ours = float(item_scores(cell, "raw").mean())
    theirs = 100 * cell.harness["acc"]
    if abs(ours - theirs) > 50 / len(cell.items):
        yield (
            f"{cell.method} / {cell.language}: raw accuracy is {ours:.1f}, the harness's {theirs:.1f}."
        )


def _engine(method: str, cells: Sequence[Cell]) -> Iterable[str]:
    """Where another engine was to write: why it did not, and what was compared with transformers."""
    told = [cell.settings.get("engine") for cell in cells]
    engines = [engine for engine in told if isinstance(engine, Mapping)]
    for why in sorted({str(engine["why"]) for engine in engines if "why" in engine}):
        yield f"{method} is written by transformers: {why}."
    checked = [engine["checked"] for engine in engines if "checked" in engine]
    if checked:
        yield f"{method}: {counted(checked)}."
