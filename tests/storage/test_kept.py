"""What is kept is made again when it was made of something else."""

import json
from pathlib import Path

from langsteer.storage.files import write_text
from langsteer.storage.kept import kept


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
