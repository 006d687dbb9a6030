"""How far apart two final-norm states are for the model's output.

Near a state with next-token distribution p, KL(p ‖ p′) ≈ ½ ‖(h′ − h) R‖² with R Rᵀ = Wᵀ(diag p − p pᵀ)W, the
Fisher information of the softmax (Amari 1998, doi 10.1162/089976698300017746), where W [vocabulary, hidden] is
the head. Distances in this metric need no logits, and count a change of the state by what it does to the output.
"""

import torch
from torch import Tensor

from langsteer.model.finite import check_finite
from langsteer.model.model import Model, frozen

TOKENS = 20_000  # the likeliest, which carry nearly all of the probability
ROWS = 64
RIDGE = 1e-6  # of the mean of the diagonal: directions that change no output have a length too


def output_root(model: Model, states: Tensor) -> Tensor:
    """R, float32 [hidden, hidden], at the mean next-token distribution of `states` [n, hidden]."""
    with torch.no_grad(), frozen(model):
        mean = _mean_distribution(model, states)
        chosen = mean.topk(min(TOKENS, len(mean)))
        p = chosen.values / chosen.values.sum()
        head = _head_rows(model, chosen.indices)
    check_finite(p, "the logits of the pivot's texts", model.dtype)
    middle = p @ head
    fisher = (head * p[:, None]).T @ head - torch.outer(middle, middle)
    ridge = RIDGE * fisher.diagonal().mean() * torch.eye(len(fisher), dtype=fisher.dtype)
    return torch.linalg.cholesky(fisher + ridge).float()


def _mean_distribution(model: Model, states: Tensor) -> Tensor:
    """Float64 [vocabulary]."""
    distributions = [
        torch.softmax(model.logits_of(part.to(model.device, model.dtype)).float(), -1).sum(0)
        for part in states.split(ROWS)
    ]
    return torch.stack(distributions).double().sum(0).cpu() / len(states)


def _head_rows(model: Model, tokens: Tensor) -> Tensor:
    """The head's weights of some tokens, float64 [tokens, hidden], whatever they are stored as."""

    def logits(states: Tensor) -> Tensor:
        states = states.to(model.device, model.dtype)
        return model.token_logits(states, tokens).double().cpu()

    size = model.hidden_size
    bias = logits(torch.zeros(1, size))
    rows = [logits(part) - bias for part in torch.eye(size).split(ROWS)]
    return torch.cat(rows).T
