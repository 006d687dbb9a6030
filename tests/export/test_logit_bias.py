"""Biases of what is written, as the field of a request to other servers."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from langsteer.errors import ExportError, SaveError
from langsteer.export.formats import export
from langsteer.model.model import Model
from langsteer.steering.logit_bias import LogitBias
from langsteer.steering.sequence import ChangeSequence
from tests.helpers import make_vector


def biased(model: Model, values: dict[int, float], strength: float = 1.0) -> LogitBias:
    every = torch.zeros(model.vocab_size)
    for token, value in values.items():
        every[token] = value
    about = {"name": model.name, "fingerprint": model.fingerprint}
    return LogitBias(every, "sw", "en", about, "test", strength)


def test_what_is_added_to_each_token(llama: Model, tmp_path: Path) -> None:
    parts = (biased(llama, {3: -1e4, 5: 0.5}), biased(llama, {5: 1.0, 7: 2.0}, 2.0))
    files = export(ChangeSequence(parts, strength=0.5), "logit-bias", tmp_path / "sw.json")
    assert files == {"sw": tmp_path / "sw.json"}
    content = json.loads(files["sw"].read_text(encoding="utf-8"))
    assert content == {"3": -100.0, "5": 1.25, "7": 2.0}


def test_its_own_files_are_replaced_and_no_others(llama: Model, tmp_path: Path) -> None:
    file = tmp_path / "sw.json"
    export(biased(llama, {3: 1.0}), "logit-bias", file)
    export(biased(llama, {4: 1.0}), "logit-bias", file)
    assert json.loads(file.read_text(encoding="utf-8")) == {"4": 1.0}
    for other in ('{"results": 1}', "{}", "[1]", '{"4": "a"}', "no JSON"):
        file.write_text(other, encoding="utf-8")
        with pytest.raises(SaveError, match="is there already"):
            export(biased(llama, {4: 1.0}), "logit-bias", file)
        assert file.read_text(encoding="utf-8") == other


def test_what_it_cannot_say_is_refused(llama: Model, tmp_path: Path) -> None:
    bias = biased(llama, {3: 1.0})
    with pytest.raises(ExportError, match="has a vector, which changes hidden states"):
        export(ChangeSequence((make_vector(llama), bias)), "logit-bias", tmp_path / "a.json")
    with pytest.raises(ExportError, match="is 0 for every token"):
        export(biased(llama, {}), "logit-bias", tmp_path / "a.json")
    other = replace(bias, model={**bias.model, "name": "another"})
    with pytest.raises(ExportError, match="of different models"):
        export([bias, other], "logit-bias", tmp_path / "a.json")
    with pytest.raises(ExportError, match="fit it by itself, and export that: --to logit-bias"):
        export(bias, "gguf", tmp_path / "a.gguf")
    assert list(tmp_path.iterdir()) == []
