"""Benchmarks read from small files in their published formats, and asked as the harness asks them."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")


from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks import Doc, get_benchmark, load_docs, make_task
from tests.made import published
from tests.made.published import WRITERS, json_lines, write
from tests.made.tasks import asked, harness_task

CASES = [(name, tag) for name, (_, tags) in WRITERS.items() for tag in tags]
NO_SPBLEU = pytest.mark.filterwarnings("ignore:spBLEU")


@pytest.mark.parametrize(("name", "tag"), CASES)
@NO_SPBLEU
def test_reads_every_part_and_builds_requests(name: str, tag: str, tmp_path: Path) -> None:
    WRITERS[name][0](tmp_path)
    benchmark = get_benchmark(name)
    ids: list[str] = []
    for part in benchmark.parts:
        if (name, part) == ("xnli", "train"):
            continue
        docs = load_docs(benchmark, tag, part, tmp_path)
        ids += [doc["id"] for doc in docs]
        for form in benchmark.forms_of(tag):
            requests = asked(make_task(benchmark, tag, docs, form=form), limit=5)
            assert requests
            for context, _ in requests:
                assert "{{" not in context
            if part == "test" and benchmark.source and requests[0][0]:
                assert docs[0][benchmark.source[0]].strip() in requests[0][0]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", [n for n, (_, tags) in WRITERS.items() if "en" in tags])
def test_items_have_the_same_ids_in_english(name: str, tmp_path: Path) -> None:
    WRITERS[name][0](tmp_path)
    benchmark = get_benchmark(name)
    for tag in WRITERS[name][1]:
        assert [doc["id"] for doc in load_docs(benchmark, tag, "test", tmp_path)] == [
            doc["id"] for doc in load_docs(benchmark, "en", "test", tmp_path)
        ]


@pytest.mark.parametrize(
    ("name", "tag", "form", "path"),
    [
        ("xnli", "sw", "native", "xnli/xnli_sw.yaml"),
        ("xnli", "en", "native", "xnli/xnli_en.yaml"),
        ("pawsx", "de", "native", "paws-x/paws_de.yaml"),
        ("pawsx", "en", "native", "paws-x/paws_en.yaml"),
        ("pawsx", "de", "english", "glue/mrpc/default.yaml"),
        ("xstorycloze", "sw", "native", "xstorycloze/default_sw.yaml"),
        ("belebele", "sw", "english", "belebele/belebele_swh_Latn.yaml"),
        ("global_mmlu", "sw", "english", "global_mmlu/full/sw/_sw_template_yaml"),
        ("mgsm", "sw", "native", "mgsm/direct/mgsm_direct_sw.yaml"),
    ],
)
@pytest.mark.parametrize("shots", [0, 1])
def test_prompts_are_the_harness_s(
    name: str, tag: str, form: str, path: str, shots: int, tmp_path: Path
) -> None:
    WRITERS[name][0](tmp_path)
    benchmark = get_benchmark(name)
    docs = load_docs(benchmark, tag, "test", tmp_path)
    part = "train" if name == "mgsm" else "test"
    examples = load_docs(benchmark, tag, part, tmp_path)[::-1]
    ours = make_task(benchmark, tag, docs, form=form, shots=shots, examples=examples)
    theirs = harness_task(path, docs, examples, shots)
    assert asked(ours) == asked(theirs)
    assert benchmark.metric in ours._metric_fn_list
    if benchmark.kind == "choice":
        results = [(-float(i), False) for i in range(len(ours.doc_to_choice(docs[0])))]
        for doc in ours.eval_docs:
            found = ours.process_results(doc, results)
            assert found["acc"] == theirs.process_results(doc, results)["acc"]
            assert isinstance(ours.doc_to_target(doc), int)


def one(name: str, tag: str, folder: Path, form: str | None = None) -> tuple[Any, list[Doc]]:
    WRITERS[name][0](folder)
    docs = load_docs(get_benchmark(name), tag, "test", folder)
    return make_task(get_benchmark(name), tag, docs, form=form), docs


def test_xnli_reads_json_lines_too(tmp_path: Path) -> None:
    published.xnli(tmp_path)
    benchmark = get_benchmark("xnli")
    expected = load_docs(benchmark, "sw", "test", tmp_path)
    rows = [
        {
            "language": "sw",
            "gold_label": published.LABELS[doc["label"]],
            "sentence1": doc["premise"],
            "sentence2": doc["hypothesis"],
            "pairID": doc["id"],
        }
        for doc in expected
    ]
    write(tmp_path / "lines" / "xnli.test.jsonl", json_lines(rows))
    assert load_docs(benchmark, "sw", "test", tmp_path / "lines") == expected


def test_xnli_english_form(tmp_path: Path) -> None:
    task, _ = one("xnli", "sw", tmp_path, "english")
    assert asked(task, 1) == [
        ('Alisema "nenda".\nQuestion: Aliongea 1. True, False, or Neither?\nAnswer:', answer)
        for answer in (" True", " Neither", " False")
    ]


def test_pawsx_leaves_out_what_was_not_translated(tmp_path: Path) -> None:
    _, docs = one("pawsx", "de", tmp_path)
    assert [doc["id"] for doc in docs] == ["1", "2"]


def test_mgsm_shows_worked_examples_with_english_words(tmp_path: Path) -> None:
    published.mgsm(tmp_path)
    benchmark = get_benchmark("mgsm")
    docs = load_docs(benchmark, "sw", "test", tmp_path)
    examples = load_docs(benchmark, "sw", "train", tmp_path)
    assert [doc["id"] for doc in examples] == [f"train-{i}" for i in range(1, 9)]
    task = make_task(benchmark, "sw", docs, form="english", shots=8, examples=examples)
    context = asked(task)[0][0]
    assert context.startswith("Question: 1 + 1?\nAnswer:2\n\nQuestion: 1 + 2?\nAnswer:3")
    assert context.endswith("Question: Ana ana paka 2. Wangapi?\nAnswer:")
    assert docs[1]["answer_number"] == 1001


def test_mgsm_shows_the_steps_of_its_worked_examples(tmp_path: Path) -> None:
    published.mgsm(tmp_path)
    benchmark = get_benchmark("mgsm")
    docs = load_docs(benchmark, "sw", "test", tmp_path)
    examples = load_docs(benchmark, "sw", "train", tmp_path)
    task = make_task(benchmark, "sw", docs, form="native_cot", shots=8, examples=examples)
    context = asked(task)[0][0]
    steps = "\nJibu la Hatua kwa Hatua:"
    assert context.startswith(f"Swali: 1 + 1?{steps} 1 + 1 = 2.\n\nSwali: 1 + 2?{steps} 1 + 2 = 3.")
    assert context.endswith(f"Swali: Ana ana paka 2. Wangapi?{steps}")
    assert benchmark.filter == "flexible-extract"
    assert {f["name"] for f in benchmark.config("sw", "native_cot")["filter_list"]} >= {
        benchmark.filter
    }


def test_mgsm_extracts_the_last_number(tmp_path: Path) -> None:
    task, _ = one("mgsm", "en", tmp_path)
    task.build_all_requests()
    for instance, answer in zip(task.instances, ("2 cats", "It is 1001."), strict=True):
        instance.resps = [answer]
    task.apply_filters()
    key = get_benchmark("mgsm").filter
    for instance in task.instances:
        found = task.process_results(instance.doc, [instance.filtered_resps[key]])
        assert found["exact_match"] == 1.0


def test_mgsm_examples_are_never_run(tmp_path: Path) -> None:
    text = "EXEMPLAR_NUMBER_ANSWERS = [1]\nMGSM_EXEMPLARS = open('x')\n"
    write(tmp_path / "exemplars.py", text)
    with pytest.raises(BenchmarkError, match=r"exemplars.py is not MGSM's"):
        load_docs(get_benchmark("mgsm"), "sw", "train", tmp_path)
