"""A package from outside: a method, a benchmark and an export, one file each, used from the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("lm_eval")

METHOD = '''
"""The difference of the medians."""
from dataclasses import replace

from langsteer.fitting.mean_difference import fit as fit_means
from langsteer.fitting.options import Method, PooledOptions


def fit(model, corpus, options=PooledOptions()):
    return replace(fit_means(model, corpus, options), method="half", strength=0.5)


METHOD = Method("half", fit, PooledOptions)
'''
EXPORT = '''
"""The numbers as text."""
from langsteer.export.format import ExportFormat, vectors_of


def export(changes, path):
    (vector,) = vectors_of(changes, "text")
    path.write_text(" ".join(f"{value:.3f}" for value in vector.values.tolist()))


FORMAT = ExportFormat("text", "numbers as text", ".txt", export)
'''
BENCHMARK = """
title: Colours
kind: choice
metric: acc
languages: [en, sw]
layout: colours/<code>.jsonl
folders: [colours]
parts: {test: test}
files:
  path: "{code}.jsonl"
  columns:
    text: text
    colour: {values: [red, green]}
source: [text]
target: colour
forms:
  english:
    doc_to_text: "{{text}}\\nThe colour is"
    doc_to_choice: [red, green]
    doc_to_target: "{{['red', 'green'].index(colour)}}"
instructions:
  en: Name the colour.
"""
ENTRY_POINTS = """[langsteer.methods]
half = half_method:METHOD

[langsteer.exports]
text = text_export:FORMAT
"""


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What installing a small package leaves behind, and a user's benchmark with its items."""
    site = tmp_path / "site"
    about = site / "colourful-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: colourful\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRY_POINTS)
    (site / "half_method.py").write_text(METHOD)
    (site / "text_export.py").write_text(EXPORT)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "colours.yaml").write_text(BENCHMARK)
    items = tmp_path / "data" / "colours"
    items.mkdir(parents=True)
    for code in ("en", "sw"):
        rows = [{"text": f"{code} {i}", "colour": ("red", "green")[i % 2]} for i in range(6)]
        (items / f"{code}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return site


@pytest.mark.slow
def test_one_file_each(outside: Path, folder: Path, tmp_path: Path) -> None:
    paths = [str(outside), *(path for path in sys.path if path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}

    def langsteer(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "langsteer", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    fit = ["fit", "-l", "sw", "-n", "48", "--method", "half", "--layer", "1", "-m", str(folder)]
    told = json.loads(langsteer(*fit, "-o", "sw.safetensors", "--json"))
    assert told["method"] == "half"
    langsteer("export", "sw.safetensors", "--to", "text", "-o", "sw.txt")
    assert len((tmp_path / "sw.txt").read_text().split()) == told["hidden_size"]
    evaluate = ["evaluate", "-t", "colours", "-v", "sw.safetensors", "-m", str(folder)]
    results = json.loads(langsteer(*evaluate, "--data", "data", "--benchmarks", "own", "--json"))
    assert "colours" in json.dumps(results)
