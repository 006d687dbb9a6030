"""The four corners of a task: asked in the language or in English, and answered in the one or the other.

Of the gap between all in the language and all in English, what an English prompt alone wins back is lost in
reading, what English answers alone win back is lost in answering, and the rest needs both.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from langsteer.diagnosis.items import TaskItem, Wording
from langsteer.diagnosis.scoring import Asked, Scale, answer_scores, asked, scale_of
from langsteer.evaluation.harness.scoring import Question
from langsteer.evaluation.statistics import Array, Interval, difference, paired_bootstrap
from langsteer.model.model import Model

LANGUAGE, ENGLISH = "language", "English"
THE = {LANGUAGE: "the language", ENGLISH: ENGLISH}
Key = tuple[str, str]
"""What prompt and answers of a corner are in"""
FEWEST = 20  # items that a corner is told of, where not all have it
_WORDS_BEHIND = re.compile(r"\W[\w\s]*\w")


@dataclass(frozen=True)
class Corner:
    """The mean value of items whose prompt and whose answers are each in the language or in English."""

    prompt: str
    answers: str
    value: Interval


@dataclass(frozen=True)
class Corners:
    """The corners that a task has, over the same `items`, and what they say of the gap.

    `gap` is English less the language; `reading` and `answering` are what the one or the other
    alone in English wins, `both` the rest; each is None where a corner is missing. `note` says
    which items or corners there are not.
    """

    items: int
    corners: tuple[Corner, ...]
    gap: Interval | None = None
    reading: Interval | None = None
    answering: Interval | None = None
    both: Interval | None = None
    note: str = ""

    def at(self, prompt: str, answers: str) -> Corner | None:
        """The corner of these, None where it is missing."""
        own = (prompt, answers)
        return next((c for c in self.corners if (c.prompt, c.answers) == own), None)


@dataclass(frozen=True)
class Direct:
    """The items as they are asked, and their English: values [items]; scores of each answer.

    `english` is None where there is none.
    """

    asked: Asked
    scale: Scale
    scores: list[Array]
    values: Array
    english: Array | None
    english_chance: Array | None = None


def four_corners(
    model: Model,
    items: Sequence[TaskItem],
    scoring: str = "auto",
) -> tuple[Direct, Corners]:
    """Ask the items in every corner that they have; those of the usual wording are given in full."""
    own = asked(model, [item.own for item in items], items)
    scale = scale_of(own, scoring)  # type: ignore[arg-type]
    originals = [item.english for item in items if item.english is not None]
    if len(originals) < len(items):
        (scores,) = answer_scores(model, own, progress="Asking in the language")
        values = scale.values(scores, own.right)
        direct = Direct(own, scale, scores, values, None)
        corner = Corner(LANGUAGE, LANGUAGE, _mean(values))
        note = "There is no English of these items, so that nothing is said of a gap."
        return direct, Corners(len(items), (corner,), note=note)
    in_english = all(
        item.own.answers == english.answers for item, english in zip(items, originals, strict=True)
    )
    usual = (LANGUAGE, ENGLISH if in_english else LANGUAGE)
    kept, mixed = _corners_besides(items, originals, in_english)
    asked_at = {usual: own, (ENGLISH, ENGLISH): asked(model, originals, items)}
    chosen = [items[i] for i in kept]
    for corner_of, wordings in mixed.items():
        asked_at[corner_of] = asked(model, [wordings[i] for i in kept], chosen)
    scored = _scored(model, asked_at, kept)
    known = {key: scale.values(rows, asked_at[key].right) for key, rows in scored.items()}
    chance = _chance_of_references(model, originals, items) if scale.unit == "nats" else None
    direct = Direct(own, scale, scored[usual], known[usual], known[ENGLISH, ENGLISH], chance)
    return direct, _told(known, kept, len(items))


def _corners_besides(
    items: Sequence[TaskItem], originals: Sequence[Wording], in_english: bool
) -> tuple[list[int], dict[Key, list[Wording]]]:
    """The items that all corners are of, and the wordings of the corners that are not asked as it
    is usual. `in_english` says whether all are usually answered in English.
    """
    whole = list(range(len(items)))
    if in_english:
        return whole, _native(items, originals)
    pairs = zip(items, originals, strict=True)
    kept = [i for i, (item, english) in enumerate(pairs) if _mix(item.own, english)]
    enough = len(kept) >= min(FEWEST, len(items))
    return (kept, _mixed(items, originals)) if enough else (whole, {})


def _scored(
    model: Model, asked_at: Mapping[Key, Asked], kept: Sequence[int]
) -> dict[Key, list[Array]]:
    """The scores of every corner's answers; a prompt that several corners have is read once.

    Corners are of all items, or of those in `kept`; those of all come first.
    """
    count = max(len(asked.right) for asked in asked_at.values())
    questions = {
        key: dict(
            zip(range(count) if len(own.right) == count else kept, own.questions, strict=True)
        )
        for key, own in asked_at.items()
    }
    of_items: dict[Key, list[Array]] = {}
    for group in _of_same_prompts(questions):
        whole = questions[group[0]]
        parts = {
            i: [(key, questions[key][i]) for key in group if i in questions[key]] for i in whole
        }
        joined = tuple(
            Question(whole[i].context, tuple(a for _, own in part for a in own.answers))
            for i, part in parts.items()
        )
        label = f"Asking in {THE[group[0][0]]}"
        (scores,) = answer_scores(model, Asked(joined, (0,) * len(joined)), progress=label)
        for part, row in zip(parts.values(), scores, strict=True):
            ends = np.cumsum([len(own.answers) for _, own in part])
            for (key, _), own in zip(part, np.split(row, ends[:-1]), strict=True):
                of_items.setdefault(key, []).append(own)
    return of_items


def _of_same_prompts(questions: Mapping[Key, Mapping[int, Question]]) -> list[list[Key]]:
    """Corners in groups, each with the prompts of its first or of some of these."""
    groups: list[list[Key]] = []
    for key, own in questions.items():
        for group in groups:
            first = questions[group[0]]
            if all(i in first and first[i].context == q.context for i, q in own.items()):
                group.append(key)
                break
        else:
            groups.append([key])
    return groups


def _mix(own: Wording, english: Wording) -> bool:
    """Whether answers of one may follow the prompt of the other: nothing of the prompt stands behind
    them, as it does where a gap in the middle is filled.
    """
    return not (_words_behind(own.answers) or _words_behind(english.answers))


def _words_behind(answers: Sequence[str]) -> bool:
    """Whether all answers end in the same word or words, after a first of their own."""
    if len(answers) == 1:
        return False
    ends = [answer[::-1] for answer in answers]
    shared = 0
    while all(len(end) > shared and end[shared] == ends[0][shared] for end in ends):
        shared += 1
    return bool(_WORDS_BEHIND.search(ends[0][:shared][::-1]))


def _mixed(items: Sequence[TaskItem], originals: Sequence[Wording]) -> dict[Key, list[Wording]]:
    pairs = list(zip(items, originals, strict=True))
    return {
        (ENGLISH, LANGUAGE): [Wording(e.prompt, item.own.answers) for item, e in pairs],
        (LANGUAGE, ENGLISH): [Wording(item.own.prompt, e.answers) for item, e in pairs],
    }


def _native(items: Sequence[TaskItem], originals: Sequence[Wording]) -> dict[Key, list[Wording]]:
    """Corners with answers in the language, where there is a form that has them."""
    native = [item.native for item in items if item.native is not None]
    if len(native) < len(items):
        return {}
    return {
        (LANGUAGE, LANGUAGE): native,
        (ENGLISH, LANGUAGE): [
            Wording(e.prompt, own.answers) for e, own in zip(originals, native, strict=True)
        ],
    }


def _chance_of_references(
    model: Model, originals: Sequence[Wording], items: Sequence[TaskItem]
) -> Array:
    """The likelihood of each reference after the prompt of another item."""
    moved = [*originals[1:], originals[0]]
    wordings = [
        Wording(other.prompt, own.answers) for other, own in zip(moved, originals, strict=True)
    ]
    (scores,) = answer_scores(model, asked(model, wordings, items), progress="After other prompts")
    return np.array([row[0] for row in scores])


def _told(known: Mapping[Key, Array], kept: Sequence[int], count: int) -> Corners:
    """Corners and their differences, on the items that all of them have."""
    index = np.array(kept)
    values = {key: v[index] if len(v) == count else v for key, v in known.items()}
    there, here = values[ENGLISH, ENGLISH], values.get((LANGUAGE, LANGUAGE))
    usual = here if here is not None else values[LANGUAGE, ENGLISH]
    by_prompt, by_answers = values.get((ENGLISH, LANGUAGE)), values.get((LANGUAGE, ENGLISH))
    notes = []
    if len(kept) < count:
        notes.append(
            f"The corners are those of the {len(kept)} of {count} items whose answers end the text."
        )
    if here is None:
        notes.append("The answers are in English already: all of the gap is in reading.")
    elif by_prompt is None:
        notes.append("The answers do not end the text, so that they cannot be put after others.")
    reading = answering = both = None
    if here is None:
        reading = paired_bootstrap(difference, usual, there)
    elif by_prompt is not None and by_answers is not None:
        reading = paired_bootstrap(difference, here, by_prompt)
        answering = paired_bootstrap(difference, here, by_answers)
        both = paired_bootstrap(_rest, here, by_prompt, by_answers, there)
    return Corners(
        len(kept),
        tuple(Corner(*key, _mean(v)) for key, v in sorted(values.items(), reverse=True)),
        paired_bootstrap(difference, usual, there),
        reading,
        answering,
        both,
        " ".join(notes),
    )


def _rest(here: Array, by_prompt: Array, by_answers: Array, there: Array) -> Array:
    """What neither alone wins: the gap less both parts."""
    return np.asarray(there.mean(-1) - by_prompt.mean(-1) - by_answers.mean(-1) + here.mean(-1))


def _mean(values: Array) -> Interval:
    return paired_bootstrap(lambda sample: np.asarray(sample.mean(-1)), values)
