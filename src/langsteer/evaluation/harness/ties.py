"""Where an engine's greedy answers part from transformers', and whether they part at a tie.

Two programs that add the same numbers in another order give other last digits; where two tokens are as likely but for
these, either may be written, and all that follows is other.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor

from langsteer.evaluation.harness.writing import Row

# The difference of two tokens' log-probabilities, in nats, up to which they are tied. Logits of 16 to 32 are 1/8 apart
# in bfloat16 and 1/64 in float16; in float32 vLLM's are within 0.0001 of transformers'.
WITHIN = {torch.float32: 0.001, torch.float16: 0.05, torch.bfloat16: 0.25}


@dataclass(frozen=True)
class Ties:
    """Of `items` answers, how many `differ`, and how many of these part at a tie."""

    items: int = 0
    differ: int = 0
    ties: int = 0

    def __add__(self, other: "Ties") -> "Ties":
        return Ties(self.items + other.items, self.differ + other.differ, self.ties + other.ties)


def counted(checked: Sequence[Mapping[str, Any]]) -> str:
    """In words, what was compared: records of `Ties` with what counted `within` a tie."""
    items, differ, ties = (sum(c[name] for c in checked) for name in ("items", "differ", "ties"))
    return (
        f"of {items} answers that both engines wrote, {differ} differ, {ties} of these from a tie on "
        f"(two tokens within {max(c['within'] for c in checked):g} nats)"
    )


class Margins(transformers.LogitsProcessor):
    """Notes how much less likely than the likeliest an engine's tokens are, at each step of `generate`."""

    def __init__(self, written: Sequence[Sequence[int]]) -> None:
        self._written = written
        self._steps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # type: ignore[override]
        step = len(self._steps)
        theirs = [ids[step] if step < len(ids) else 0 for ids in self._written]
        chosen = scores.gather(1, torch.tensor(theirs, device=scores.device)[:, None])[:, 0]
        self._steps.append((scores.amax(-1) - chosen).float().cpu())
        return scores

    def at(self, row: int, step: int) -> float:
        """In nats; infinite where the answer had ended."""
        ended = step >= min(len(self._written[row]), len(self._steps))
        return float("inf") if ended else float(self._steps[step][row])


def compare_rows(
    theirs: Sequence[Row],
    own: Sequence[Row],
    margins: Margins,
    text: Callable[[Sequence[int]], str],
    dtype: Any,
) -> Ties:
    """What an engine wrote and what transformers did, with the margins of transformers.

    Answers are compared as `text` gives them, so that what follows their end does not count.
    """
    differ = ties = 0
    for row, (a, b) in enumerate(zip(theirs, own, strict=True)):
        if text(a.ids) == text(b.ids):
            continue
        differ += 1
        shared = min(len(a.ids), len(b.ids))
        parted = next((i for i in range(shared) if a.ids[i] != b.ids[i]), shared)
        ties += margins.at(row, parted) <= WITHIN.get(dtype, 0.0)
    return Ties(len(theirs), differ, ties)
