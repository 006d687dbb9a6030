import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from langsteer.analysis.layers.analyze import analyze
from langsteer.analysis.layers.results import LayerResults
from langsteer.errors import (
    AnalysisError,
)
from langsteer.model.model import Model
from langsteer.text.corpus import ParallelCorpus
from tests.made.analysis import QUICK, corpus


def test_numbers_survive_their_file(tmp_path: Path, llama: Model) -> None:
    found = analyze(llama, corpus("sw", lines=6), options=QUICK)
    path = found.write(tmp_path)
    assert LayerResults.read(path) == LayerResults.read(tmp_path)
    again = LayerResults.read(path)
    assert again.as_json() == json.loads(json.dumps(found.as_json()))
    assert again.languages["sw"].before.alignment == found.languages["sw"].before.alignment
    assert again.map == found.map
    values = json.loads(path.read_text())
    for change, message in (
        ({"format": "x"}, "not the results of langsteer analyze"),
        ({"format_version": 99}, "format version 99"),
        ({"layers": "four"}, r"results.layers is damaged: 'four'"),
        ({"chance": None, "pivot_norms": {}}, "pivot_norms is damaged: it has no mean"),
    ):
        path.write_text(json.dumps(values | change))
        with pytest.raises(AnalysisError, match=message):
            LayerResults.read(path)
    path.write_text("{")
    with pytest.raises(AnalysisError, match="is not JSON"):
        LayerResults.read(path)
    with pytest.raises(AnalysisError, match="cannot read"):
        LayerResults.read(tmp_path / "none.json")


def test_no_number_that_does_not_exist_breaks_the_file(tmp_path: Path, llama: Model) -> None:
    """All sentences the same: no variance, no CKA."""
    text = ParallelCorpus({"sw": ("a b", "a b"), "en": ("a b", "a b")}, "en", "same")
    found = analyze(llama, text, options=replace(QUICK, items=0))
    sw = found.languages["sw"].before
    assert all(map(math.isnan, sw.identity.variance))
    assert all(map(math.isnan, sw.alignment.cka))
    assert sw.alignment.mexa == (0, 0, 0, 0)
    assert sw.identity.distance == (0, 0, 0, 0)
    assert (sw.next_token, sw.words, found.languages["sw"].tokens) == ({}, {}, None)
    found.write(tmp_path)
    assert math.isnan(LayerResults.read(tmp_path).languages["sw"].before.alignment.cka[0])
