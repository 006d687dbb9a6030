"""Files that version 0.1 wrote open, and say what they said then; see data/0.1/make.py."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import langsteer
from langsteer.analysis.drift.results import Drift
from langsteer.analysis.layers.results import LayerResults
from langsteer.analysis.vectors.examine import VectorResults
from langsteer.errors import SaveError
from langsteer.fitting.learning import learn_all
from langsteer.model.model import Model
from langsteer.model.tokens import encode, pad_mask
from langsteer.steering.folder import read_vectors
from langsteer.steering.router import Router
from langsteer.storage.tensors import read_tensors
from langsteer.text.corpus import ParallelCorpus

OLD = Path(__file__).parent / "data" / "0.1"
EXPECTED: dict[str, Any] = json.loads((OLD / "expected.json").read_text(encoding="utf-8"))
TEXTS = EXPECTED["texts"]


@pytest.fixture(scope="module")
def model() -> Model:
    return langsteer.load_model(OLD / "model")


@pytest.fixture(scope="module")
def corpus() -> ParallelCorpus:
    texts = json.loads((OLD / "pairs.json").read_text(encoding="utf-8"))
    return ParallelCorpus({tag: tuple(lines) for tag, lines in texts.items()}, "en", "pairs")


def last_logits(model: Model, change: Any = None) -> Any:
    encoded = encode(model, TEXTS)
    inputs = model.batch([text.ids for text in encoded])
    mask = pad_mask([text.source for text in encoded])
    with torch.no_grad():
        if change is None:
            return model.network(**inputs).logits[:, -1]
        with change.applied(model, mask=mask):
            return model.network(**inputs).logits[:, -1]


def close(logits: Any, expected: list[list[float]]) -> bool:
    return torch.allclose(logits.double(), torch.tensor(expected).double(), rtol=0, atol=1e-5)


def test_the_model_is_the_one_that_they_were_made_with(model: Model) -> None:
    assert EXPECTED["version"] == "0.1.0"
    assert close(last_logits(model), EXPECTED["logits"])


@pytest.mark.parametrize("name", list(EXPECTED["changes"]))
def test_a_change_does_what_it_did(name: str, model: Model) -> None:
    old = EXPECTED["changes"][name]
    change = langsteer.load(OLD / f"{name}.safetensors")
    change.check_fits(model)
    assert (change.language, change.pivot, change.positions) == (
        old["language"],
        "en",
        old["positions"],
    )
    assert change.strength == old["strength"]
    assert list(change.layers) == old["layers"]
    logits = last_logits(model, change)
    assert close(logits, old["logits"])
    assert not close(logits, EXPECTED["logits"])


@pytest.mark.parametrize("name", list(EXPECTED["changes"]))
def test_a_change_written_again_does_the_same(name: str, model: Model, tmp_path: Path) -> None:
    change = langsteer.load(OLD / f"{name}.safetensors")
    again = langsteer.load(change.save(tmp_path / "again.safetensors"))
    assert type(again) is type(change)
    assert close(last_logits(model, again), EXPECTED["changes"][name]["logits"])


def test_a_router_tells_what_it_told(model: Model) -> None:
    router = Router.load(OLD / "vectors" / "router.safetensors")
    said = router.identify(model, TEXTS)
    assert [one.language for one in said] == [language for language, _ in EXPECTED["router"]]
    assert [one.confidence for one in said] == pytest.approx(
        [chance for _, chance in EXPECTED["router"]], abs=1e-5
    )
    vectors = read_vectors(OLD / "vectors")
    assert set(vectors) == {"sw", "et", "tr"}
    routed = [router.choose(one, vectors, 0.5) for one in said]
    assert [vector and vector.language for vector in routed] == EXPECTED["routed"]


def test_a_fitted_vector_is_known_again(
    model: Model, corpus: ParallelCorpus, tmp_path: Path
) -> None:
    """The same call finds its old file, and does not learn anew."""
    file = Path(shutil.copy(OLD / "learned.safetensors", tmp_path))
    before = file.read_bytes()
    learn_all(model, corpus.only("sw"), "learned", files={"sw": file}, steps=6, batch=4)
    assert file.read_bytes() == before
    with pytest.raises(SaveError, match=r"made otherwise \(option steps: 6, and 5 now\)"):
        learn_all(model, corpus.only("sw"), "learned", files={"sw": file}, steps=5, batch=4)


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        (LayerResults, "analysis/results.json"),
        (Drift, "drift/drift.json"),
        (VectorResults, "vectors/vectors.json"),
    ],
)
def test_results_hold_every_number(kind: Any, file: str) -> None:
    written = json.loads((OLD / file).read_text(encoding="utf-8"))
    assert len(numbers(written)) > 200
    read = kind.read(OLD / file).as_json()
    assert_within(written, read)
    assert numbers(written) == numbers({key: read[key] for key in written})


def test_displacements_open() -> None:
    from langsteer.analysis.drift.compare import DISPLACEMENTS

    tensors, record = read_tensors(OLD / "drift" / "displacements.safetensors", DISPLACEMENTS)
    drift = Drift.read(OLD / "drift")
    assert set(tensors) == {f"{v.name}/{tag}" for v in drift.versions for tag in ("sw", "et", "en")}
    assert record["base"] == drift.base
    assert all(values.shape == (4, 32) for values in tensors.values())


def test_a_comparison_says_what_it_said() -> None:
    pytest.importorskip("lm_eval")
    from langsteer.evaluation.report.page import make_report

    old = json.loads((OLD / "comparison" / "report.json").read_text(encoding="utf-8"))
    new = make_report(OLD / "comparison", draws=200).as_json()
    assert old.pop("langsteer") == "0.1.0"
    assert len(numbers(old["benchmarks"])) > 100
    assert_within(old, json.loads(json.dumps(new)))


def test_a_comparison_goes_on_where_it_was(
    model: Model, corpus: ParallelCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lm_eval")
    from langsteer.evaluation.comparison import making, run, unit
    from langsteer.evaluation.comparison.configuration import comparison

    monkeypatch.setattr(unit, "load_model", lambda name, **_: model)
    monkeypatch.setattr(making, "fit_corpus", lambda path, lines, *tags: corpus.only(*tags))
    shutil.copytree(OLD / "comparison", tmp_path / "comparison")
    shutil.copytree(OLD / "data", tmp_path / "data")
    gone = tmp_path / "comparison" / "cells" / "tiny" / "sib200" / "sw" / "mean_difference.json"
    cell = json.loads(gone.read_text(encoding="utf-8"))
    gone.unlink()
    wanted = {
        "output": "comparison",
        "models": "tiny",
        "benchmarks": "sib200",
        "languages": ["sw", "et"],
        "methods": ["direct", "english", "few_shot", "mean_difference"],
        "data": "data",
    }
    outcome = run.compare(comparison(wanted, tmp_path))
    assert (len(outcome.made), len(outcome.kept), outcome.failed) == (1, 7, [])
    again = json.loads(gone.read_text(encoding="utf-8"))
    for old, new in zip(cell["items"], again["items"], strict=True):
        assert new["scores"] == pytest.approx(old["scores"], abs=2e-5)


def test_a_tuned_adapter_opens(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    folder = Path(shutil.copytree(OLD / "adapter", tmp_path / "adapter"))
    for file in folder.glob("*.json"):
        text = file.read_text(encoding="utf-8").replace("MODEL", str(OLD / "model"))
        file.write_text(text, encoding="utf-8")
    assert close(last_logits(langsteer.load_model(folder)), EXPECTED["adapter"]["logits"])


def test_a_tuned_adapter_is_known_again(model: Model, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    from langsteer.tuning import Record, SftOptions, sft
    from langsteer.tuning.data import Instructions

    answers = {"en": ("yes", "no"), "sw": ("ndio", "hapana")}
    records = tuple(
        Record(str(i), tag, (("user", f"{tag} {i}?"),), good, bad)
        for tag, (good, bad) in answers.items()
        for i in range(10)
    )
    folder = shutil.copytree(OLD / "adapter", tmp_path / "adapter")
    options = SftOptions(steps=6, batch=4, rate=0.02, half=False, rank=2)
    tuned = sft(model, Instructions(records, "toy"), folder, options=options)
    assert tuned.kept
    for name in ("before", "after", "steps"):
        assert getattr(tuned, name) == EXPECTED["adapter"][name]


def numbers(value: Any) -> list[float]:
    """All numbers, in order."""
    if isinstance(value, dict):
        return [number for part in value.values() for number in numbers(part)]
    if isinstance(value, (list, tuple)):
        return [number for part in value for number in numbers(part)]
    return [value] if type(value) in (int, float) else []


def assert_within(old: Any, new: Any, place: str = "") -> None:
    """Everything that `old` says is in `new` at the same place, which may say more."""
    if isinstance(old, dict):
        for key, value in old.items():
            assert key in new, f"{place}.{key}"
            assert_within(value, new[key], f"{place}.{key}")
    elif isinstance(old, list):
        assert len(old) == len(new), place
        for number, (before, after) in enumerate(zip(old, new, strict=True)):
            assert_within(before, after, f"{place}[{number}]")
    elif isinstance(old, float) and math.isfinite(old):
        assert new == pytest.approx(old, rel=1e-9, abs=1e-9), place
    else:
        assert new == old, place
