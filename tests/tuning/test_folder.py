"""The folder of a tuned model: what is there is kept."""

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("peft")
pytest.importorskip("trl")


from langsteer.errors import TuneError
from langsteer.model.model import Model
from langsteer.tuning import SftOptions, sft
from tests.made.instructions import FAST, toy


def test_what_is_there_is_kept(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = SftOptions(**FAST | {"steps": 2})
    first = sft(model, toy(), tmp_path / "sft", options=options)
    again = sft(model, toy(), tmp_path / "sft", options=options)
    assert again == replace(first, kept=True)
    with pytest.raises(TuneError, match="other options: name another folder"):
        sft(model, toy(), tmp_path / "sft", options=replace(options, seed=1))
    with pytest.raises(TuneError, match="other options: name another folder"):
        sft(model, toy(9), tmp_path / "sft", options=options)
    third = sft(model, toy(), tmp_path / "sft", options=replace(options, seed=1), overwrite=True)
    assert third.after != first.after
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    for overwrite in (False, True):
        with pytest.raises(TuneError, match="is there and is no tuned model"):
            sft(model, toy(), tmp_path / "mine", options=options, overwrite=overwrite)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "sft"]
