"""Fixed answers, chosen after what the model likes to say after any text is taken off.

A model says some answers after whatever it reads, and a vector moves that liking too. Batch calibration takes each
answer's mean log-probability over a batch of texts off (Zhou et al., arXiv 2309.17249): no labels are needed, only
texts like those to come. The gains that langsteer reports of tasks with fixed answers are calibrated so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from langsteer.errors import ModelError
from langsteer.evaluation.harness.choices import choice_scores
from langsteer.evaluation.statistics import FEWEST_CALIBRATED, Array
from langsteer.model.model import Model
from langsteer.model.opening import as_model
from langsteer.model.tokens import Text
from langsteer.steering.change import Change
from langsteer.steering.steered import Steered
from langsteer.storage.records import FiledRecord, RecordFile

UNSTEERED = "unsteered"
ALL = "all"


@dataclass(frozen=True)
class Choice:
    """The answer to a text, and the probability of each answer, as they were given, once the prior is off.

    `steered` is the language of the change that acted, or None.
    """

    answer: str
    probabilities: tuple[float, ...]
    steered: str | None


@dataclass(frozen=True)
class Priors(FiledRecord):
    """What a model says after any text: each answer's mean log-probability, in nats.

    `means` are by the language of the change that acts, `unsteered`, and `all` of them; `texts`
    says over how many. A group of fewer than 16 texts has none, and takes that of all.
    """

    FILE: ClassVar[RecordFile] = RecordFile(
        "langsteer-priors", 1, "priors.json", "langsteer.calibrated"
    )

    model: dict[str, Any]
    answers: tuple[str, ...]
    means: dict[str, tuple[float, ...]]
    texts: dict[str, int]


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A model, steered or not, that chooses among fixed answers."""

    model: Model | Steered
    priors: Priors

    @property
    def answers(self) -> tuple[str, ...]:
        return self.priors.answers

    def scores(self, texts: Sequence[Text], language: str | None = None) -> Array:
        """Log-probability of each answer after each text, less its prior: [texts, answers], nats."""
        return self._scores(texts, _changes(self.model, texts, language))

    def choose(self, texts: Sequence[Text], language: str | None = None) -> list[Choice]:
        """The likeliest answer to each text; with `language`, all are steered as of that."""
        changes = _changes(self.model, texts, language)
        scores = self._scores(texts, changes)
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        return [
            Choice(
                self.answers[int(row.argmax())],
                tuple((row / row.sum()).tolist()),
                change.language if change is not None else None,
            )
            for row, change in zip(shares, changes, strict=True)
        ]

    def _scores(self, texts: Sequence[Text], changes: Sequence[Change | None]) -> Array:
        raw = _log_probabilities(self.model, texts, self.answers, changes)
        means = self.priors.means
        return raw - np.array([means.get(_group(change), means[ALL]) for change in changes])


def calibrated(
    model: Any,
    answers: Sequence[str],
    texts: Sequence[Text] | Priors | str | Path,
    *,
    language: str | None = None,
) -> Calibrated:
    """A model that chooses among `answers`, calibrated on `texts` without labels.

    `model` is a `Model`, a transformers network, or what `langsteer.steered` makes. `texts` are
    prompts like those to come, at least 16, best some hundreds, of each language that comes; or the
    `priors` of a calibration that was made before, or their file. An answer is written as it follows
    the prompt: ` sports`, with its space, where the prompt ends without one. Raises ModelError for
    too few texts, for answers that are fewer than two or alike, and for priors of another model.
    """
    ready = model if isinstance(model, Steered) else as_model(model)
    own = _check_answers(answers)
    if isinstance(texts, str | Path):
        texts = Priors.read(texts)
    if isinstance(texts, Priors):
        return Calibrated(ready, _check_priors(texts, ready, own))
    if len(texts) < FEWEST_CALIBRATED:
        raise ModelError(
            f"{len(texts)} texts are too few to calibrate on: {FEWEST_CALIBRATED} are the least, some hundreds "
            "are better; they need no labels"
        )
    changes = _changes(ready, texts, language)
    scores = _log_probabilities(ready, texts, own, changes)
    groups = np.array([_group(change) for change in changes])
    counts = {str(name): int((groups == name).sum()) for name in dict.fromkeys(groups)}
    means = {
        n: _mean(scores[groups == n]) for n, count in counts.items() if count >= FEWEST_CALIBRATED
    }
    priors = Priors(
        _opened(ready).fingerprint, own, {ALL: _mean(scores), **means}, {ALL: len(texts), **counts}
    )
    return Calibrated(ready, priors)


def _check_answers(answers: Sequence[str]) -> tuple[str, ...]:
    own = (answers,) if isinstance(answers, str) else tuple(answers)
    if len(own) < 2 or len(set(own)) < len(own) or not all(answer.strip() for answer in own):
        raise ModelError("there must be two answers or more, all different and none empty")
    return own


def _check_priors(priors: Priors, model: Model | Steered, answers: tuple[str, ...]) -> Priors:
    if priors.model != _opened(model).fingerprint:
        raise ModelError("these priors are of another model: calibrate again, on this one's texts")
    if ALL not in priors.means or any(
        len(row) != len(priors.answers) or not np.isfinite(row).all()
        for row in priors.means.values()
    ):
        raise ModelError("these priors are damaged: calibrate again")
    if priors.answers != answers:
        raise ModelError(
            f"these priors are of other answers: {', '.join(map(repr, priors.answers))}"
        )
    return priors


def _opened(model: Model | Steered) -> Model:
    return model.model if isinstance(model, Steered) else model


def _changes(
    model: Model | Steered, texts: Sequence[Text], language: str | None
) -> list[Change | None]:
    return model.route(texts, language) if isinstance(model, Steered) else [None] * len(texts)


def _group(change: Change | None) -> str:
    return UNSTEERED if change is None else change.language


def _log_probabilities(
    model: Model | Steered,
    texts: Sequence[Text],
    answers: Sequence[str],
    changes: Sequence[Change | None],
) -> Array:
    """Of each answer after each text under its change: [texts, answers], nats."""
    opened = _opened(model)
    by_change: dict[int, list[int]] = {}
    for i, change in enumerate(changes):
        by_change.setdefault(id(change), []).append(i)
    rows = np.empty((len(texts), len(answers)))
    for index in by_change.values():
        own, change = [texts[i] for i in index], changes[index[0]]
        (scores,) = choice_scores(opened, own, answers, [change], progress="Scoring answers")
        rows[index] = scores.double().numpy()
    return rows


def _mean(rows: Array) -> tuple[float, ...]:
    return tuple(rows.mean(axis=0).tolist())
