"""Answers to learn: rows of tokens, and the log-probability of each answer's own.

The head is applied at the answers' tokens alone, some at a time: with 262,144 words it costs more than
everything below it.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NotRequired, TypedDict

import torch
from torch import Tensor

from langsteer.model.model import Model
from langsteer.states.intervention import intervene
from langsteer.steering.vector import SteeringVector

IGNORED = -100
_HELD = 2**27  # logits that are held at a time


class AnswerRow(TypedDict):
    """One text: its ids, and what the loss is on: the id, or `IGNORED`.

    `steered` marks the tokens that a vector is added to, `vector` says which one.
    """

    input_ids: list[int]
    labels: list[int]
    steered: NotRequired[list[bool]]
    vector: NotRequired[int | None]


def answer_length(row: AnswerRow) -> int:
    """How many tokens the loss is on."""
    return sum(label != IGNORED for label in row["labels"])


def collate(model: Model, rows: Sequence[AnswerRow]) -> dict[str, Tensor]:
    """Inputs of the decoder, padded on the left, and beside them `labels` [rows, tokens].

    Where a row is steered, also `steered`, boolean [rows, tokens], and `vector` [rows], -1 for none.
    """
    inputs = model.batch([row["input_ids"] for row in rows])
    width = inputs["input_ids"].shape[1]
    labels = torch.full((len(rows), width), IGNORED)
    steered = torch.zeros(len(rows), width, dtype=torch.bool)
    for place, row in enumerate(rows):
        labels[place, width - len(row["labels"]) :] = torch.tensor(row["labels"])
        if "steered" in row:
            steered[place, width - len(row["labels"]) :] = torch.tensor(row["steered"])
    inputs["labels"] = labels.to(model.device)
    if bool(steered.any()):
        which = [row.get("vector") for row in rows]
        inputs["steered"] = steered.to(model.device)
        inputs["vector"] = torch.tensor([-1 if i is None else i for i in which])
    return inputs


def answer_logprobs(
    model: Model, inputs: Mapping[str, Tensor], vectors: Sequence[SteeringVector] = ()
) -> Tensor:
    """Log-probability of each answer token, 0 elsewhere: float32 [rows, tokens], as `labels`.

    `inputs` are those of `collate`; `vectors` are those that its rows are steered by.
    """
    inputs = dict(inputs)
    labels = inputs.pop("labels")
    with _steering(model, vectors, inputs.pop("steered", None), inputs.pop("vector", None)):
        states = model.run_decoder(inputs)
    rows, columns = (labels != IGNORED).nonzero(as_tuple=True)
    preceding = states[rows.to(states.device), columns.to(states.device) - 1]
    values = token_logprobs(model, preceding, labels[rows, columns].to(states.device))
    result = torch.zeros(labels.shape, device=values.device)
    return result.index_put((rows.to(values.device), columns.to(values.device)), values)


def token_logprobs(model: Model, states: Tensor, wanted: Tensor) -> Tensor:
    """Log-probability of each id in `wanted` [n] after final-norm states [n, hidden]: float32 [n].

    Logits are made for some tokens at a time, and only their gradient is kept, unless the head
    itself is trained.
    """
    if any(parameter.requires_grad for parameter in model.head.parameters()):
        return _picked(model, states, wanted)
    return _Picked.apply(states, wanted, model)  # type: ignore[no-any-return, no-untyped-call]


class _Picked(torch.autograd.Function):
    """`_picked` in chunks. A token's log-probability depends on its own state alone, so that the
    gradients of all of a chunk are those of their sum, made while its logits are there.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, wanted: Tensor, model: Model) -> Tensor:
        size = max(1, _HELD // model.vocab_size)
        logprobs, slopes = [], []
        for chunk, ids in zip(states.split(size), wanted.split(size), strict=True):
            with torch.set_grad_enabled(ctx.needs_input_grad[0]):
                leaf = chunk.detach().requires_grad_(ctx.needs_input_grad[0])
                values = _picked(model, leaf, ids)
            logprobs.append(values.detach())
            if ctx.needs_input_grad[0]:
                slopes.append(torch.autograd.grad(values, leaf, torch.ones_like(values))[0])
        if slopes:
            ctx.save_for_backward(torch.cat(slopes))
        return torch.cat(logprobs) if logprobs else states.new_zeros(0, dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None]:
        (slopes,) = ctx.saved_tensors
        return (gradients[0][:, None] * slopes).to(slopes.dtype), None, None


def _picked(model: Model, states: Tensor, wanted: Tensor) -> Tensor:
    logits = model.logits_of(states).float()
    return -torch.nn.functional.cross_entropy(logits, wanted.to(logits.device), reduction="none")


@contextlib.contextmanager
def _steering(
    model: Model, vectors: Sequence[SteeringVector], where: Tensor | None, which: Tensor | None
) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for number, vector in enumerate(vectors):
            if where is None or which is None or not bool((which == number).any()):
                continue
            changes = [replace(c, rows=which == number) for c in vector.interventions()]
            stack.enter_context(intervene(model, changes, "source", where))
        yield
