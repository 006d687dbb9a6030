"""Items of benchmarks: as the harness asks them, with their English, in parts that are apart."""

from pathlib import Path

import pytest

pytest.importorskip("lm_eval", reason="lm-eval is not installed")

from langsteer.diagnosis.items import Wording, wording
from langsteer.diagnosis.published import _like, read_published_items
from langsteer.diagnosis.task import read_task
from langsteer.errors import BenchmarkError, DiagnosisError
from tests.made.own import own_data, own_file
from tests.made.topics import made_sib200


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return made_sib200(tmp_path / "data")


def test_parts_of_a_benchmark(data: Path) -> None:
    task = read_published_items("sib200", "sw", data)
    ids = [{item.id for item in part} for part in (task.development, task.report)]
    assert ids[0].isdisjoint(ids[1])
    assert all(name.startswith(("train-", "development-")) for name in ids[0])
    assert len(task.report) == 14
    assert "train and development and test" in task.split
    item = task.report[0]
    assert item.own.answers[0] == " science"
    assert item.own.prompt.pieces[0] == "Text: "  # type: ignore[union-attr]
    assert item.own.prompt.pieces[1].startswith("ya ")  # type: ignore[union-attr]
    assert item.english is not None
    assert item.native is not None
    assert item.native.answers[0] == " sayansi"


def test_the_published_ones(shared: Path) -> None:
    task = read_task("bmlama53", "id", data=shared)
    item = next(item for item in task.all if "Ekologi" in str(item.own.prompt))
    assert str(item.own.prompt) == "Ekologi adalah subkelas dari"
    assert item.own.answers[item.right] == " biologi."
    assert item.english is not None
    assert item.english.answers[item.right] == " biology."
    assert all(item.english is not None for item in task.all)
    same = read_task("bmlama53", "el", data=shared)
    shares = {i.id for i in task.development} & {i.id for i in same.development}
    assert len(shares) > 0.9 * len(task.development)
    choices = read_task("xcopa", "sw", data=shared)
    assert choices.report[0].translation is not None


def test_a_benchmark_of_one_s_own(tmp_path: Path) -> None:
    own_file(tmp_path / "own")
    data = own_data(tmp_path / "data")
    task = read_published_items("colours", "sw", data, benchmark_files=[tmp_path / "own"])
    assert len(task.all) > 0


def test_what_there_is_not(data: Path) -> None:
    with pytest.raises(BenchmarkError, match="has no 'la'"):
        read_published_items("sib200", "la", data)
    with pytest.raises(DiagnosisError, match="another language than English"):
        read_published_items("sib200", "en", data)
    with pytest.raises(BenchmarkError, match="no benchmark 'sib20'"):
        read_published_items("sib20", "sw", data)


def test_items_that_are_reported_on_are_not_chosen_on(data: Path) -> None:
    folder = data / "sib200" / "swh_Latn"
    asked = (folder / "test.tsv").read_text(encoding="utf-8").splitlines()[1].split("\t")
    with (folder / "train.tsv").open("a", encoding="utf-8") as file:
        file.write("\t".join(["999", *asked[1:]]) + "\n")
    task = read_published_items("sib200", "sw", data)
    assert len(task.development) == 21 + 14
    assert "train-999" not in {item.id for item in task.development}


def test_another_wording_has_as_many_answers_and_the_same_one_right() -> None:
    def rendered(right: int, *answers: str) -> dict[str, tuple[Wording, int]]:
        return {"1": (wording(["", "jua"], answers), right)}

    own, doc = rendered(1, "a", "b"), {"id": "1"}
    assert _like(own, rendered(1, "c", "d"), doc) is not None
    assert _like(own, rendered(0, "c", "d"), doc) is None
    assert _like(own, rendered(1, "c", "d", "e"), doc) is None
    assert _like(own, {}, doc) is None
