"""XCOPA and English COPA as published."""

import shutil
from pathlib import Path

import pytest

pytest.importorskip("lm_eval")

from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks import (
    get_benchmark,
    load_docs,
    load_translations,
    make_task,
)
from langsteer.evaluation.benchmarks.common import harness_config
from tests.made.tasks import asked, harness_task

SIB = get_benchmark("sib200")
XCOPA = get_benchmark("xcopa")


@pytest.mark.parametrize("tag", sorted(XCOPA.codes))
def test_xcopa_takes_questions_from_english_copa(shared: Path, tag: str) -> None:
    for part, count in (("development", 100), ("test", 500)):
        docs = load_docs(XCOPA, tag, part, shared)
        english = load_docs(XCOPA, "en", part, shared)
        assert len(docs) == count
        keys = ("id", "question", "label")
        assert [[d[k] for k in keys] for d in docs] == [[d[k] for k in keys] for d in english]
    assert [doc["id"] for doc in docs[:2]] == ["0", "1"]


def test_xcopa_without_english_copa_warns(shared: Path, tmp_path: Path) -> None:
    shutil.copytree(shared / "xcopa" / "data" / "th", tmp_path / "data" / "th")
    with pytest.warns(UserWarning, match=r"XCOPA \(th\): 'question' is taken from its own file"):
        docs = load_docs(XCOPA, "th", "test", tmp_path)
    assert {doc["question"] for doc in docs} == {"effect"}


def test_xcopa_english_copa_may_stand_inside(shared: Path, tmp_path: Path) -> None:
    shutil.copytree(shared / "xcopa" / "data" / "th", tmp_path / "th")
    shutil.copytree(shared / "copa_en", tmp_path / "copa_en")
    docs = load_docs(XCOPA, "th", "test", tmp_path)
    assert {doc["question"] for doc in docs} == {"cause", "effect"}


def test_xcopa_published_translations(shared: Path) -> None:
    docs = load_translations(XCOPA, "sw", "test", shared)
    assert docs[0]["premise"] == "The device was wrapped in a blind bag."
    assert [d["id"] for d in docs] == [d["id"] for d in load_docs(XCOPA, "sw", "test", shared)]
    assert load_translations(XCOPA, "sw", "test", shared / "xcopa") == docs
    with pytest.raises(BenchmarkError, match="no translations to English from 'qu'"):
        load_translations(XCOPA, "qu", "test", shared)
    with pytest.raises(BenchmarkError, match="SIB-200 is published without translations"):
        load_translations(SIB, "sw", "test", shared)


def test_xcopa_in_english_is_spaced_as_in_the_other_languages(shared: Path) -> None:
    docs = load_docs(XCOPA, "en", "test", shared)
    task = make_task(XCOPA, "en", docs[:1], shots=1, examples=docs[1:])
    assert asked(task) == [
        (
            "I emptied my pockets therefore I retrieved a ticket stub.\n\n".replace("I r", "i r")
            + "The item was packaged in bubble wrap because",
            f" it was {word}.",
        )
        for word in ("fragile", "small")
    ]


def test_xcopa_english_form(shared: Path) -> None:
    docs = load_docs(XCOPA, "sw", "test", shared)
    (context, first), (_, second) = asked(make_task(XCOPA, "sw", docs[:1], form="english"))
    assert context == (
        "Premise: Kifaa kilikuwa kimefungwa kwenye mfuko vibofu.\n"
        "Question: What was the cause of this?\n"
        "A: Kikuwa nyepesi kuvunjika.\nB: Kilikuwa kidogo.\nAnswer:"
    )
    assert (first, second) == (" A", " B")


@pytest.mark.parametrize("tag", sorted(set(XCOPA.codes) - {"en"}))
def test_xcopa_native_form_is_the_harness_s(shared: Path, tag: str) -> None:
    docs = load_docs(XCOPA, tag, "test", shared)
    ours = make_task(XCOPA, tag, docs[:20], shots=2, examples=docs[20:25])
    theirs = harness_task(f"xcopa/default_{XCOPA.codes[tag]}.yaml", docs[:20], docs[20:25], 2)
    assert asked(ours) == asked(theirs)


def test_the_harness_behind_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the environment, or a folder above it, is a link to another place."""
    import lm_eval.tasks

    real = Path(str(lm_eval.tasks.__file__))
    (tmp_path / "tasks").symlink_to(real.parent, target_is_directory=True)
    monkeypatch.setattr(lm_eval.tasks, "__file__", str(tmp_path / "tasks" / real.name))
    found = harness_config("xcopa/default_et.yaml")
    assert callable(found["doc_to_choice"])
