"""Fixed answers, chosen after what the model likes to say after any text is taken off.

A model says some answers after whatever it reads, and a vector moves that liking too. Batch calibration takes each
answer's mean log-probability over a batch of texts off (Zhou et al., arXiv 2309.17249): no labels are needed, only
texts like those to come. The gains that langsteer reports of tasks with fixed answers are calibrated so.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

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

    @classmethod
    def learned(
        cls,
        model: Mapping[str, Any],
        answers: Sequence[str],
        scores: Array,
        languages: Sequence[str | None],
    ) -> Self:
        """Those of the log-probabilities [texts, answers], nats, of a model of this fingerprint, under
        the changes of these languages, one a text, None for none.
        """
        groups = np.array([_group(language) for language in languages])
        counts = {str(name): int((groups == name).sum()) for name in dict.fromkeys(groups)}
        means = {
            name: _mean(scores[groups == name])
            for name, count in counts.items()
            if count >= FEWEST_CALIBRATED
        }
        means, texts = {ALL: _mean(scores), **means}, {ALL: len(scores), **counts}
        return cls(dict(model), tuple(answers), means, texts)

    def group(self, language: str | None) -> str:
        """Which of the means is that of a text under the change of this language, or none."""
        name = _group(language)
        return name if name in self.means else ALL

    def taken_off(
        self, scores: Array, languages: Sequence[str | None], answers: Sequence[str] | None = None
    ) -> Array:
        """Log-probabilities [texts, answers], each less its mean; `answers` are these in another order."""
        places = [self.answers.index(answer) for answer in answers or self.answers]
        means = [self.means[self.group(language)] for language in languages]
        return scores - np.array(means).reshape(len(scores), len(self.answers))[:, places]

    def in_order(self, answers: Sequence[str]) -> Self:
        """The same, of the answers in this order. Raises ModelError where they are others."""
        if sorted(self.answers) != sorted(answers):
            raise ModelError(
                f"these priors are of other answers: {', '.join(map(repr, self.answers))}"
            )
        places = [self.answers.index(answer) for answer in answers]
        means = {name: tuple(row[i] for i in places) for name, row in self.means.items()}
        return replace(self, answers=tuple(answers), means=means)

    def check_fits(self, model: Model) -> None:
        """Raise ModelError where they are another model's, or damaged."""
        if self.model != model.fingerprint:
            raise ModelError(
                "these priors are of another model: calibrate again, on this one's texts"
            )
        if ALL not in self.means or any(
            len(row) != len(self.answers)
            or not np.isfinite(row).all()
            or self.texts.get(name, 0) < 1
            for name, row in self.means.items()
        ):
            raise ModelError("these priors are damaged: calibrate again")


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
        texts = check_texts(texts)
        return self._scores(texts, _changes(self.model, texts, language))

    def choose(self, texts: Sequence[Text], language: str | None = None) -> list[Choice]:
        """The likeliest answer to each text; with `language`, all are steered as of that."""
        texts = check_texts(texts)
        changes = _changes(self.model, texts, language)
        shares = probabilities(self._scores(texts, changes))
        return [
            Choice(self.answers[int(row.argmax())], tuple(row.tolist()), language)
            for row, language in zip(shares, _languages(changes), strict=True)
        ]

    def _scores(self, texts: Sequence[Text], changes: Sequence[Change | None]) -> Array:
        raw = _log_probabilities(self.model, texts, self.answers, changes)
        return self.priors.taken_off(raw, _languages(changes))


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
    too few texts, for answers that are fewer than two or alike, for what is no text, and for priors of
    another model or of other answers.
    """
    ready = model if isinstance(model, Steered) else as_model(model)
    own = check_answers(answers)
    if isinstance(texts, str | Path):
        texts = Priors.read(texts)
    if isinstance(texts, Priors):
        texts.check_fits(_opened(ready))
        return Calibrated(ready, texts.in_order(own))
    texts = check_texts(texts)
    if len(texts) < FEWEST_CALIBRATED:
        raise ModelError(
            f"{len(texts)} texts are too few to calibrate on: {FEWEST_CALIBRATED} are the least, some hundreds "
            "are better; they need no labels"
        )
    changes = _changes(ready, texts, language)
    scores = _log_probabilities(ready, texts, own, changes)
    priors = Priors.learned(_opened(ready).fingerprint, own, scores, _languages(changes))
    return Calibrated(ready, priors)


def probabilities(scores: Array) -> Array:
    """Of scores [texts, answers], nats, each answer's share of its text."""
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def check_answers(answers: Sequence[str]) -> tuple[str, ...]:
    """The answers. Raises ModelError where they are no texts, fewer than two, alike, or empty."""
    if isinstance(answers, str) or not isinstance(answers, Iterable):
        raise ModelError(
            f"answers are a list of texts, not {answers!r}: name two or more in a list"
        )
    own = tuple(answers)
    for answer in own:
        if not isinstance(answer, str):
            raise ModelError(
                f"an answer is a text, not {answer!r}: write it as it follows the prompt"
            )
    if len(own) < 2 or len(set(own)) < len(own) or not all(answer.strip() for answer in own):
        raise ModelError("there must be two answers or more, all different and none empty")
    return own


def check_texts(texts: Sequence[Text]) -> list[Text]:
    """The texts. Raises ModelError where they are a single one, or one of them is no text."""
    if isinstance(texts, Text):
        raise ModelError("texts are a list, and a single text was given: [text]")
    if not isinstance(texts, Iterable):
        raise ModelError(f"texts are a list, not {texts!r}")
    own = list(texts)
    for number, text in enumerate(own, 1):
        if not isinstance(text, Text):
            raise ModelError(f"text {number} is {text!r}, and not a string or a langsteer.Prompt")
    return own


def _opened(model: Model | Steered) -> Model:
    return model.model if isinstance(model, Steered) else model


def _changes(
    model: Model | Steered, texts: Sequence[Text], language: str | None
) -> list[Change | None]:
    return model.route(texts, language) if isinstance(model, Steered) else [None] * len(texts)


def _languages(changes: Sequence[Change | None]) -> list[str | None]:
    return [None if change is None else change.language for change in changes]


def _group(language: str | None) -> str:
    return UNSTEERED if language is None else language


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
