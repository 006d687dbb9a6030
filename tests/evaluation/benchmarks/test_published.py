"""SIB-200, FLORES and MGSM as published, and as the harness renders them."""

from pathlib import Path

import pytest

pytest.importorskip("lm_eval")

from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks import (
    get_benchmark,
    load_docs,
    make_task,
)
from tests.made.tasks import asked, sib

SIB = get_benchmark("sib200")
XCOPA = get_benchmark("xcopa")
SIB_TAGS = [
    "ar",
    "de",
    "el",
    "en",
    "es",
    "et",
    "fr",
    "hi",
    "id",
    "it",
    "ja",
    "pt",
    "ru",
    "sw",
    "ta",
    "th",
    "tr",
    "vi",
    "yo",
    "zh-Hans",
]


# --- SIB-200


@pytest.mark.parametrize("tag", SIB_TAGS)
def test_sib200_has_the_same_items_in_every_language(shared: Path, tag: str) -> None:
    for part, count in (("train", 701), ("development", 99), ("test", 204)):
        docs = load_docs(SIB, tag, part, shared)
        english = load_docs(SIB, "en", part, shared)
        assert len(docs) == count
        assert [(d["id"], d["category"]) for d in docs] == [
            (d["id"], d["category"]) for d in english
        ]
    assert docs[0]["id"] == "1523"


def test_sib200_unquotes_texts(shared: Path) -> None:
    text = load_docs(SIB, "en", "test", shared)[28]["text"]
    assert text.startswith('During his 2 hour speech he stated that "Today Apple')


def test_ids_are_unique_over_the_parts(shared: Path) -> None:
    for benchmark in (SIB, XCOPA):
        ids = [
            d["id"] for part in benchmark.parts for d in load_docs(benchmark, "sw", part, shared)
        ]
        assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("folder", ["", "sib200"])
def test_data_is_the_data_sets_folder_or_its_parent(shared: Path, folder: str) -> None:
    assert len(load_docs(SIB, "swh_Latn", "test", shared / folder)) == 204


@pytest.mark.parametrize("tag", SIB_TAGS)
@pytest.mark.parametrize("form", ["english", "native"])
def test_sib200_prompts(tag: str, form: str) -> None:
    docs = sib(7)
    requests = asked(make_task(SIB, tag, docs, form=form))
    contexts = [context for context, _ in requests]
    answers = [answer for _, answer in requests]
    assert len(requests) == 49
    assert all("Text 0." in context for context in contexts[:7])
    assert not any(context[-1].isspace() for context in contexts)
    assert len(set(answers)) == 7
    spaced = form == "english" or tag not in ("ja", "th", "zh-Hans")
    assert all(answer.startswith(" ") == spaced for answer in answers)
    if form == "english":
        assert requests[0] == ("Text: Text 0.\nThe topic of this text is", " science")
    elif tag != "en":
        assert "topic" not in contexts[0]


def test_sib200_scores_are_the_harness_s() -> None:
    task = make_task(SIB, "sw", sib(7))
    for i, doc in enumerate(task.eval_docs):
        scores = [(0.0 if choice == i else -1.0, False) for choice in range(7)]
        assert task.process_results(doc, scores)["acc"] == 1.0
        assert task.doc_to_target(doc) == i


def test_sib200_has_a_native_form_only_where_it_was_written() -> None:
    assert SIB.forms_of("ace") == ("english",)
    make_task(SIB, "ace", sib())
    with pytest.raises(BenchmarkError, match="'native': it has english"):
        make_task(SIB, "ace", sib(), form="native")


# --- FLORES and MGSM


def test_flores_in_both_directions(shared: Path) -> None:
    to, back = get_benchmark("flores_to_english"), get_benchmark("flores_from_english")
    first, second = load_docs(to, "sw", "test", shared), load_docs(back, "sw", "test", shared)
    assert len(first) == 1012
    assert len(load_docs(to, "sw", "development", shared)) == 997
    assert [(d["text"], d["reference"]) for d in first] == [
        (d["reference"], d["text"]) for d in second
    ]
    with pytest.raises(BenchmarkError, match="has no English"):
        load_docs(to, "en", "test", shared)


def test_mgsm_answers_agree(shared: Path) -> None:
    benchmark = get_benchmark("mgsm")
    english = [doc["answer_number"] for doc in load_docs(benchmark, "en", "test", shared)]
    assert len(english) == 250
    assert 2125 in english
    for tag in benchmark.codes:
        docs = load_docs(benchmark, tag, "test", shared)
        assert [doc["answer_number"] for doc in docs] == english
    with pytest.raises(BenchmarkError, match=r"exemplars.py, which is not in .*mgsm"):
        load_docs(benchmark, "sw", "train", shared)
