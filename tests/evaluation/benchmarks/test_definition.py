"""A benchmark in one YAML file: what it may say, what is refused, and that it cannot run code."""

from pathlib import Path

import pytest

pytest.importorskip("lm_eval")

from langsteer.errors import BenchmarkError
from langsteer.evaluation.benchmarks import get_benchmark, load_docs, make_task
from langsteer.evaluation.benchmarks.definition import read_benchmark
from tests.made.own import OWN, own_data, own_file
from tests.made.published import json_lines, write
from tests.made.tasks import asked


def test_a_benchmark_of_one_s_own_is_one_file(tmp_path: Path) -> None:
    benchmark = get_benchmark("colours", [own_file(tmp_path / "own")])
    docs = load_docs(benchmark, "sw", "test", own_data(tmp_path / "data"))
    assert [doc["id"] for doc in docs] == ["1", "2", "3", "4"]
    task = make_task(benchmark, "sw", docs, shots=1, examples=docs[1:])
    assert asked(task, 1) == [
        (
            "the rain 1\nIn Swahili, the colour is green\n\nthe rain 0\nIn Swahili, the colour is",
            answer,
        )
        for answer in (" red", " green")
    ]
    assert [task.doc_to_target(doc) for doc in docs] == [0, 1, 0, 1]


def test_templates_in_the_sandbox_render_as_the_harness_does(tmp_path: Path) -> None:
    data = own_data(tmp_path / "data")
    text = OWN.replace("[red, green]\n    doc", "\"{{['red', text]}}\"\n    doc")
    own, same = (
        read_benchmark(own_file(tmp_path, "own", text), trusted=trusted)
        for trusted in (False, True)
    )
    docs = load_docs(own, "sw", "test", data)
    assert callable(own.config("sw", "english")["doc_to_text"])
    assert isinstance(same.config("sw", "english")["doc_to_text"], str)
    assert asked(make_task(own, "sw", docs)) == asked(make_task(same, "sw", docs))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("metric: acc", "metrics: acc", "there is no key metrics; title, about, licence, kind"),
        ("title: Colours", "", "the key title is missing"),
        ("kind: choice", "kind: chioce", "kind is 'chioce': it should be 'choice' or 'generate'"),
        ("  path:", "  paths:", r"there is no key files.paths; path, format, header|files.path is"),
        ("{test: test}", "{dev: dev}", "parts has 'dev': it may have train, development, test"),
        ("{test: test}", "{train: x}", "parts has no test"),
        ('"{code}.jsonl"', "../{code}.jsonl", "must be a path inside the data set's folder"),
        ("{en: Name", "{sw: Name", "instructions has no en"),
        ("[en, sw]", "[en, no]", "YAML reads no as false"),
        ("[en, sw]", "[en, xx-what-ever]", "xx-what-ever"),
        ("  english:\n", "  english:\n    harness: ../x.yaml\n", "a path inside lm_eval/tasks"),
        (
            "  english:\n",
            "  native:\n    texts: {de: {description: x}}\n  english:\n",
            "'de' is not",
        ),
        ("title: Colours", "title: [", "is not YAML: line 2: a list begins with"),
        ("title: Colours", "title: !function x.y", "!function is not read"),
        ("title: Colours", "title: x\nreader: os:system", "reader is 'os:system': a file of one's"),
        ("title: Colours", "title: x\nscores: ./x.py", "scores is './x.py': it should be module:"),
        ("Name the colour.", "'{{x}}'", "instructions.en must be plain text, not a template"),
    ],
)
def test_faults_name_the_file_and_the_key(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in OWN
    path = own_file(tmp_path, text=OWN.replace(old, new, 1))
    with pytest.raises(BenchmarkError, match=message) as caught:
        read_benchmark(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_template_cannot_run_code(tmp_path: Path) -> None:
    attack = '"{{ ().__class__.__base__.__subclasses__() }}"'
    path = own_file(tmp_path, text=OWN.replace('"{{text}}\\nIn {language}, the colour is"', attack))
    docs = [{"id": "1", "text": "x", "colour": "red"}]
    with pytest.raises(BenchmarkError, match="unsafe"):
        asked(make_task(read_benchmark(path), "sw", docs))


def test_metrics_are_the_harness_s(tmp_path: Path) -> None:
    def with_metric(metric: str) -> str:
        return OWN.replace("  english:\n", f"  english:\n    metric_list: [{metric}]\n")

    path = own_file(tmp_path, text=with_metric("stranger/metric"))
    with pytest.raises(BenchmarkError, match="'stranger/metric' is not a metric of the harness"):
        read_benchmark(path).config("sw", "english")
    path = own_file(tmp_path, text=with_metric("{metric: acc, aggregation: most}"))
    with pytest.raises(BenchmarkError, match="there is no aggregation 'most'"):
        read_benchmark(path).config("sw", "english")


def test_code_is_a_function_of_the_module_that_is_named(tmp_path: Path) -> None:
    """Not one that it imports: no way round to `importlib` or `ElementTree`."""
    code = "langsteer.evaluation.benchmarks.files:read_text"
    path = own_file(tmp_path, text=OWN + f"reader: {code.replace('read_text', 'csv')}\n")
    with pytest.raises(BenchmarkError, match="is not a function of that module"):
        read_benchmark(path).read(tmp_path, "sw", "test")


@pytest.mark.parametrize(
    ("end", "files", "text"),
    [
        ("json", "within: data.items", '{"data": {"items": [{"text": "x", "colour": "red"}]}}'),
        ("xml", "within: one", "<all><one colour='red'><text>x</text></one></all>"),
        ("tsv", "header: [text, colour]", "x\tred\n"),
        ("csv", "others: false", 'a,text,colour\n1,"x",red\n'),
    ],
)
def test_formats(end: str, files: str, text: str, tmp_path: Path) -> None:
    write(tmp_path / f"sw.{end}", text)
    own = OWN.replace(".jsonl", f".{end}").replace("files:\n", f"files:\n  {files}\n")
    docs = read_benchmark(own_file(tmp_path, text=own)).read(tmp_path, "sw", "test")
    assert docs == [{"text": "x", "colour": "red", "id": "1"}]


def test_a_value_that_is_not_allowed_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "sw.jsonl", json_lines([{"text": "x", "colour": "blue"}]))
    benchmark = read_benchmark(own_file(tmp_path))
    with pytest.raises(BenchmarkError, match="line 1: 'colour' is 'blue', expected one of red, g"):
        benchmark.read(tmp_path, "sw", "test")


def test_bmlama_scores_what_follows_the_gap(tmp_path: Path) -> None:
    rows = "Prompt\tAns\tCandidate Ans\tSubject\nAnn <mask> 'da öldü.\tRoma\tVenedik, Roma\tAnn\n"
    write(tmp_path / "bmlama53" / "tr.tsv", rows)
    benchmark = get_benchmark("bmlama53")
    docs = load_docs(benchmark, "tr", "test", tmp_path)
    task = make_task(benchmark, "tr", docs)
    assert asked(task) == [("Ann", " Venedik 'da öldü."), ("Ann", " Roma 'da öldü.")]
    assert task.doc_to_target(docs[0]) == 1


def test_bmlama_leaves_out_two_relations(shared: Path) -> None:
    benchmark = get_benchmark("bmlama53")
    docs = load_docs(benchmark, "en", "test", shared)
    assert len(docs) == 3070 - 966 - 804
    assert not any("diplomatic" in doc["prompt"] or "twin" in doc["prompt"] for doc in docs)
    japanese = load_docs(benchmark, "ja", "test", shared)
    assert [doc["id"] for doc in japanese] == [doc["id"] for doc in docs]
