"""The ceiling: a vector at one layer that is learned from the right answers of other items."""

from collections.abc import Sequence

import torch
from torch import Tensor

from langsteer.diagnosis.scoring import Asked
from langsteer.diagnosis.slopes import Rows, row_batches
from langsteer.model.model import Model, frozen
from langsteer.progress import track
from langsteer.states.intervention import Intervention, PositionKind, intervene

EPOCHS, RATE, LAST_RATE = 2, 0.03, 0.2  # the rate is a share of the states' length, a step
BATCH = 12


def vector_of_labels(
    model: Model,
    asked: Asked,
    layer: int,
    positions: PositionKind,
    state_norm: float,
    epochs: int = EPOCHS,
) -> Tensor:
    """A vector [hidden], by Adam on −log of the right answer's share, from none.

    `asked` are the items learned from; `state_norm` is the length of the states there.
    """
    vector = torch.zeros(model.hidden_size, device=model.device, requires_grad=True)
    groups = row_batches(model, asked, BATCH)
    rate = RATE * state_norm / model.hidden_size**0.5
    adam = torch.optim.Adam([vector], lr=rate, betas=(0.8, 0.99))
    fall = torch.optim.lr_scheduler.LinearLR(adam, 1, LAST_RATE, epochs * len(groups))
    schedule = [groups[i] for epoch in range(epochs) for i in _order(len(groups), epoch)]
    for index in track(schedule, "Learning from labels", len(schedule)):
        adam.zero_grad()
        rows = Rows(model, asked, index)
        mask = rows.masks[positions]
        with (
            frozen(model),
            torch.enable_grad(),
            intervene(model, _adding(layer, vector, mask), "all"),
        ):
            loss = rows.loss(model, model.run_decoder(rows.inputs), None) / len(index)
            loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        fall.step()
    return vector.detach().cpu()


def _order(count: int, epoch: int) -> Sequence[int]:
    return torch.randperm(count, generator=torch.Generator().manual_seed(epoch)).tolist()


def _adding(layer: int, vector: Tensor, mask: Tensor) -> list[Intervention]:
    def change(hidden: Tensor) -> Tensor:
        where = mask.to(hidden.device)[..., None]
        return hidden + where * vector.to(hidden)

    return [Intervention(layer, change)]
