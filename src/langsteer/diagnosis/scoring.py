"""What an item is worth under a change: right or wrong in points, or a reference's likelihood in nats.

The score of a choice is the log-likelihood of its text after the prompt. Where all items have the same choices,
each choice's mean over the items is taken off (batch calibration); where they differ from item to item, nothing
is. An item with a reference is worth the log-likelihood of all of it: a text and its translation say the same, so
that the nats they take can be compared between languages (Tsvetkov and Kipnis, arXiv 2311.18743).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from langsteer.diagnosis.items import TaskItem, Wording
from langsteer.errors import DiagnosisError
from langsteer.evaluation.harness.scoring import Question, score
from langsteer.evaluation.statistics import Array, calibrate
from langsteer.model.model import Model
from langsteer.model.tokens import Tokens, encode, encode_suffix
from langsteer.steering.change import Change

Scoring = Literal["auto", "raw", "calibrated"]
SCORINGS: tuple[Scoring, ...] = ("auto", "raw", "calibrated")
TEMPERATURES = tuple(2.0**power for power in range(-4, 6))


@dataclass(frozen=True)
class Asked:
    """Questions, and which answer of each is right."""

    questions: tuple[Question, ...]
    right: tuple[int, ...]

    @property
    def answers(self) -> int:
        """How many there are, of all questions."""
        return sum(len(question.answers) for question in self.questions)

    @property
    def context_share(self) -> float:
        """Of the tokens that are read, contexts and all answers, the share of contexts."""
        contexts = sum(len(question.context) for question in self.questions)
        answers = sum(len(answer) for question in self.questions for answer in question.answers)
        return contexts / (contexts + answers)

    def part(self, index: Sequence[int]) -> "Asked":
        return Asked(tuple(self.questions[i] for i in index), tuple(self.right[i] for i in index))

    def among(self, scores: Sequence[Array], choices: int) -> "Asked":
        """The same with at most so many choices: the right one, and the likeliest of the others.

        `scores` are those of the answers of each question.
        """
        questions, places = [], []
        for question, right, own in zip(self.questions, self.right, scores, strict=True):
            others = [i for i in np.argsort(-own).tolist() if i != right][: choices - 1]
            kept = sorted([right, *others])
            answers = tuple(question.answers[i] for i in kept)
            questions.append(Question(question.context, answers))
            places.append(kept.index(right))
        return Asked(tuple(questions), tuple(places))

    def sampled(self, choices: int) -> "Asked":
        """The same with at most so many choices: the right one, and others drawn at random.

        The likeliest others are those that the model as it is mistakes for right: among them any
        change looks better than none.
        """
        rng = np.random.default_rng(0)
        drawn = [rng.permutation(len(question.answers)) for question in self.questions]
        return self.among([-order.astype(np.float64) for order in drawn], choices)


def asked(model: Model, wordings: Sequence[Wording], items: Sequence[TaskItem]) -> Asked:
    """The wordings as questions to a model.

    Raises LengthError for one that is longer than the model reads, and DiagnosisError for an answer
    without tokens.
    """
    contexts = encode(model, [own.prompt for own in wordings])
    questions = [
        Question(context, tuple(_read_after(model, context, own, a) for a in own.answers))
        for context, own in zip(contexts, wordings, strict=True)
    ]
    for item, question in zip(items, questions, strict=True):
        if not all(question.answers):
            raise DiagnosisError(f"item {item.id}: an answer has no tokens")
    return Asked(tuple(questions), tuple(item.right for item in items))


def _read_after(model: Model, context: Tokens, own: Wording, answer: str) -> tuple[int, ...]:
    """The tokens of an answer as they are after the prompt, or by themselves where they would
    change it.
    """
    (whole,) = encode(model, [str(own.prompt) + answer])
    if whole.ids[: len(context)] == context.ids:
        return tuple(whole.ids[len(context) :])
    return tuple(encode_suffix(model, answer))


def answer_scores(
    model: Model,
    asked: Asked,
    changes: Sequence[Change | None] = (None,),
    progress: str | None = None,
) -> list[list[Array]]:
    """The log-likelihood of each answer of each question, under each change."""
    results = score(model, asked.questions, changes, progress=progress)
    return [[np.array(row) for row in result.loglikelihoods] for result in results]


@dataclass(frozen=True)
class Scale:
    """How the scores of a task's answers become values. `chance` is the value of knowing nothing."""

    unit: Literal["points", "nats"]
    calibrated: bool
    chance: float

    @property
    def may_leave_choices_out(self) -> bool:
        """Whether some choices of an item may stand for all: calibration needs every item's score of each."""
        return self.unit == "points" and not self.calibrated

    def values(self, scores: Sequence[Array], right: Sequence[int]) -> Array:
        """100 or 0 for right or wrong, or the reference's log-likelihood: [items]."""
        if self.unit == "nats":
            return np.array([row[0] for row in scores])
        rows = self._shown(scores)
        return np.array(
            [100.0 * (int(np.argmax(row)) == r) for row, r in zip(rows, right, strict=True)]
        )

    def smooth(self, scores: Sequence[Array], right: Sequence[int]) -> Array:
        """What a choice among recipes is made by: half of the value, and half of the probability
        of the right answer at the temperature that fits best, which tells more of each item.
        """
        hits = self.values(scores, right)
        if self.unit == "nats":
            return hits
        rows = self._shown(scores)
        by_temperature = [_probabilities(rows, right, t) for t in TEMPERATURES]
        best = max(by_temperature, key=lambda p: float(np.log(np.clip(p, 1e-9, 1)).mean()))
        return (hits + 100.0 * best) / 2

    def _shown(self, scores: Sequence[Array]) -> Sequence[Array]:
        return list(calibrate(np.array(scores))) if self.calibrated else scores


def scale_of(asked: Asked, scoring: Scoring = "auto") -> Scale:
    """The scale of a task by its answers. Raises DiagnosisError where they cannot be calibrated as asked."""
    counts = [len(question.answers) for question in asked.questions]
    if scoring == "calibrated" and (max(counts) == 1 or len(set(counts)) > 1):
        why = "references" if max(counts) == 1 else "different numbers of choices"
        raise DiagnosisError(
            f"the items have {why}, whose scores cannot be calibrated: leave the scoring out"
        )
    if max(counts) == 1:
        return Scale("nats", False, float("nan"))
    same = len({question.answers for question in asked.questions}) == 1
    calibrated = same if scoring == "auto" else scoring == "calibrated"
    return Scale("points", calibrated, float(np.mean([100.0 / count for count in counts])))


def _probabilities(rows: Sequence[Array], right: Sequence[int], temperature: float) -> Array:
    shares = [torch.softmax(torch.from_numpy(row / temperature), 0).numpy() for row in rows]
    return np.array([share[r] for share, r in zip(shares, right, strict=True)])
