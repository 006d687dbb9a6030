"""Benchmarks read from small files in their published formats, and asked as the harness asks them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")


from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks import Doc, get_benchmark, load_docs, make_task
from tests.made import published
from tests.made.published import WRITERS, json_lines, tsv, write
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


@pytest.mark.parametrize(
    ("right", "given", "exact", "f1"),
    [
        ("the Rome", "Rome.", 1.0, 1.0),
        ("Rome", "in Rome", 0.0, 2 / 3),
        ("Rome", "Paris", 0.0, 0.0),
        ("Rome", "", 0.0, 0.0),
        ("the", "a", 1.0, 1.0),
    ],
)
def test_xquad_scores(right: str, given: str, exact: float, f1: float, tmp_path: Path) -> None:
    task, docs = one("xquad", "en", tmp_path)
    doc = docs[0] | {"answers": {"text": [right], "answer_start": [0]}}
    assert task.process_results(doc, [given]) == pytest.approx({"exact_match": exact, "f1": f1})


def test_xquad_prompts(tmp_path: Path) -> None:
    native, _ = one("xquad", "tr", tmp_path)
    english, _ = one("xquad", "tr", tmp_path, "english")
    assert asked(native)[0][0].startswith("Bağlam: Ann Roma'da yaşıyor.\n\nSoru: ")
    assert asked(english)[0][0] == (
        "Context: Ann Roma'da yaşıyor.\n\nQuestion: Ann nerede yaşıyor?\n\nAnswer:"
    )


@NO_SPBLEU
def test_flores_scores_sentences_and_corpus(tmp_path: Path) -> None:
    import sacrebleu

    task, docs = one("flores_to_english", "sw", tmp_path)
    assert asked(task)[0][0] == "Swahili sentence: Paka 0.\nEnglish sentence:"
    answers = ["A cat 0.", "The dog 1.", "cat"]
    found = [task.process_results(d, [f" {a}"]) for d, a in zip(docs, answers, strict=True)]
    assert found[0]["sentence_chrf++"] == pytest.approx(100.0)
    assert 0 < found[1]["sentence_chrf++"] < 100
    corpus = task.aggregation()["chrf++"]([result["chrf++"] for result in found])
    references = [doc["reference"] for doc in docs]
    assert corpus == pytest.approx(sacrebleu.corpus_chrf(answers, [references], word_order=2).score)
    assert task.aggregation()["sentence_chrf++"]([1.0, 3.0]) == 2.0


def test_flores_reads_as_the_harness_writes_it() -> None:
    from langsteer.evaluation.benchmarks.common import harness_config

    theirs = harness_config("spanish_bench/flores_es/flores_es-en.yaml")
    ours = get_benchmark("flores_to_english").config("es", "english")
    assert ours["doc_to_text"] == theirs["doc_to_text"].replace("sentence_spa_Latn", "text")
    assert ours["generation_kwargs"] == theirs["generation_kwargs"]


def test_spbleu_is_reported_where_its_tokenizer_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import sacrebleu

    from langsteer.evaluation.benchmarks import flores

    monkeypatch.setattr(flores, "SPBLEU_TOKENIZER", "char")
    flores._bleu.cache_clear()
    try:
        task, docs = one("flores_to_english", "sw", tmp_path)
        found = [task.process_results(doc, [doc["text"]]) for doc in docs]
        corpus = task.aggregation()["spbleu"]([result["spbleu"] for result in found])
    finally:
        flores._bleu.cache_clear()
    texts, references = [d["text"] for d in docs], [d["reference"] for d in docs]
    assert corpus == pytest.approx(
        sacrebleu.corpus_bleu(texts, [references], tokenize="char").score
    )
    assert 0 <= found[0]["sentence_spbleu"] < 100


def test_flores_files_must_be_parallel(tmp_path: Path) -> None:
    published.flores(tmp_path)
    write(tmp_path / "flores200" / "devtest" / "eng_Latn.devtest", "A cat.\n")
    with pytest.raises(BenchmarkError, match="3 lines against 1: the files are not parallel"):
        load_docs(get_benchmark("flores_to_english"), "sw", "test", tmp_path)
    write(tmp_path / "flores200" / "devtest" / "eng_Latn.devtest", "A.\n\nB.\n")
    with pytest.raises(BenchmarkError, match="line 2: empty, expected a sentence"):
        load_docs(get_benchmark("flores_to_english"), "sw", "test", tmp_path)


@pytest.mark.parametrize(
    ("right", "given", "value"),
    [
        ("The cat sat.", "the cat sat", 1.0),
        ("Кошка сидела.", "кошка спала", 0.5),
        ("猫坐着", "猫坐了", 2 / 3),
        ("बिल्ली बैठी", "बिल्ली सोई", 0.5),
        ("x", "", 0.0),
    ],
)
def test_rouge_counts_words_of_every_script(
    right: str, given: str, value: float, tmp_path: Path
) -> None:
    task, docs = one("xlsum", "sw", tmp_path)
    found = task.process_results(docs[0] | {"summary": right}, [given])
    assert found["rougeL"] == pytest.approx(value)
    assert found["rouge1"] == pytest.approx(value)


def test_xlsum_spanish_is_the_harness_s(tmp_path: Path) -> None:
    native, docs = one("xlsum", "es", tmp_path, "native")
    assert docs[0]["text"] == "El presidente dijo El presidente dijo."
    assert asked(native)[0][0] == f"Texto: {docs[0]['text']}\nResumen:"


def test_language_confusion_prompts(tmp_path: Path) -> None:
    pytest.importorskip("lingua")
    task, docs = one("language_confusion", "id", tmp_path)
    assert [doc["id"] for doc in docs] == ["okapi-1", "okapi-2"]
    context, options = asked(task)[1]
    assert context == 'Q: Tulis "cerita".\nA:'
    assert options["until"] == ["\nQ:"]
    answer = "Kucing itu duduk di atas tikar dan melihat anjing.\nQ: What is this thing about?"
    assert task.process_results(docs[0], [answer])["line_pass"] == 1.0
    with pytest.raises(BenchmarkError, match="no right answers to show"):
        make_task(get_benchmark("language_confusion"), "id", docs, shots=1, examples=docs)
    with pytest.raises(BenchmarkError, match="has no monolingual prompts in 'tr'"):
        load_docs(get_benchmark("language_confusion"), "tr", "test", tmp_path)
    with pytest.raises(BenchmarkError, match="the prompts are not on the hub: download https://"):
        load_docs(get_benchmark("language_confusion"), "id", "test")


def changed(path: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        text = (root / path).read_text(encoding="utf-8")
        (root / path).write_text(change(text), encoding="utf-8")

    return apply


def spoiled(path: str) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        (root / path).write_bytes(b"no")

    return apply


def removed(field: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        rows = [json.loads(line) for line in text.splitlines()]
        del rows[-1][field]
        return json_lines(rows)

    return change


@pytest.mark.parametrize(
    ("name", "tag", "damage", "message"),
    [
        (
            "xnli",
            "sw",
            changed("XNLI-1.0/xnli.test.tsv", lambda t: t.replace("gold_label", "label", 1)),
            r"xnli.test.tsv, line 1: no column 'gold_label'",
        ),
        (
            "xnli",
            "sw",
            changed("XNLI-1.0/xnli.test.tsv", lambda t: t.replace("sw\tneutral", "sw\t-")),
            r"xnli.test.tsv, line 6: 'gold_label' is '-', expected one of entailment",
        ),
        (
            "xnli",
            "tr",
            lambda root: None,
            r"xnli.test.tsv has no rows with the language 'tr'",
        ),
        (
            "pawsx",
            "de",
            changed("x-final/de/test_2k.tsv", lambda t: t.replace("\t1\n", "\tyes\n")),
            r"test_2k.tsv, line 2: 'label' is 'yes', not 0 or 1",
        ),
        (
            "pawsx",
            "de",
            changed("x-final/de/test_2k.tsv", lambda t: t.replace("Paris .\t", "Paris .", 1)),
            r"test_2k.tsv, line \d: 3 columns, expected 4",
        ),
        (
            "xstorycloze",
            "sw",
            changed(
                "spring2016.val.sw.tsv.split_20_80_eval.tsv", lambda t: t.replace("\t2\n", "\t3\n")
            ),
            r"eval.tsv, line 3: 'answer_right_ending' is '3', not 1 or 2",
        ),
        (
            "xstorycloze",
            "hi",
            lambda root: None,
            r"no file .*spring2016.val.hi.tsv.split_20_80_eval.tsv: expected a folder with spring",
        ),
        (
            "belebele",
            "sw",
            changed("belebele/swh_Latn.jsonl", removed("mc_answer3")),
            r"swh_Latn.jsonl, line 2: no field 'mc_answer3'",
        ),
        (
            "belebele",
            "sw",
            changed("belebele/swh_Latn.jsonl", lambda t: t.replace('num": "2"', 'num": "1"')),
            r"Cat#2: 'correct_answer_num' is '1' but '2' in English",
        ),
        (
            "belebele",
            "sw",
            changed("belebele/swh_Latn.jsonl", lambda t: t.replace('num": "2"', 'num": "5"')),
            r"'correct_answer_num' is '5', not 1 to 4",
        ),
        (
            "global_mmlu",
            "de",
            changed("global_mmlu/de/test.csv", lambda t: t.replace("option_d", "d")),
            r"test.csv, line 1: no column 'option_d'",
        ),
        (
            "global_mmlu",
            "de",
            changed("global_mmlu/de/test.csv", lambda t: t.replace(",C,", ",E,")),
            r"test.csv, line 3: 'answer' is 'E', not A, B, C or D",
        ),
        (
            "global_mmlu",
            "sw",
            lambda root: (
                write(root / "global_mmlu/sw/test-00000-of-00001.parquet", "no").unlink and None
            ),
            r"test-00000-of-00001.parquet is not a Parquet file",
        ),
        (
            "mgsm",
            "sw",
            changed("mgsm/mgsm_sw.tsv", lambda t: t.replace("1,001", "many")),
            r"mgsm_sw.tsv, line 2: 'answer' is 'many', expected a number",
        ),
        (
            "mgsm",
            "sw",
            changed("mgsm/mgsm_sw.tsv", lambda t: tsv([("1+1?",)])),
            r"mgsm_sw.tsv, line 1: 1 columns, expected 2: question, answer",
        ),
        (
            "xquad",
            "tr",
            changed("xquad.tr.json", lambda t: t.replace('"context"', '"text"')),
            r"xquad.tr.json, data\[0\].paragraphs\[0\]: no field 'context'",
        ),
        (
            "xquad",
            "tr",
            changed("xquad.tr.json", lambda t: t[:-1]),
            r"xquad.tr.json is not JSON",
        ),
        (
            "xlsum",
            "sw",
            changed("swahili_test.jsonl", removed("summary")),
            r"swahili_test.jsonl, line 1: no field 'summary'",
        ),
        (
            "language_confusion",
            "id",
            changed("test_sets/monolingual/okapi/id.csv", lambda t: t.replace("prompt", "text")),
            r"id.csv, line 1: no column 'prompt'",
        ),
    ],
)
def test_damaged_files_are_refused_in_one_line(
    name: str, tag: str, damage: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    WRITERS[name][0](tmp_path)
    damage(tmp_path)
    with pytest.raises(BenchmarkError, match=message) as caught:
        load_docs(get_benchmark(name), tag, "test", tmp_path)
    assert "\n" not in str(caught.value)
