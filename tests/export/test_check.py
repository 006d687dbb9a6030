"""What a comparison with an engine says of engines that steer, and of those that do otherwise."""

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from langsteer.engines.llama_cpp import Place
from langsteer.errors import EngineError, ExportError
from langsteer.export import check
from langsteer.export.check import Pair, Report, compare_all, everywhere, is_quantised
from langsteer.export.check_numbers import Checked
from langsteer.export.formats import check_export, export
from langsteer.model.model import Model
from langsteer.steering.vector import SteeringVector
from tests.helpers import ByHand, make_vector, run
from tests.made.llama_server import write_program


@dataclass
class Engine:
    """A server that adds `vector`, in its own way: after `strength`, at `layer`, with weights of its own."""

    model: Model
    vector: SteeringVector | None
    noise: float = 0.0
    log: Path = Path("no.log")

    def places(
        self,
        ids: Sequence[int],
        tokens: int,
        likeliest: int,
        model: str | None = None,
        bias: Any = (),
    ) -> list[Place]:
        row, places = list(ids), []
        for _ in range(tokens):
            inputs = self.model.batch([row])
            with (
                torch.inference_mode(),
                everywhere(self.model, [self.vector] if self.vector else []),
            ):
                logits = self.model.last_logits(inputs, 1)[0, 0]
            generator = torch.Generator().manual_seed(len(row))
            noise = self.noise * torch.randn(logits.shape, generator=generator)
            best = (logits + noise).log_softmax(-1).topk(min(likeliest, len(logits)))
            pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
            places.append(Place(int(best.indices[0]), dict(pairs)))
            row.append(places[-1].token)
        return places


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "TEXTS", 2)
    monkeypatch.setattr(check, "WRITTEN", 4)


@pytest.fixture
def vector(llama: Model) -> SteeringVector:
    return make_vector(llama, strength=0.02)  # about the size of its states


def checked(
    model: Model, vector: SteeringVector, theirs: SteeringVector | None, noise: float = 0.0
) -> Checked:
    """`vector` compared with an engine that adds `theirs`."""

    @contextlib.contextmanager
    def servers(language: str) -> Iterator[Any]:
        yield Pair(Engine(model, theirs, noise), Engine(model, None, noise))  # type: ignore[arg-type]

    return compare_all(model, {"sw": [vector]}, servers)[0]


def test_everywhere_is_every_token(llama: Model, vector: SteeringVector) -> None:
    inputs = llama.batch([[1, 10, 11, 12, 13]])
    delta = vector.strength * vector.values
    where = torch.ones(1, 5, dtype=torch.bool)
    with torch.inference_mode():
        with everywhere(llama, [vector]):
            ours = llama.run_decoder(inputs)
        with ByHand(llama, delta, [where]):
            by_hand = llama.run_decoder(inputs)
        with vector.applied(llama):
            without_first = llama.run_decoder(inputs)
    assert torch.equal(ours, by_hand)
    assert not torch.equal(ours, without_first)


def test_an_engine_that_does_the_same(llama: Model, vector: SteeringVector) -> None:
    told = checked(llama, vector, vector)
    assert told.places == check.TEXTS * check.WRITTEN
    assert told.steered.largest < 1e-4
    assert told.steered.tokens == 0
    assert told.share == pytest.approx(1, abs=1e-4)
    assert told.rest < 1e-4
    assert told.effect > 0.001
    assert told.fitted > 0  # the beginning-of-sequence token, which langsteer leaves alone
    assert told.problem() is None


@pytest.mark.parametrize(
    ("theirs", "problem"),
    [
        (None, "as if the vector were not there"),
        ({"strength": 0.04}, r"does 1\.[2-9]\d times"),
        ({"layer": 2}, "something else besides"),
    ],
)
def test_an_engine_that_does_otherwise(
    llama: Model, vector: SteeringVector, theirs: Any, problem: str
) -> None:
    other = replace(vector, **theirs) if theirs else None
    told = checked(llama, vector, other)
    assert re.search(problem, told.problem() or ""), told


def test_what_an_engine_does_otherwise_anyway_is_not_held_against_it(
    llama: Model, vector: SteeringVector
) -> None:
    """As a quantised file does: it differs without steering too, and steering adds nothing."""
    noisy = checked(llama, vector, vector, noise=0.02)
    assert noisy.unsteered.largest > 0.05
    assert noisy.problem() is None
    assert "not there" in (checked(llama, vector, None, noise=0.02).problem() or "")
    hidden = checked(llama, vector, vector, noise=0.2).problem()
    assert "so nothing can be told: take a file that is quantised less" in (hidden or "")


def test_a_vector_that_does_nothing_tells_nothing(llama: Model, vector: SteeringVector) -> None:
    nothing = vector.with_strength(1e-6)
    told = checked(llama, nothing, nothing).problem()
    assert told is not None
    assert "next to nothing" in told


def test_a_report_that_fails_is_one_line(llama: Model, vector: SteeringVector) -> None:
    wrong = checked(llama, vector, None)
    report = Report("llama.cpp 1", Path("m.gguf"), False, (wrong, replace(wrong, language="tr")))
    with pytest.raises(
        EngineError, match=r"does not steer m\.gguf .*: sw: it .*; tr: it "
    ) as error:
        report.require()
    assert "\n" not in str(error.value)
    assert report.record()["languages"][0]["problem"] == wrong.problem()


def write_gguf(path: Path, kind: gguf.GGMLQuantizationType) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(4)
    writer.add_embedding_length(32)
    quantised = gguf.quantize(np.ones((2, 32), dtype=np.float32), kind)
    writer.add_tensor("norm", np.ones(32, dtype=np.float32))
    writer.add_tensor("weight", quantised, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_what_is_quantised(tmp_path: Path) -> None:
    kinds = gguf.GGMLQuantizationType
    for kind, quantised in ((kinds.F32, False), (kinds.F16, False), (kinds.Q8_0, True)):
        assert is_quantised(write_gguf(tmp_path / "m.gguf", kind)) is quantised


@pytest.fixture
def model_file(tmp_path: Path, llama: Model, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(check, "load_model", lambda file: llama)
    return write_gguf(tmp_path / "tiny.gguf", gguf.GGMLQuantizationType.F32)


@pytest.mark.parametrize("to", ["gguf", "llama-server"])
def test_the_command_says_so_and_fails(
    to: str,
    vector: SteeringVector,
    tmp_path: Path,
    model_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The stand-in's answers are of no model: the same at each place."""
    vector.save(tmp_path / "sw.safetensors")
    program = write_program(tmp_path)
    arguments = [
        "export",
        str(tmp_path / "sw.safetensors"),
        "--to",
        to,
        "-o",
        str(tmp_path / "out"),
    ]
    arguments += ["--check", str(model_file), "--llama-server", str(program)]
    if to == "llama-server":
        arguments += ["-m", str(model_file)]
    code, out, err = run(capsys, *arguments)
    assert code == 1
    assert "llama.cpp 4321 (abcdef0) on tiny.gguf (not quantised)" in out
    assert "does not steer tiny.gguf as langsteer does: sw: " in err
    code, out, err = run(capsys, *arguments, "--json")
    told = json.loads(out)["check"]
    assert code == 1
    assert told["engine"] == "llama.cpp 4321 (abcdef0)"
    assert told["languages"][0]["places"] == check.TEXTS * check.WRITTEN


def test_what_cannot_be_checked_is_said_first(
    vector: SteeringVector, tmp_path: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vector.save(tmp_path / "sw.safetensors")
    base = ["export", str(tmp_path / "sw.safetensors"), "-o", str(tmp_path / "out"), "--check"]
    program = str(write_program(tmp_path))
    for more, told in (
        ([str(model_file), "--to", "lm-eval"], "that is for gguf, llama-server"),
        (["none.gguf", "--to", "gguf"], "there is no file none.gguf"),
        (
            [str(model_file), "--to", "gguf", "--llama-server", "no"],
            "no program llama-server at no",
        ),
    ):
        named = [] if "--llama-server" in more else ["--llama-server", program]
        code, _, err = run(capsys, *base, *more, *named)
        assert code == 1
        assert told in err
        assert not (tmp_path / "out").exists()


def test_a_preset_of_another_file(vector: SteeringVector, tmp_path: Path, model_file: Path) -> None:
    files = export(vector, "llama-server", tmp_path / "out", model=model_file)
    other = write_gguf(tmp_path / "other.gguf", gguf.GGMLQuantizationType.F32)
    with pytest.raises(ExportError, match=r"runs .*tiny\.gguf: check it with that"):
        check_export(vector, "llama-server", files, other, program=write_program(tmp_path))
