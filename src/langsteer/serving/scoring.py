"""Choices that are scored: the log-probability of each after a prompt, in the engine's thread.

A prompt with its choices waits as a row, as an answer that is to be written does; rows of several requests are
scored together.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from langsteer.evaluation.harness.scoring import Question, check_scores, score
from langsteer.model.model import Model
from langsteer.model.tokens import Text, Tokens, token_budget
from langsteer.serving.asked import Asked, Used

CACHED = 16  # as many times a budget of tokens are held at a time: contexts, once a choice


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
    logprobs: list[list[float]] = [[] for _ in rows]
    for part in _parts(rows, CACHED * token_budget(model)):
        (scores,) = score(model, [question for _, question in part], [change])
        check_scores(model, scores.loglikelihoods)
        for (place, _), values in zip(part, scores.loglikelihoods, strict=True):
            logprobs[place] += values
    for row, values in zip(rows, logprobs, strict=True):
        row.end(values)


def _parts(rows: Sequence[ChoiceRow], most: int) -> Iterator[list[tuple[int, Question]]]:
    """What is asked at a time, with the place of its row: each choice may need a copy of its context."""
    part: list[tuple[int, Question]] = []
    held = 0
    for place, row in enumerate(rows):
        width = len(row.prompt) + max(map(len, row.choices))
        count = max(1, most // width)
        for start in range(0, len(row.choices), count):
            choices = row.choices[start : start + count]
            if part and held + width * len(choices) > most:
                yield part
                part, held = [], 0
            part.append((place, Question(row.prompt, choices)))
            held += width * len(choices)
    yield part
