"""Languages learned by several processes are what they are when one learns them all."""

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from langsteer.errors import FitError, SaveError
from langsteer.fitting.learning import dealt_alike, learn, learn_all
from langsteer.fitting.unit import FitUnit, ModelPlace, learn_shared
from langsteer.model.model import Model
from langsteer.model.opening import load_model
from langsteer.scale.units import Ended, Held, perform
from langsteer.steering.folder import load
from langsteer.text.corpus import ParallelCorpus, builtin
from tests.helpers import run

TAGS = ("sw", "et", "tr")


class Here:
    """Workers that are this process; each unit is sent as bytes, as to another."""

    node = ""

    def __init__(self) -> None:
        self.held, self.unit = Held(), list[Any]()

    def room(self) -> bool:
        return not self.unit

    def holds(self, where: str) -> bool:
        return False

    def start(self, unit: Any) -> bool:
        self.unit.append(unit)
        return True

    def wait(self) -> list[Ended]:
        unit = self.unit.pop()
        sent = pickle.loads(pickle.dumps(unit))
        return [Ended(unit, *perform(sent, self.held), worker=self.node)]

    def close(self) -> None:
        pass


class There(Here):
    node = "node 10.0.0.7"


@pytest.fixture(scope="module")
def corpus() -> ParallelCorpus:
    """Two of its lines are the same in one language, so that they stay together in every part."""
    text = builtin(*TAGS).some(60)
    lines = list(text.texts["et"])
    lines[40] = lines[3]
    return replace(text, texts={**text.texts, "et": tuple(lines)})


@pytest.mark.parametrize("method", ["mean_difference", "learned", "projection"])
def test_a_language_alone_has_the_lines_that_it_has_among_others(
    llama: Model, corpus: ParallelCorpus, method: str
) -> None:
    options: dict[str, Any] = {"layers": [1], **({"steps": 4} if method == "learned" else {})}
    among = learn(llama, corpus, "sw", method, **options)
    alone = learn(llama, dealt_alike(corpus, method).only("sw"), method=method, **options)
    assert alone.describe() == among.describe()
    for name, values in among.tensors().items():
        assert torch.equal(values, alone.tensors()[name])


def test_units_write_what_one_call_writes(
    folder: Path, corpus: ParallelCorpus, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"layers": [1, 2]}
    whole = {tag: tmp_path / "whole" / f"{tag}.safetensors" for tag in TAGS}
    learn_all(load_model(str(folder)), corpus, "mean_difference", files=whole, **options)
    shared = {tag: tmp_path / "shared" / f"{tag}.safetensors" for tag in TAGS}
    told = []
    outcome = learn_shared(
        ModelPlace(str(folder)),
        corpus,
        shared,
        Here,
        "mean_difference",
        on_end=lambda *ended: told.append(ended),
        **options,
    )
    assert outcome.written == shared
    assert outcome.failed == {}
    assert told == [("sw", None, 1), ("et", None, 2), ("tr", None, 3)]
    for tag in TAGS:
        one, other = load(whole[tag]), load(shared[tag])
        assert one.describe() == other.describe()
        assert all(
            torch.equal(one.tensors()[name], other.tensors()[name]) for name in one.tensors()
        )
    before = shared["sw"].stat().st_mtime_ns
    learn_shared(ModelPlace(str(folder)), corpus, shared, Here, "mean_difference", **options)
    assert shared["sw"].stat().st_mtime_ns == before  # it is there


def test_a_language_that_fails_leaves_the_others(
    folder: Path, corpus: ParallelCorpus, tmp_path: Path
) -> None:
    files = {tag: tmp_path / f"{tag}.safetensors" for tag in TAGS}
    files["et"].write_bytes(b"something else")
    router = tmp_path / "router.safetensors"
    told = {}
    outcome = learn_shared(
        ModelPlace(str(folder)),
        corpus,
        files,
        There,
        "mean_difference",
        router=router,
        on_end=lambda name, error, done: told.update({name: error}),
        layers=[1],
    )
    assert set(outcome.written) == {"sw", "tr"}
    assert told == {"sw": None, "et": outcome.failed["et"], "tr": None}
    assert outcome.failed["et"].endswith("(on node 10.0.0.7)")
    assert "et.safetensors" in outcome.failed["et"]
    assert files["et"].read_bytes() == b"something else"
    assert not router.exists()


def test_what_cannot_be_shared(folder: Path, corpus: ParallelCorpus, tmp_path: Path) -> None:
    files = {tag: tmp_path / f"{tag}.safetensors" for tag in TAGS}
    with pytest.raises(FitError, match="one vector for all"):
        learn_shared(ModelPlace(str(folder)), corpus, files, Here, together=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveError):
        learn_shared(
            ModelPlace(str(folder)), corpus, dict.fromkeys(TAGS, tmp_path / "file" / "v"), Here
        )


def test_a_unit_is_told_apart_by_its_file(corpus: ParallelCorpus, tmp_path: Path) -> None:
    units = [
        FitUnit(ModelPlace("m"), tmp_path / tag, corpus.only(tag), "learned", {}) for tag in TAGS
    ]
    assert len({unit.name for unit in units}) == 3
    assert frozenset.intersection(*(unit.claims for unit in units)) == frozenset()


def test_the_command_with_two_processes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["fit", "-m", str(folder), "-l", "sw,et,tr,hi,el,ru", "--method", "mean_difference"]
    common += ["--layer", "1", "-n", "40", "--router", "--json"]
    status, out, err = run(capsys, *common, "-o", f"{tmp_path}/two/", "--jobs", "2")
    assert status == 0, err
    assert "[7/7] router: done" in err
    status, out_alone, err = run(capsys, *common, "-o", f"{tmp_path}/one/")
    assert status == 0, err
    for shared, alone in zip(json.loads(out), json.loads(out_alone), strict=True):
        assert Path(shared["file"]).name == Path(alone["file"]).name
        assert (shared["layers"], shared["strength"]) == (alone["layers"], alone["strength"])
        ours, theirs = (load(told["file"]).tensors() for told in (shared, alone))
        assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in ours)
    assert (tmp_path / "two" / "router.safetensors").is_file()
