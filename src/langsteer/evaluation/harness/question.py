"""What is scored, and what scoring it gave."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from langsteer.evaluation.harness.caches import can_share_contexts
from langsteer.model.finite import check_finite
from langsteer.model.model import Model
from langsteer.model.tokens import Tokens

_OTHERWISE = "steer with less strength, if it is steered"


@dataclass(frozen=True)
class Question:
    """A context, and the answers to score after it: token ids, each of at least one.

    The last `scored` tokens of the context, which all answers begin with, are scored with each.
    `texts` marks the tokens of each answer that are the item's text, and are steered as that is;
    without it, none are.
    """

    context: Tokens
    answers: tuple[tuple[int, ...], ...]
    scored: int = 0
    texts: tuple[tuple[bool, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.context) + sum(len(answer) - 1 for answer in self.answers)

    @property
    def single(self) -> bool:
        """Whether each answer is one token, so that the context alone is read."""
        return all(len(answer) == 1 for answer in self.answers)

    @property
    def rows_tokens(self) -> int:
        """How many tokens are read where each answer has the context in front of it."""
        return len(self.answers) * (len(self.context) + max(map(len, self.answers)) - 1)

    def part(self, start: int, end: int) -> "Question":
        """The same with some of the answers."""
        return replace(self, answers=self.answers[start:end], texts=self.texts[start:end])

    def without(self, start: int) -> "Question":
        """What is left of it after the first `start` tokens of the context."""
        rest = Tokens(self.context.ids[start:], self.context.source[start:])
        return replace(self, context=rest)

    def scored_token(self, a: int, t: int) -> int:
        """Token `t` of answer `a`; below 0, of the context's last."""
        return self.answers[a][t] if t >= 0 else self.context.ids[t]

    def read(self, a: int) -> Tokens:
        """What is read of answer `a`: all but its last token, which is only predicted."""
        ids = list(self.answers[a][:-1])
        return Tokens(ids, list(self.texts[a][:-1]) if self.texts else [False] * len(ids))


@dataclass
class Scores:
    """What one change gave: for each question, each answer's log-likelihood, and whether it is what
    greedy decoding would say.

    `touched` counts, by question and answer, the tokens that were changed of those that are read;
    `where`, which is kept if asked for, says which: boolean [context + answer - 1].
    `seconds` is what the change would have cost alone: shared layers count for each that needs them.
    """

    loglikelihoods: list[list[float]]
    greedy: list[list[bool]]
    tokens: int = 0
    seconds: float = 0.0
    touched: list[list[int]] = field(default_factory=list)
    where: list[list[Tensor]] = field(default_factory=list)

    def enter(
        self,
        index: Sequence[int],
        touched: Sequence[Sequence[Tensor]],
        seconds: float,
        where: bool,
    ) -> None:
        """Make room for the questions at the places in `index`, which took so long to read.

        `touched` says, by question and answer, which tokens were changed: kept with `where`.
        """
        self.seconds += seconds
        for own, i in zip(touched, index, strict=True):
            self.loglikelihoods[i] = [0.0] * len(own)
            self.greedy[i] = [True] * len(own)
            self.touched[i] = [int(tokens.sum()) for tokens in own]
            self.where[i] = list(own) if where else []

    def joined(self, owners: Sequence[int]) -> "Scores":
        """Those of whole questions, of which these are parts: `owners` has the place of the whole of each."""
        whole = no_scores(owners[-1] + 1, self.tokens)
        for part, place in enumerate(owners):
            whole.loglikelihoods[place] += self.loglikelihoods[part]
            whole.greedy[place] += self.greedy[part]
            whole.touched[place] += self.touched[part]
            whole.where[place] += self.where[part]
        whole.seconds = self.seconds
        return whole


def parted(
    model: Model, questions: Sequence[Question], most: int
) -> tuple[list[int], list[Question]]:
    """Questions with no more answers than are read at a time, and the place of the whole of each.

    Where answers go on from the cache of their context, they are left together.
    """
    shared = can_share_contexts(model)
    owners, parts = [], []
    for place, own in enumerate(questions):
        count = len(own.answers)
        if not shared and not own.single:
            count = max(1, most * count // own.rows_tokens)
        for start in range(0, len(own.answers), count):
            owners.append(place)
            parts.append(own.part(start, start + count))
    return owners, parts


def no_scores(questions: int, tokens: int) -> Scores:
    """Room for what each of so many questions will give, which takes `tokens` tokens to read."""
    empty: list[list[list[Any]]] = [[[] for _ in range(questions)] for _ in range(4)]
    return Scores(empty[0], empty[1], tokens, touched=empty[2], where=empty[3])


def check_scores(model: Model, loglikelihoods: Sequence[Sequence[float]], whose: str = "") -> None:
    """Raise StateError where a log-likelihood is no number."""
    values = torch.tensor([value for row in loglikelihoods for value in row])
    check_finite(values, f"the log-likelihoods{whose}", model.dtype, _OTHERWISE)
