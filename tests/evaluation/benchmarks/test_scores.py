"""What generated answers are scored with."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")


from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks import Doc, get_benchmark, load_docs, make_task
from tests.made import published
from tests.made.published import WRITERS, write
from tests.made.tasks import asked

NO_SPBLEU = pytest.mark.filterwarnings("ignore:spBLEU")


def one(name: str, tag: str, folder: Path, form: str | None = None) -> tuple[Any, list[Doc]]:
    WRITERS[name][0](folder)
    docs = load_docs(get_benchmark(name), tag, "test", folder)
    return make_task(get_benchmark(name), tag, docs, form=form), docs


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
