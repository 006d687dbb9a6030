"""The folder of a tuned model: what is there is kept."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("peft")
pytest.importorskip("trl")


from langsteer.errors import TuneError
from langsteer.model.model import Model
from langsteer.tuning import SftOptions, sft
from langsteer.tuning.folder import RECORD, Tuned, finished
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


@pytest.mark.parametrize(
    "change",
    [
        {"steps": "two"},
        {"before": None},
        {"vectors": "none"},
        {"method": None},
        {"after": {"sw": 1}},
    ],
)
def test_a_damaged_record_is_no_tuned_model(tmp_path: Path, change: dict[str, Any]) -> None:
    scores = {"sw": {"loss": 1.0}}
    tuned = Tuned("sft", "here", "tiny", {"sw": 2}, {"sw": 1}, 0, 2, 0.5, scores, scores)
    record = {"result": asdict(tuned), "about": {"seed": 0}}
    (tmp_path / RECORD).write_text(json.dumps(record))
    assert finished(tmp_path, {"seed": 0}, False) == replace(tuned, folder=str(tmp_path), kept=True)
    record["result"] |= change
    (tmp_path / RECORD).write_text(json.dumps(record))
    with pytest.raises(TuneError, match="is there and is no tuned model"):
        finished(tmp_path, {"seed": 0}, False)
