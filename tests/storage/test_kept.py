"""What is kept is made again when it was made of something else."""

import json
from pathlib import Path

from langsteer.storage.files import write_text
from langsteer.storage.kept import Difference, as_kept, first_difference, is_same, kept, read_record


def test_what_is_kept_is_made_again_when_it_was_made_of_something_else(tmp_path: Path) -> None:
    path, made = tmp_path / "a.txt", []

    def make() -> str:
        made.append(1)
        write_text(path, "made")
        return "made"

    for about in ({"seed": 0}, {"seed": 0}, {"seed": 1}):
        found, seconds = kept(path, about, lambda p: p.read_text(), make)
        assert found == "made"
        assert seconds >= 0
    assert len(made) == 2
    (tmp_path / "a.txt.json").write_text("[")
    kept(path, {"seed": 1}, lambda p: p.read_text(), make)
    path.unlink()
    kept(path, {"seed": 1}, lambda p: p.read_text(), make)
    assert len(made) == 4
    assert json.loads((tmp_path / "a.txt.json").read_text())["about"] == {"seed": 1}


def test_records_are_compared_as_their_file_gives_them_back(tmp_path: Path) -> None:
    about = {"path": tmp_path, "layers": (1, 2), "seed": 0}
    made = json.loads(json.dumps(as_kept(about)))
    assert first_difference(about, made | {"more": 1}) is None
    assert is_same(about, made)
    assert not is_same(about, made | {"more": 1})
    assert first_difference(about | {"seed": 1}, made) == Difference("seed", 1, 0)
    assert first_difference({"limit": None}, {}) is None
    assert first_difference({"limit": 3}, None) == Difference("limit", 3, None)


def test_a_record_that_is_not_there_or_damaged_is_empty(tmp_path: Path) -> None:
    assert read_record(tmp_path / "none.json") == {}
    for text in ("[1]", "{", "\ufeff"):
        write_text(tmp_path / "a.json", text)
        assert read_record(tmp_path / "a.json") == {}
