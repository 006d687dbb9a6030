"""Choices that are scored: the log-probability of each after a prompt, in the engine's thread.

A prompt with its choices waits as a row, as an answer that is to be written does; rows of several requests are
scored together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from langsteer.evaluation.harness.scoring import Question, check_scores, score
from langsteer.model.model import Model
from langsteer.model.tokens import Text, Tokens
from langsteer.serving.asked import Asked, Used


@dataclass(eq=False)
class ChoiceRow:
    """One prompt, and what each of its choices, as token ids, is scored to be: `logprobs`, in nats.

    `notify` is called in the engine's thread once it has ended. `source` is the text whose language
    is heard.
    """

    prompt: Tokens
    source: Text
    asked: Asked
    choices: tuple[tuple[int, ...], ...]
    notify: Callable[["ChoiceRow"], None] = lambda row: None
    cancelled: bool = False
    used: Used | None = None
    logprobs: tuple[float, ...] = ()
    error: BaseException | None = None
    done: bool = False

    def __len__(self) -> int:
        return len(self.prompt) + self.choice_tokens

    @property
    def choice_tokens(self) -> int:
        return sum(map(len, self.choices))

    @property
    def begun(self) -> bool:
        """Whether some of it has been scored: a row is scored as a whole."""
        return self.done

    def end(self, logprobs: Sequence[float]) -> None:
        self.logprobs, self.done = tuple(logprobs), True
        self.notify(self)

    def fail(self, error: BaseException) -> None:
        """End it with an error, where it has not ended."""
        if not self.done:
            self.error, self.done = error, True
            self.notify(self)


def alike(rows: Sequence[ChoiceRow]) -> list[list[ChoiceRow]]:
    """Rows that are steered by one change, together."""
    by_change: dict[int, list[ChoiceRow]] = {}
    for row in rows:
        change = row.used.change if row.used is not None else None
        by_change.setdefault(id(change), []).append(row)
    return list(by_change.values())


def score_rows(model: Model, rows: Sequence[ChoiceRow]) -> None:
    """Score the choices of rows that are `alike`, and end them.

    Raises StateError where a score is no number, and what the model does.
    """
    used = rows[0].used
    change = used.change if used is not None else None
    questions = [Question(row.prompt, row.choices) for row in rows]
    (scores,) = score(model, questions, [change])
    check_scores(model, scores.loglikelihoods)
    for row, values in zip(rows, scores.loglikelihoods, strict=True):
        row.end(values)
