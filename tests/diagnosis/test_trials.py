"""The file of a search: what was written is there again, and what is damaged or of another search is told."""

from pathlib import Path

import numpy as np
import pytest

from langsteer.diagnosis.trials import Trials
from langsteer.errors import DiagnosisError

HASH = "0123456789abcdef" * 2
ABOUT = {"task": "items.jsonl", "language": "sw"}


def test_what_was_written_is_there_again(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "trials.jsonl"
    first = Trials(file, ABOUT)
    first.add("a", "all", ["1", "2"], [np.array([-1.0, -2.0]), np.array([-3.0])], 1.5)
    first.add("a", "all", ["3"], [np.array([-4.0])], 0.5)
    first.tell("round first", 2.0, items=3, took=2.0)
    again = Trials(file, ABOUT)
    assert {name: row.tolist() for name, row in again.known("a", "all").items()} == {
        "1": [-1.0, -2.0],
        "2": [-3.0],
        "3": [-4.0],
    }
    assert again.known("a", "some") == {}
    assert again.told("round first") == {"items": 3, "took": 2.0}
    assert again.seconds == first.seconds == 4.0


def test_a_line_that_was_cut_off_is_dropped(tmp_path: Path) -> None:
    file = tmp_path / "trials.jsonl"
    Trials(file, ABOUT).tell("one", value=1)
    with file.open("a", encoding="utf-8") as opened:
        opened.write('{"candidate": "a", "sta')
    again = Trials(file, ABOUT)
    assert again.told("one") == {"value": 1}
    again.tell("two", value=2)
    assert Trials(file, ABOUT).told("two") == {"value": 2}


def test_damage_and_other_searches_are_told(tmp_path: Path) -> None:
    file = tmp_path / "trials.jsonl"
    Trials(file, ABOUT).tell("one", value=1)
    with pytest.raises(DiagnosisError, match=r"another search \(language is \"sw\" there"):
        Trials(file, {**ABOUT, "language": "id"})
    assert Trials(file, {**ABOUT, "language": "id"}, overwrite=True).told("one") is None
    corpus = {"name": "mine", "fingerprint": "0123456789abcdef", "lines": 60}
    other = tmp_path / "other.jsonl"
    Trials(other, {"corpus": corpus}).tell("one", value=1)
    with pytest.raises(DiagnosisError, match=r"\(lines of corpus is 60 there, and 50 now\)"):
        Trials(other, {"corpus": {**corpus, "fingerprint": "fedcba9876543210", "lines": 50}})
    text = file.read_text(encoding="utf-8")
    file.write_text("not json\n" + text, encoding="utf-8")
    with pytest.raises(DiagnosisError, match="line 1 is damaged"):
        Trials(file, ABOUT)


@pytest.mark.parametrize(
    ("key", "made", "wanted", "message"),
    [
        ("items", HASH, HASH[::-1], "(of other items, or with another --limit)"),
        ("model", {"weights": HASH}, {"weights": HASH[::-1]}, "(of another model, or its weights"),
        (
            "corpus",
            {"name": "a", "hash": HASH},
            {"name": "a", "hash": HASH[::-1]},
            "(with another c",
        ),
        ("prompts", {"hash": HASH}, {"hash": HASH[::-1]}, "(of other prompts)"),
        ("prompts", {"hash": HASH}, None, "(prompts: given there, and not now)"),
        ("prompts", None, {"hash": HASH}, "(prompts: given now, and not there)"),
        ("code", HASH, HASH[::-1], "(its code was another)"),
    ],
)
def test_what_differs_is_told_in_words(
    tmp_path: Path, key: str, made: object, wanted: object, message: str
) -> None:
    file = tmp_path / "trials.jsonl"
    Trials(file, {**ABOUT, **({key: made} if made else {})})
    with pytest.raises(DiagnosisError) as raised:
        Trials(file, {**ABOUT, **({key: wanted} if wanted else {})})
    assert message in str(raised.value)
    assert HASH not in str(raised.value)
    assert HASH[::-1] not in str(raised.value)
    assert str(raised.value).endswith(": name another output, or pass --overwrite")
