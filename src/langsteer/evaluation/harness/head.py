"""The head, on the states of several batches at once.

A few states take the head about as long as many: reading its weights, one row for each token of the vocabulary, is
most of the work then.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from langsteer.evaluation.harness.predicting import predicted
from langsteer.evaluation.harness.question import Question, Scores
from langsteer.model.model import Model
from langsteer.states.passes import Clock

HEAD_ROWS = 512

Predicting = list[tuple[Tensor, list[tuple[int, int, int]]]]
"""States [hidden], each with the (question, answer, token)s that it predicts"""


class Head:
    """What is to be predicted, under each change, until there are enough states for the head.

    `results` and `biases` [vocabulary] are those of the changes; log-likelihoods are added to what
    is in `results`.
    """

    def __init__(
        self,
        model: Model,
        questions: Sequence[Question],
        results: Sequence[Scores],
        biases: Sequence[Tensor | None],
    ) -> None:
        self.model, self.questions, self.results, self.biases = model, questions, results, biases
        self._clear()

    def _clear(self) -> None:
        self._states: list[list[Tensor]] = [[] for _ in self.results]
        self._tokens: list[list[list[tuple[int, int, int]]]] = [[] for _ in self.results]
        self._index: dict[int, None] = {}

    @property
    def full(self) -> bool:
        """Whether there are enough states of any change."""
        return max(map(len, self._tokens)) >= HEAD_ROWS

    def add(self, changes: Sequence[int], index: Sequence[int], predicting: Predicting) -> None:
        """What a batch predicts under changes that leave the same states; `index` has the places of
        its questions.
        """
        self._index.update(dict.fromkeys(index))
        states = torch.stack([own for own, _ in predicting])
        tokens = [[(index[q], a, t) for q, a, t in own] for _, own in predicting]
        for change in changes:
            self._states[change].append(states)
            self._tokens[change] += tokens

    def apply(self) -> list[int]:
        """Add up, by answer, what the states predict. Returns the places of the questions."""
        index = list(self._index)
        for change, scores in enumerate(self.results):
            clock = Clock(self.model)
            states, tokens = torch.cat(self._states[change]), self._tokens[change]
            size = math.ceil(len(tokens) / math.ceil(len(tokens) / HEAD_ROWS))
            for start in range(0, len(tokens), size):
                end = start + size
                self._enter(scores, states[start:end], tokens[start:end], self.biases[change])
            scores.seconds += clock.seconds()
        self._clear()
        return index

    def _enter(
        self,
        scores: Scores,
        states: Tensor,
        tokens: Sequence[Sequence[tuple[int, int, int]]],
        bias: Tensor | None,
    ) -> None:
        rows = [row for row, own in enumerate(tokens) for _ in own]
        owners = [owner for own in tokens for owner in own]
        wanted = [self.questions[q].scored_token(a, t) for q, a, t in owners]
        values, likeliest = predicted(self.model, states, rows, wanted, bias)
        for (q, a, _), value, same in zip(owners, values, likeliest, strict=True):
            scores.loglikelihoods[q][a] += value
            scores.greedy[q][a] &= same
