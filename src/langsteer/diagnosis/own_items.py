"""Items of one's own: a file of JSON lines, one item a line.

    {"prompt": "Ibu kota Jepang adalah", "choices": ["Kyoto", "Tokyo"], "answer": "Tokyo",
     "english": {"prompt": "The capital of Japan is", "choices": ["Kyoto", "Tokyo"]}}

`prompt` and either `choices` (two or more) and `answer` (its place, from 0, or its text), or `reference`, a text that
is to be likely, are needed. The rest is optional: `english` and `translation` (by a machine) are objects with
`prompt`, and `choices` or `reference` where they differ; `text` is the part of the prompt that is in the language,
where there is a template around it; `delimiter` stands between prompt and answer, a space unless it is
given; `id` names the item.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from langsteer.diagnosis.item_lines import check_object, first_without, read_file, refuse_array
from langsteer.diagnosis.items import TaskItem, TaskItems, Wording, shuffled_in_two, wording
from langsteer.errors import DiagnosisError
from langsteer.storage.lines import JsonLine, json_lines
from langsteer.text.languages import parse_tag

FIELDS = (
    "prompt",
    "choices",
    "answer",
    "reference",
    "english",
    "translation",
    "text",
    "delimiter",
    "id",
)
OTHER_FIELDS = ("prompt", "choices", "reference", "text", "delimiter", "id", "answer")
LEAST = 2
LIKE = 'an item is like {"prompt": "…", "choices": ["…", "…"], "answer": 0}'


def read_own_items(
    path: str | Path, language: str, english: str | Path | None = None, seed: int = 0
) -> TaskItems:
    """The items of a file, half of them to develop with.

    `english` is a file with the English of the same items, line by line, in place of the field
    `english`. Raises DiagnosisError, which names the line and what to do about it.
    """
    path = Path(path)
    lines = _lines(path)
    others = [None] * len(lines) if english is None else _english_lines(path, lines, Path(english))
    items = [
        _item(line, other, f"{path}, line {line.number}")
        for line, other in zip(lines, others, strict=True)
    ]
    _check_together(items, lines, path)
    _check_ids(items, lines, path)
    development, report = shuffled_in_two(items, seed, str(path))
    split = (
        f"half of the items of {path.name}, by a hash of their ids, "
        f"{len(development)} to choose on and {len(report)} to report on"
    )
    return TaskItems(str(path), parse_tag(language), development, report, split)


def _lines(path: Path) -> list[JsonLine]:
    text = read_file(path)
    refuse_array(text, path, LIKE)
    lines = list(json_lines(text))
    for line in lines:
        check_object(line, path, LIKE)
    if len(lines) < LEAST:
        count = "one item" if lines else "no items"
        raise DiagnosisError(f"{path} has {count}, and two are the least: write one a line")
    return lines


def _english_lines(path: Path, lines: Sequence[JsonLine], english: Path) -> list[Any]:
    others = _lines(english)
    if len(others) != len(lines):
        raise DiagnosisError(
            f"{english} has {len(others)} items and {path} has {len(lines)}: they must be the same "
            "items, in the same order"
        )
    for line, other in zip(lines, others, strict=True):
        if "english" in line.value:
            raise DiagnosisError(
                f"{path}, line {line.number} has its own English: leave out the field or the file"
            )
        names = line.value.get("id"), other.value.get("id")
        if None not in names and names[0] != names[1]:
            raise DiagnosisError(
                f"{english}, line {other.number} is the item {names[1]!r}, and {path} has "
                f"{names[0]!r} there: they must be in the same order"
            )
    return [other.value for other in others]


def _item(line: JsonLine, english: Any, where: str) -> TaskItem:
    row: dict[str, Any] = line.value
    for field in row:
        if field not in FIELDS:
            raise DiagnosisError(f"{where}: no field {field!r}; there are {', '.join(FIELDS)}")
    name = row.get("id", line.number)
    if not isinstance(name, str | int):
        raise DiagnosisError(f"{where}: 'id' is {name!r}, not a name")
    own = _wording(row, where)
    right = _right(row, own, where)
    more = {
        "english": row.get("english") if english is None else english,
        "translation": row.get("translation"),
    }
    return TaskItem(
        str(name),
        own,
        right,
        **{name: _other(row, other, own, name, where) for name, other in more.items()},
    )


def _wording(row: Mapping[str, Any], where: str) -> Wording:
    prompt = _text(row, "prompt", where)
    return wording(_pieces(prompt, row.get("text"), where), _answers(row, prompt, where))


def _pieces(prompt: str, text: Any, where: str) -> tuple[str, ...]:
    """The prompt as template and text by turns; all of it is text where none is named."""
    if text is None:
        return ("", prompt)
    if not isinstance(text, str) or not text.strip() or text not in prompt:
        raise DiagnosisError(f"{where}: 'text' must be a part of 'prompt', word for word")
    before, _, after = prompt.partition(text)
    return (before, text, after)


def _answers(row: Mapping[str, Any], prompt: str, where: str) -> list[str]:
    if "reference" in row and "choices" in row:
        raise DiagnosisError(f"{where}: give 'choices' and 'answer', or 'reference', not both")
    if "reference" in row:
        answers = [_text(row, "reference", where)]
    elif "choices" in row:
        answers = _choices(row, where)
    else:
        raise DiagnosisError(
            f"{where}: no answers: give 'choices' and 'answer', or 'reference', the text that is "
            "to follow"
        )
    delimiter = row.get("delimiter", "" if prompt[-1:].isspace() else " ")
    if not isinstance(delimiter, str):
        raise DiagnosisError(f"{where}: 'delimiter' is {delimiter!r}, not a text")
    return [a if a[:1].isspace() else delimiter + a for a in answers]


def _choices(row: Mapping[str, Any], where: str) -> list[str]:
    choices = row["choices"]
    if not isinstance(choices, list) or len(choices) < 2:
        raise DiagnosisError(f"{where}: 'choices' must be a list of two texts or more")
    for choice in choices:
        if not isinstance(choice, str) or not choice.strip():
            raise DiagnosisError(f"{where}: the choice {choice!r} is no text")
    bare = [choice.strip() for choice in choices]
    for place, choice in enumerate(bare):
        if choice in bare[:place]:
            raise DiagnosisError(
                f"{where}: the choice {choice!r} is there twice: nothing could tell them apart"
            )
    return choices


def _right(row: Mapping[str, Any], own: Wording, where: str) -> int:
    if len(own.answers) == 1:
        if "answer" in row:
            raise DiagnosisError(f"{where}: 'answer' belongs to 'choices', and there are none")
        return 0
    answer, choices = row.get("answer"), row["choices"]
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return answer
    if isinstance(answer, str) and answer.strip() in [choice.strip() for choice in choices]:
        return [choice.strip() for choice in choices].index(answer.strip())
    if answer is None:
        raise DiagnosisError(f"{where}: no 'answer': which of 'choices' is right")
    raise DiagnosisError(
        f"{where}: the answer {answer!r} is not one of the choices: give its text, or its place "
        f"from 0 to {len(choices) - 1}"
    )


def _other(
    row: Mapping[str, Any], other: Any, own: Wording, name: str, where: str
) -> Wording | None:
    """The same item in English; its answers are the item's own where it has none."""
    if other is None:
        return None
    place = f"{where}, {name}"
    if not isinstance(other, dict):
        raise DiagnosisError(f"{place}: an object with 'prompt' is expected")
    for field in other:
        if field not in OTHER_FIELDS:
            raise DiagnosisError(f"{place}: no field {field!r}; there are {', '.join(FIELDS[:4])}")
    answers = {key: row[key] for key in ("choices", "reference") if key in row}
    given = {key: other[key] for key in ("choices", "reference") if key in other}
    if given and given.keys() != answers.keys():
        raise DiagnosisError(f"{place}: has {', '.join(given)}, and the item {', '.join(answers)}")
    made = _wording({**answers, **other}, place)
    if len(made.answers) != len(own.answers):
        raise DiagnosisError(
            f"{place}: {len(made.answers)} choices, and the item has {len(own.answers)}: they "
            "must be the same, in the same order"
        )
    if "answer" in other and _right({**answers, **other}, made, place) != _right(row, own, where):
        raise DiagnosisError(f"{place}: another choice is right than in the language")
    return made


def _text(row: Mapping[str, Any], field: str, where: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        given = f"{field!r} is {value!r}" if field in row else f"no {field!r}"
        raise DiagnosisError(f"{where}: {given}: it must be a text that is not empty")
    return value


def _check_together(items: Sequence[TaskItem], lines: Sequence[JsonLine], path: Path) -> None:
    kinds = {len(item.own.answers) > 1 for item in items}
    if len(kinds) > 1:
        raise DiagnosisError(f"{path}: some items have choices and some a reference: keep one kind")
    for name in ("english", "translation"):
        there = [getattr(item, name) is not None for item in items]
        without = first_without(lines, there)
        if without is not None:
            raise DiagnosisError(
                f"{path}, line {without} has no {name!r}, and {sum(there)} of {len(items)} items "
                "have it: give it for all or for none"
            )


def _check_ids(items: Sequence[TaskItem], lines: Sequence[JsonLine], path: Path) -> None:
    seen: dict[str, int] = {}
    for item, line in zip(items, lines, strict=True):
        if item.id in seen:
            raise DiagnosisError(
                f"{path}: the id {item.id!r} is there twice, in lines {seen[item.id]} and {line.number}: give "
                "each its own (without one, its line's number is the id)"
            )
        seen[item.id] = line.number
