"""A fine-tuning: what is left out, what is refused, and steering while it learns."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("peft")
pytest.importorskip("trl")


from langsteer.errors import MissingExtraError, TuneError, VectorError
from langsteer.model.model import Model
from langsteer.model.opening import load_model
from langsteer.steering.vector import SteeringVector
from langsteer.tuning import SftOptions, sft
from langsteer.tuning.answers import IGNORED, answer_logprobs, collate
from langsteer.tuning.data import Instructions, Record
from langsteer.tuning.job import examples
from langsteer.tuning.prompts import PLAIN
from tests.helpers import build_model
from tests.made.instructions import FAST, SIZE, logits, swahili, toy


def test_long_records_are_left_out(model: Model, tmp_path: Path) -> None:
    long = Record("long", "en", (("user", "x" * 300),), "yes")
    records = Instructions((*toy().records, long), "toy")
    options = SftOptions(**FAST | {"steps": 1, "max_length": 100})
    result = sft(model, records, tmp_path / "sft", options=options)
    assert (result.too_long, result.records["all"] + result.held_out["all"]) == (1, 20)
    with pytest.raises(TuneError, match="no record of toy has at most 9 tokens"):
        sft(model, toy(), tmp_path / "none", options=replace(options, max_length=9))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0.0}, "rate must be a number above 0, not 0.0"),
        ({"batch": 0}, "batch must be"),
        ({"epochs": math.nan}, "epochs must be"),
        ({"rank": -1}, "rank must be"),
        ({"held_out": 1.0}, "share of records"),
    ],
)
def test_bad_options(options: Any, message: str, model: Model, tmp_path: Path) -> None:
    with pytest.raises(TuneError, match=message):
        sft(model, toy(), tmp_path / "sft", options=SftOptions(**options))
    assert not list(tmp_path.iterdir())


def test_missing_libraries(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "trl", None)
    with pytest.raises(MissingExtraError, match=r"fine-tuning needs trl: .*langsteer\[train\]"):
        sft(model, toy(), tmp_path / "sft")


def test_steering_is_on_while_it_learns(model: Model, tmp_path: Path) -> None:
    torch.manual_seed(3)
    vector = swahili(model)
    options = SftOptions(**FAST | {"steps": 20})
    plain = sft(model, toy(), tmp_path / "plain", options=options)
    result = sft(model, toy(), tmp_path / "steered", options=options, vectors=[vector])
    assert result.before["en"] == plain.before["en"]
    assert result.before["sw"] != plain.before["sw"]
    tuned = load_model(tmp_path / "steered")
    assert not torch.equal(logits(tuned), logits(load_model(tmp_path / "plain")))
    noted = json.loads((tmp_path / "steered" / "langsteer.json").read_text())["result"]["vectors"]
    assert noted[0] | {"language": "sw", "layer": vector.layer} == noted[0]
    saved = SteeringVector.load(tmp_path / "steered" / noted[0]["file"])
    assert torch.equal(saved.values, vector.values)
    # the vector gives the loss that was measured, its absence another
    held = examples(tuned, toy().split(0.2)[1].only("sw"), PLAIN, [vector])
    rows = [e.chosen for e in held]
    tokens = sum(label != IGNORED for row in rows for label in row["labels"])
    with torch.no_grad():
        on = -float(answer_logprobs(tuned, collate(tuned, rows), [vector]).sum()) / tokens
        off = -float(answer_logprobs(tuned, collate(tuned, rows)).sum()) / tokens
    assert on == pytest.approx(result.after["sw"]["loss"], rel=1e-4)
    assert abs(on - off) > 1e-3


@pytest.mark.parametrize(
    ("positions", "text"),
    [
        ("source", "sw 0?"),
        ("prompt", "### Instruction\nsw 0?\n\n### Response\n"),
        ("generated", "ndio<eos>"),
        ("all", "### Instruction\nsw 0?\n\n### Response\nndio<eos>"),
    ],
)
def test_which_tokens_are_steered(positions: str, text: str, model: Model) -> None:
    records = Instructions(toy(1).records, "toy")
    vector = swahili(model, positions=positions)
    english, other = examples(model, records, PLAIN, [vector])
    assert "steered" not in english.chosen
    row = other.chosen
    found = [i for i, on in zip(row["input_ids"], row["steered"], strict=True) if on]
    assert model.tokenizer.decode(found) == text
    # as by hand, in a batch with rows that are not steered
    rows = [english.chosen, row]
    with torch.no_grad():
        both = answer_logprobs(model, collate(model, rows), [vector]).sum(1)
        plain = answer_logprobs(model, collate(model, rows)).sum(1)
        ids = model.batch([row["input_ids"]])
        mask = torch.tensor([row["steered"]])
        with vector.applied(model, positions="source", mask=mask):
            log_p = torch.log_softmax(model.network(**ids).logits[0], -1)
    answer = [i for i, label in enumerate(row["labels"]) if label != IGNORED]
    expected = sum(float(log_p[i - 1, row["input_ids"][i]]) for i in answer)
    assert float(both[1]) == pytest.approx(expected, rel=1e-4)
    assert float(both[0]) == pytest.approx(float(plain[0]), rel=1e-5)
    assert abs(float(both[1] - plain[1])) > 1e-3


def test_vectors_that_cannot_be_used(model: Model, tmp_path: Path) -> None:
    options = SftOptions(**FAST | {"steps": 1})
    vector = swahili(model)
    with pytest.raises(TuneError, match=r"no records in 'et' to steer: toy has en, sw"):
        sft(model, toy(), tmp_path / "x", vectors=[replace(vector, language="et")])
    with pytest.raises(TuneError, match="two vectors for 'sw'"):
        sft(model, toy(), tmp_path / "x", vectors=[vector, vector])
    sft(model, toy(), tmp_path / "sft", options=options)
    tuned = load_model(tmp_path / "sft")
    with pytest.raises(VectorError, match="other weights"):
        sft(tuned, toy(), tmp_path / "x", options=options, vectors=[vector])
    sft(tuned, toy(), tmp_path / "x", options=options, vectors=[vector.carried_to(tuned)])


def test_a_vector_is_carried_to_a_tuned_model(model: Model, tmp_path: Path) -> None:
    sft(model, toy(), tmp_path / "sft", options=SftOptions(**FAST | {"steps": 1}))
    tuned = load_model(tmp_path / "sft")
    vector = swahili(model)
    carried = vector.carried_to(tuned)
    carried.check_fits(tuned)
    assert torch.equal(carried.values, vector.values)
    assert carried.model["carried_from"] == vector.model
    assert carried.carried_to(tuned) is carried
    back = SteeringVector.load(carried.save(tmp_path / "v"), tuned).carried_to(model)
    assert back.model["fingerprint"] == model.fingerprint
    assert back.model["carried_from"] == vector.model
    with pytest.raises(VectorError, match="layers is 4 there and 3 here"):
        vector.carried_to(build_model("llama", num_hidden_layers=3, **SIZE))
    with pytest.raises(VectorError, match="vocab size is 128 there and 130 here"):
        vector.carried_to(build_model("llama", vocab_size=130, **SIZE))
    with pytest.raises(VectorError, match="hidden size is 32 there and 64 here"):
        vector.carried_to(build_model("llama", hidden_size=64, **SIZE))
