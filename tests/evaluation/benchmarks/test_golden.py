"""What is asked, to the letter, of invented items: a change of a prompt changes a hash."""

import json
from pathlib import Path

import pytest

pytest.importorskip("lm_eval")

from langsteer.evaluation.benchmarks import get_benchmark, make_task
from tests.made.published import WRITERS
from tests.made.tasks import COPA, fingerprint, fingerprints, sib

GOLDEN = json.loads((Path(__file__).parents[2] / "data" / "benchmark_prompts.json").read_text())


@pytest.mark.filterwarnings("ignore:spBLEU")
@pytest.mark.parametrize("name", WRITERS)
def test_prompts_of_published_files(name: str, tmp_path: Path) -> None:
    if name.startswith("language_"):
        pytest.importorskip("lingua")
    prints = fingerprints(name, tmp_path)
    assert prints
    assert prints == {key: GOLDEN[key] for key in prints}


@pytest.mark.parametrize("name", ["sib200", "xcopa"])
def test_prompts_in_every_language(name: str) -> None:
    docs = sib(7) if name == "sib200" else [COPA | {"id": "0"}]
    benchmark = get_benchmark(name)
    for tag in sorted(benchmark.native or benchmark.codes):
        for form in benchmark.forms_of(tag):
            task = make_task(benchmark, tag, docs, form=form)
            assert fingerprint(task, docs) == GOLDEN[f"{name}/{tag}/{form}"]
