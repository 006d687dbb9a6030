"""Benchmarks over the published data sets, what they refuse, and the harness's own rendering."""

import json
import shutil
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("lm_eval")

from langsteer.errors import BenchmarkError, LanguageError, MissingExtraError
from langsteer.evaluation.benchmarks import (
    BENCHMARKS,
    Benchmark,
    Doc,
    get_benchmark,
    load_docs,
    load_translations,
    make_task,
    xcopa,
)
from langsteer.evaluation.benchmarks.language_confusion import line_pass, word_pass
from langsteer.evaluation.benchmarks.sib200 import TOPICS
from langsteer.text.languages import parse_tag
from tests.made.tasks import asked, harness_task

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


def sib(count: int = 3, **changes: object) -> list[Doc]:
    return [
        {"id": str(i), "index_id": i, "category": TOPICS[i % 7], "text": f"Text {i}."} | changes
        for i in range(count)
    ]


# --- the registry


def test_get_benchmark_names_the_nearest() -> None:
    with pytest.raises(BenchmarkError, match="no benchmark 'sib-200'; did you mean 'sib200'"):
        get_benchmark("sib-200")
    with pytest.raises(BenchmarkError, match="there are sib200, xcopa, xnli"):
        get_benchmark("???")


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=lambda b: b.name)
def test_descriptions_are_complete(benchmark: Benchmark) -> None:
    assert BENCHMARKS[benchmark.name] is benchmark
    assert benchmark.forms
    assert "test" in benchmark.parts
    assert set(benchmark.parts) <= {"train", "development", "test"}
    assert "en" in benchmark.instructions
    assert benchmark.layout
    assert all(parse_tag(tag) == tag for tag in benchmark.codes)
    assert (benchmark.native or set()) <= set(benchmark.codes)


@pytest.mark.parametrize("name", ["sib200", "xcopa", "mgsm"])
def test_instructions_in_every_language_with_a_native_form(name: str) -> None:
    benchmark = get_benchmark(name)
    tags = benchmark.native or benchmark.codes
    assert set(benchmark.instructions) == set(tags)
    assert len(set(benchmark.instructions.values())) == len(tags)


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


# --- XCOPA


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


# --- making tasks


def test_task_asks_exactly_the_docs_in_order() -> None:
    docs = sib(5)[::-1]
    task = make_task(SIB, "sw", docs, name="mine")
    assert task.task_name == "mine"
    assert [doc["id"] for doc in task.eval_docs] == ["4", "3", "2", "1", "0"]
    task.build_all_requests()
    assert [request.doc["id"] for request in task.instances[::7]] == ["4", "3", "2", "1", "0"]


def test_shots_are_the_first_examples_in_order() -> None:
    task = make_task(SIB, "sw", sib(1), shots=2, examples=sib(5)[1:])
    assert asked(task)[0][0] == (
        "Text: Text 1.\nThe topic of this text is travel\n\n"
        "Text: Text 2.\nThe topic of this text is politics\n\n"
        "Text: Text 0.\nThe topic of this text is"
    )
    with pytest.raises(BenchmarkError, match="SIB-200: 3 shots of 2 examples"):
        make_task(SIB, "sw", sib(1), shots=3, examples=sib(2))


def test_config_overrides_keys_of_the_task() -> None:
    task = make_task(SIB, "sw", sib(1), config={"description": "Say the topic.\n\n"})
    assert asked(task)[0][0].startswith("Say the topic.\n\nText: Text 0.")


def test_making_a_task_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_task(SIB, "sw", sib(2), shots=1, examples=sib(1))
    assert not caplog.records


def test_tasks_run_in_the_harness() -> None:
    from lm_eval.evaluator import evaluate
    from lm_eval.models.dummy import DummyLM

    mgsm = [{"id": "1", "question": "1+1?", "answer": None, "answer_number": 2}]
    flores = [{"id": "1", "text": "Paka.", "reference": "A cat."}]
    asked_in = [{"id": "1", "prompt": "Habari?", "source": "flores", "language": "sw"}]
    tasks = {
        "a": make_task(SIB, "sw", sib(3), name="a"),
        "b": make_task(get_benchmark("mgsm"), "sw", mgsm, name="b"),
        "c": make_task(get_benchmark("language_confusion_flores"), "sw", asked_in, name="c"),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tasks["d"] = make_task(get_benchmark("flores_to_english"), "sw", flores, name="d")
        found = evaluate(DummyLM(), tasks, bootstrap_iters=0)
    results = found["results"]
    assert 0 <= results["a"]["acc,none"] <= 1
    assert results["b"]["exact_match,flexible-extract"] == 0
    assert set(results["d"]) >= {"chrf++,none", "sentence_chrf++,none"}
    assert [sample["doc"]["id"] for sample in found["samples"]["a"]] == ["0", "1", "2"]


# --- what is refused


def test_unknown_languages_parts_forms_and_folders(tmp_path: Path) -> None:
    with pytest.raises(LanguageError):
        load_docs(SIB, "klingonese", "test", tmp_path)
    with pytest.raises(BenchmarkError, match=r"XCOPA has no German \(de\): it has en, et, ht"):
        load_docs(XCOPA, "de", "test", tmp_path)
    with pytest.raises(BenchmarkError, match="XCOPA has no part 'train': it has development, test"):
        load_docs(XCOPA, "sw", "train", tmp_path)
    with pytest.raises(BenchmarkError, match="no prompt form 'french': it has english, native"):
        make_task(SIB, "sw", sib(), form="french")
    with pytest.raises(BenchmarkError, match="XCOPA has no 'de'"):
        make_task(XCOPA, "de", [])
    with pytest.raises(
        BenchmarkError, match=r"no folder .*nowhere: expected one with sib200/<code>"
    ):
        load_docs(SIB, "sw", "test", tmp_path / "nowhere")
    with pytest.raises(BenchmarkError, match=r"no file .*test.tsv: expected a folder with sib200/"):
        load_docs(SIB, "sw", "test", tmp_path)
    with pytest.raises(BenchmarkError, match=r"SIB-200 \(sw\): there are no items"):
        make_task(SIB, "sw", [])


HEADER = "index_id\tcategory\ttext\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"test.tsv, line 1: no column 'index_id', 'category', 'text'"),
        ("index_id\ttext\n1\tx\n", r"test.tsv, line 1: no column 'category'; expected the header"),
        (HEADER, r"test.tsv has no items"),
        (f"{HEADER}1\ttravel\n", r"line 2: 2 columns, expected 3: index_id, category, text"),
        (f"{HEADER}1\ttravel\tx\n2\tmusic\ty\n", r"line 3: the category is 'music', expected one"),
        (f"{HEADER}x\ttravel\ty\n", r"line 2: 'index_id' is 'x', expected a number"),
        (f"{HEADER}1\ttravel\tx\n1\ttravel\ty\n", r"SIB-200 \(sw\): item 1 comes twice"),
        (f"{HEADER}1\ttravel\t \n", r"SIB-200 \(sw\), item 1: the text \(text\) is empty"),
        (f'{HEADER}1\ttravel\t"x\n', r"test.tsv, line 2: "),
    ],
)
def test_damaged_tables_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "swh_Latn" / "test.tsv"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(BenchmarkError, match=message) as caught:
        load_docs(SIB, "sw", "test", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "swh_Latn" / "test.tsv"
    path.parent.mkdir()
    path.write_bytes(b"index\xff")
    with pytest.raises(BenchmarkError, match="not UTF-8 text"):
        load_docs(SIB, "sw", "test", tmp_path)


def test_labels_that_disagree_with_english_are_refused(tmp_path: Path) -> None:
    for code, topic in (("eng_Latn", "travel"), ("swh_Latn", "health")):
        path = tmp_path / code / "test.tsv"
        path.parent.mkdir()
        path.write_text(f"{HEADER}7\t{topic}\tx\n")
    with pytest.raises(BenchmarkError, match="item 7: 'category' is 'health' but 'travel' in Eng"):
        load_docs(SIB, "sw", "test", tmp_path)


COPA = {
    "premise": "A.",
    "choice1": "B.",
    "choice2": "C.",
    "question": "cause",
    "label": 0,
    "idx": 0,
}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", r"test.sw.jsonl, line 2: not JSON .*; expected an object with premise, choice1"),
        ("[1]", r"line 2: expected an object with premise"),
        ({"premise": "A."}, r"line 2: no field 'choice1'; it has premise"),
        (COPA | {"label": "0"}, r"line 2: 'label' is '0', expected int"),
        (COPA | {"label": 2}, r"line 2: 'label' is 2, not 0 or 1"),
        (COPA | {"question": "why"}, r"line 2: 'question' is 'why', not cause or effect"),
        (COPA | {"idx": 1, "choice2": " "}, r"item 1: the answer choice 'choice2' is empty"),
    ],
)
@pytest.mark.filterwarnings("ignore:XCOPA")
def test_damaged_json_lines_are_refused(
    tmp_path: Path, row: str | dict[str, object], message: str
) -> None:
    path = tmp_path / "data" / "sw" / "test.sw.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(f"{json.dumps(COPA)}\n{row if isinstance(row, str) else json.dumps(row)}\n")
    with pytest.raises(BenchmarkError, match=message) as caught:
        load_docs(XCOPA, "sw", "test", tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<copa", "line 1: not XML"),
        ("<c><item id='501'/></c>", "item '501': expected the attributes id, asks-for"),
        (
            "<c><item id='501' asks-for='cause' most-plausible-alternative='1'><p>x</p></item></c>",
            "item '501': expected text in p, a1 and a2",
        ),
        ("<c/>", "has no items"),
    ],
)
def test_damaged_english_copa_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "copa-test.xml").write_text(content)
    with pytest.raises(BenchmarkError, match=message):
        load_docs(XCOPA, "en", "test", tmp_path)


def test_empty_choices_are_refused() -> None:
    with pytest.raises(BenchmarkError, match="item 5: the answer choice 'choice1' is empty"):
        make_task(XCOPA, "sw", [COPA | {"id": "5", "choice1": ""}])
    with pytest.raises(BenchmarkError, match=r"an answer choice is empty: \['', 'x'\]"):
        make_task(SIB, "sw", sib(), config={"doc_to_choice": ["", "x"]})
    with pytest.raises(BenchmarkError, match="an answer choice is empty, item 1: "):
        make_task(
            SIB,
            "sw",
            sib(),
            config={"doc_to_choice": lambda doc: ["a", "" if doc["id"] == "1" else "b"] * 4},
        )


# --- the hub


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


# --- language confusion

ENGLISH = "The cat sat on the mat and looked at the dog."
GERMAN = "Die Katze saß auf der Matte und sah den Hund an."
HINDI = "बिल्ली चटाई पर बैठी थी और कुत्ते को देख रही थी।"
CHINESE = "猫坐在垫子上看着那只狗，然后慢慢地走开了，再也没有回来。"


@pytest.mark.parametrize(
    ("answer", "tag", "line", "word"),
    [
        (GERMAN, "de", 1.0, None),
        (ENGLISH, "de", 0.0, None),
        (f"{GERMAN}\n{ENGLISH}", "de", 0.0, None),
        (f"{GERMAN}\nOK.\n", "de", 1.0, None),
        ("Ja.", "de", None, None),
        ("", "de", None, None),
        (HINDI, "hi", 1.0, 1.0),
        (f"{HINDI} और फिर weather अच्छा था।", "hi", 1.0, 0.0),
        (f"{HINDI} और फिर Rome गए।", "hi", 1.0, 1.0),
        (ENGLISH, "hi", 0.0, None),
        (CHINESE, "zh-Hans", 1.0, 1.0),
    ],
)
def test_line_and_word_pass(answer: str, tag: str, line: float | None, word: float | None) -> None:
    pytest.importorskip("lingua")
    assert line_pass(answer, tag) == pytest.approx(
        float("nan") if line is None else line, nan_ok=True
    )
    assert word_pass(answer, tag) == pytest.approx(
        float("nan") if word is None else word, nan_ok=True
    )


def test_language_that_cannot_be_identified_is_refused() -> None:
    pytest.importorskip("lingua")
    doc = {"id": "1", "prompt": "x", "source": "flores", "language": "ace"}
    with pytest.raises(BenchmarkError, match=r"lingua cannot identify .*\(ace\)"):
        make_task(get_benchmark("language_confusion_flores"), "ace", [doc])
