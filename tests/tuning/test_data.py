"""Instruction records: every form that is read, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from langsteer.errors import CorpusError, TuneError
from langsteer.tuning import builtin_instructions, read_instructions
from langsteer.tuning.data import Record, read_aligned
from tests.made.instructions import lines, toy

ASK = [{"role": "user", "content": "Hi"}]


SAY, DENY = ({"role": "assistant", "content": text} for text in ("Hello", "Bye"))


@pytest.mark.parametrize(
    ("row", "rejected"),
    [
        ({"instruction": "Hi", "chosen": "Hello"}, None),
        ({"instruction": "Hi ", "chosen": "Hello\n", "rejected": "Bye", "fault": "x"}, "Bye"),
        ({"messages": [*ASK, SAY]}, None),
        ({"messages": [*ASK, SAY], "rejected": None}, None),
        ({"prompt": "Hi", "completion": "Hello"}, None),
        ({"prompt": "Hi", "chosen": "Hello", "rejected": "Bye"}, "Bye"),
        ({"prompt": ASK, "chosen": [SAY], "rejected": [DENY]}, "Bye"),
        ({"chosen": [*ASK, SAY], "rejected": [*ASK, DENY]}, "Bye"),
    ],
)
def test_every_form_of_a_record(row: Any, rejected: str | None, tmp_path: Path) -> None:
    (found,) = read_instructions(lines(tmp_path / "a.jsonl", row))
    assert found == Record("1", None, (("user", "Hi"),), "Hello", rejected)
    (found,) = read_instructions(lines(tmp_path / "a.jsonl", row | {"id": 7, "language": "swh"}))
    assert (found.id, found.language, found.instruction) == ("7", "sw", "Hi")


GOOD = {"instruction": "Hi", "chosen": "Hello"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", r"a\.jsonl, line 3: not JSON"),
        ("[1]", "line 3: not an object"),
        ({"instruction": "Hi"}, "line 3: no chosen"),
        ({"instruction": " ", "chosen": "x"}, "line 3: instruction is empty"),
        ({"instruction": "Hi", "chosen": ""}, "line 3: chosen is empty"),
        ({"instruction": "Hi", "chosen": 3}, "line 3: chosen is not text"),
        (GOOD | {"rejected": " "}, "line 3: rejected is empty"),
        (GOOD | {"rejected": "Hello "}, "line 3: the rejected answer is the chosen one"),
        (GOOD | {"language": "qx"}, "line 3: no language has the tag 'qx'"),
        (GOOD | {"id": "1"}, "line 3: the id '1' is that of line 1 too"),
        ({"text": "Hi"}, "line 3: no instruction, prompt or messages; it has text"),
        ({"messages": ASK}, "line 3: the last of its messages is not the assistant's"),
        ({"messages": []}, "line 3: messages is empty"),
        ({"messages": [SAY]}, "line 3: nothing that a user says"),
        ({"messages": [{"role": "judge", "content": "x"}]}, "whose role is 'judge'"),
        ({"prompt": ASK, "chosen": [{"role": "assistant"}]}, "line 3: no chosen: content"),
        ({"chosen": [*ASK, SAY], "rejected": [DENY]}, "do not begin with the same messages"),
    ],
)
def test_a_bad_record_is_named(row: Any, message: str, tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", GOOD | {"id": "1"}, "", row)
    with pytest.raises(TuneError, match=message):
        read_instructions(path)


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot read"):
        read_instructions(tmp_path / "none.jsonl")
    (tmp_path / "a.jsonl").write_bytes(b'{"instruction": "\xff"}')
    with pytest.raises(CorpusError, match="not UTF-8: line 1"):
        read_instructions(tmp_path / "a.jsonl")
    with pytest.raises(TuneError, match="nothing to learn from"):
        read_instructions([])


def test_a_data_set_of_the_hub(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "set").mkdir()
    lines(tmp_path / "set" / "train.jsonl", GOOD | {"language": "tr"}, GOOD | {"rejected": "No"})
    found = read_instructions(f"hf:{tmp_path / 'set'}")
    assert [(r.id, r.language, r.rejected) for r in found] == [("1", "tr", None), ("2", None, "No")]
    with pytest.raises(CorpusError, match="cannot read the data set"):
        read_instructions(f"hf:{tmp_path / 'none'}")


def test_languages_are_chosen_and_sources_joined(tmp_path: Path) -> None:
    one = lines(tmp_path / "a.jsonl", GOOD | {"language": "swh"}, GOOD | {"language": "tr"}, GOOD)
    assert [r.language for r in read_instructions(one, ["sw"])] == ["sw", "sw"]
    assert [r.language for r in read_instructions(one, ["sw", "tr"])] == ["sw", "tr"]
    with pytest.raises(TuneError, match=r"no records in 'et'; its languages: sw, tr"):
        read_instructions(one, ["et", "sw"])
    both = read_instructions([one, lines(tmp_path / "b.jsonl", GOOD | {"language": "et"})])
    assert both.languages == ("sw", "tr", "et")
    assert both.name == "a.jsonl, b.jsonl"
    assert both.fingerprint != read_instructions(one).fingerprint


def test_what_is_held_out_is_held_out_in_every_language() -> None:
    records = toy(20)
    learnt, held = records.split(0.15)
    assert (len(learnt), len(held)) == (34, 6)
    assert {r.id for r in learnt}.isdisjoint(r.id for r in held)
    assert [r.language for r in held] == ["en"] * 3 + ["sw"] * 3
    assert records.split(0.15)[1] == held != records.split(0.15, seed=1)[1]
    assert len(records.split(0)[1]) == 0
    assert len(toy(2).split(0.01)[1]) == 2
    with pytest.raises(TuneError, match="1 different ids"):
        toy(1).split(0.1)
    with pytest.raises(TuneError, match="at least 0 and under 1"):
        records.split(1)


def test_the_builtin_records() -> None:
    found = builtin_instructions()
    assert found.languages == ("en", "es", "hi", "id", "sw", "tr")
    ids = [r.id for r in found.only("en")]
    assert len(ids) == len(set(ids)) == 40
    assert all([r.id for r in found.only(tag)] == ids for tag in found.languages)
    assert all(r.rejected for r in found)
    assert {r.language for r in builtin_instructions(["swh", "tr"])} == {"sw", "tr"}
    assert read_instructions("builtin", ["sw"]).records == builtin_instructions(["sw"]).records
    with pytest.raises(TuneError, match="not in 'fi'; they are in en, es"):
        builtin_instructions(["fi"])


def test_records_that_are_not_aligned(tmp_path: Path) -> None:
    rows = [GOOD | {"id": str(i)} for i in range(3)]
    lines(tmp_path / "en.jsonl", *rows)
    lines(tmp_path / "sw.jsonl", *rows[:2])
    with pytest.raises(TuneError, match=r"sw\.jsonl is not aligned with en\.jsonl"):
        read_aligned(tmp_path)
