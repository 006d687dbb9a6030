"""Log-probabilities of tokens after states, a part of the vocabulary at a time."""

from collections.abc import Sequence

import torch
from torch import Tensor

from langsteer.model.model import Model


def predicted(
    model: Model,
    states: Tensor,
    rows: Sequence[int],
    wanted: Sequence[int],
    bias: Tensor | None = None,
) -> tuple[list[float], list[bool]]:
    """The log-probability of the token `wanted[i]` after `states[rows[i]]`, and whether it is the likeliest;
    with `bias` [vocabulary] added to the logits.
    """
    at = torch.tensor(rows, device=states.device)
    tokens = torch.tensor(wanted, device=states.device)
    logit = torch.full((len(rows),), -torch.inf, device=states.device)
    best, total = logit.new_full((2, len(states)), -torch.inf)
    best_token = torch.zeros(len(states), dtype=torch.long, device=states.device)
    for start, block in model.logit_blocks(states):
        logits = block.float().to(states.device)
        if bias is not None:
            logits = logits + bias[start : start + logits.shape[-1]].to(logits)
        here = (tokens >= start) & (tokens < start + logits.shape[-1])
        logit[here] = logits[at[here], tokens[here] - start]
        highest, place = logits.max(-1)
        best_token = torch.where(highest > best, place + start, best_token)
        best = torch.maximum(best, highest)
        total = torch.logaddexp(total, _log_sum_exp_in_place(logits, highest))
    return (logit - total[at]).tolist(), (best_token[at] == tokens).tolist()


def _log_sum_exp_in_place(logits: Tensor, highest: Tensor) -> Tensor:
    """By row, in the memory of `logits`, whose copy would take as long to make as the sum; the
    highest of each row may be -inf.
    """
    base = highest.clamp(min=torch.finfo(logits.dtype).min)
    return base + logits.sub_(base[:, None]).exp_().sum(-1).log()
