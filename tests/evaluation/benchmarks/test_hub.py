"""Data sets from the hub."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("lm_eval")

from langsteer.errors import BenchmarkError, MissingExtraError
from langsteer.evaluation.benchmarks import (
    Doc,
    get_benchmark,
    load_docs,
    load_translations,
    make_task,
    xcopa,
)
from tests.made.tasks import COPA, sib

SIB = get_benchmark("sib200")
XCOPA = get_benchmark("xcopa")


def fake_datasets(load: Any) -> ModuleType:
    module = ModuleType("datasets")
    module.load_dataset = load  # type: ignore[attr-defined]
    return module


def test_the_hub_gives_the_same_docs(monkeypatch: pytest.MonkeyPatch, shared: Path) -> None:
    local = load_docs(SIB, "sw", "development", shared)
    calls = []

    def load(*args: object, **kwargs: object) -> list[Doc]:
        calls.append((args, kwargs))
        return [{k: v for k, v in doc.items() if k != "id"} for doc in local]

    monkeypatch.setitem(sys.modules, "datasets", fake_datasets(load))
    assert load_docs(SIB, "sw", "development") == local
    assert calls == [(("Davlan/sib200", "swh_Latn"), {"split": "validation"})]


def test_data_sets_with_scripts_are_read_as_the_hub_converted_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(*args: object, **kwargs: object) -> list[Doc]:
        if "revision" not in kwargs:
            raise RuntimeError("Dataset scripts are no longer supported, but found mgsm.py")
        assert kwargs["data_files"] == {"test": "sw/test/*.parquet"}
        return [{"question": "1+1?", "answer": None, "answer_number": 2}]

    monkeypatch.setitem(sys.modules, "datasets", fake_datasets(load))
    (doc,) = load_docs(get_benchmark("mgsm"), "sw", "test")
    assert doc["id"] == "1"


def test_xcopa_from_the_hub_takes_questions_from_balanced_copa(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(hub: str, config: str | None, split: str) -> list[Doc]:
        if hub == xcopa.HUB:
            return [COPA | {"question": "effect", "changed": False}]
        plain = {key: value for key, value in COPA.items() if key != "idx"}
        assert split == "train"
        return [
            plain | {"id": 401, "mirrored": False},
            plain | {"id": 401 + 1000, "mirrored": True},
        ]

    monkeypatch.setitem(sys.modules, "datasets", fake_datasets(load))
    (doc,) = load_docs(XCOPA, "sw", "development")
    assert (doc["id"], doc["question"]) == ("development-0", "cause")
    (translated,) = load_translations(XCOPA, "sw", "development")
    assert translated["question"] == "cause"


def test_a_hub_out_of_reach_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach 'Davlan/sib200' on the Hub (ConnectTimeout)")

    monkeypatch.setitem(sys.modules, "datasets", fake_datasets(load))
    with pytest.raises(BenchmarkError) as caught:
        load_docs(SIB, "sw", "test")
    assert str(caught.value) == (
        "SIB-200: the data set Davlan/sib200 (swh_Latn, test) could not be loaded from the "
        "Hugging Face Hub (it cannot be reached). Use --data DIR with a folder that holds "
        "sib200/<code>/{train,dev,test}.tsv, e.g. sib200/swh_Latn/test.tsv."
    )


def test_missing_extras_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"needs datasets: pip install 'langsteer\[eval\]'"):
        load_docs(SIB, "sw", "test")
    monkeypatch.setitem(sys.modules, "lm_eval.api.task", None)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "lm_eval.api.task", None)
    with pytest.raises(MissingExtraError, match=r"benchmarks needs lm-eval"):
        make_task(SIB, "sw", sib())
