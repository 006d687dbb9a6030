"""Fine-tuning with LoRA: what is learnt from, what is kept, and that the model stays as it was."""

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("lm_eval")
pytest.importorskip("peft")
pytest.importorskip("trl")


from langsteer.errors import MethodError, MissingExtraError
from langsteer.evaluation.benchmarks import load_docs
from langsteer.evaluation.methods import get_method, lora
from langsteer.evaluation.methods.asking import Rendered, accuracy, render
from langsteer.evaluation.methods.lora import ItemLoraOptions, tune
from langsteer.model.model import Model
from langsteer.steering.vector import SteeringVector
from langsteer.tuning.adapter import open_tuned
from langsteer.tuning.answers import IGNORED
from tests.helpers import ARCHITECTURES, build_model
from tests.made.settings import setting

FAST: dict[str, Any] = {"steps": 30, "batch": 7, "rate": 0.02, "half": False}


def items(count: int = 8) -> list[Rendered]:
    return [
        Rendered({"id": str(i)}, f"say {'ab'[i % 2]}:", (" yes", " no"), i % 2)
        for i in range(count)
    ]


def test_a_tuned_model_answers_and_the_base_is_as_it_was(model: Model, data: Path) -> None:
    given = setting(model, data)
    before = {k: v.clone() for k, v in model.network.state_dict().items()}
    plan = get_method("lora_sft").prepare(given, **FAST)
    assert all(torch.equal(v, before[k]) for k, v in model.network.state_dict().items())
    assert plan.model is not None
    assert plan.model.fingerprint["weights"] != model.fingerprint["weights"]
    assert plan.training_seconds > 0
    train = load_docs(given.benchmark, "sw", "train", data)
    assert plan.chosen_on == {doc["id"] for doc in train} == set(plan.settings["training_ids"])
    rendered = render(given, "sw", train)
    tuned = accuracy(setting(plan.model, data), rendered)
    assert tuned[1] > accuracy(given, rendered)[1] + 0.1
    folder = given.work / "adapters" / "lora_sft" / "sib200_sw_english"
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {
        path.name for path in folder.iterdir()
    }
    assert not (folder / "checkpoints").exists()


def test_an_adapter_is_used_again(
    model: Model,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = setting(model, data)
    first = get_method("lora_english").prepare(given, **FAST)
    assert first.settings["trained_on"] == "train in en"

    def refuse(*args: Any) -> float:
        raise AssertionError("trained again")

    monkeypatch.setattr(lora, "tune", refuse)
    again = get_method("lora_english").prepare(given, **FAST)
    assert first.model is not None
    assert again.model is not None
    assert again.model.fingerprint == first.model.fingerprint
    assert again.training_seconds == pytest.approx(first.training_seconds, rel=0.2)
    with pytest.raises(AssertionError, match="trained again"):
        get_method("lora_english").prepare(given, **FAST | {"rank": 2})
    with pytest.raises(AssertionError, match="trained again"):
        get_method("lora_sft").prepare(given, **FAST)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_loss_is_the_answers_own(architecture: str) -> None:
    """With the head at the answers only, as with all logits and the prompt ignored."""
    model = build_model(architecture)
    encoded = [lora._encode(model, item) for item in items(3)]
    assert [label for label in encoded[0]["labels"] if label != IGNORED] == encoded[0]["input_ids"][
        -4:
    ]
    rows = lora.collate(model, encoded)
    with torch.no_grad():
        found = lora._answer_loss(model, dict(rows))
        total = 0.0
        for row in encoded:
            logits = model.network(**model.batch([row["input_ids"]])).logits[0].float()
            log_p = torch.log_softmax(logits, -1)
            answer = len([label for label in row["labels"] if label != IGNORED])
            ids = row["input_ids"]
            total -= sum(float(log_p[i - 1, ids[i]]) for i in range(len(ids) - answer, len(ids)))
    assert float(found) == pytest.approx(total / 3, rel=1e-4)


def test_a_stopped_run_goes_on(
    model: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = ItemLoraOptions(steps=10, batch=2, rate=0.01, half=False)
    tune(model, items(), tmp_path / "whole", options)
    loss = lora._answer_loss
    steps = 0

    def interrupted(*args: Any) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == 8:
            raise KeyboardInterrupt
        return loss(*args)

    torch.rand(3)  # what was drawn before does not matter
    monkeypatch.setattr(lora, "_answer_loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tune(model, items(), tmp_path / "parts", options)
    assert (tmp_path / "parts" / "checkpoints" / "checkpoint-6").is_dir()
    steps = 100
    tune(model, items(), tmp_path / "parts", options)
    assert steps == 104
    weights = [
        open_tuned(model, tmp_path / name, name).network.state_dict() for name in ("whole", "parts")
    ]
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], atol=1e-5, rtol=1e-4)


def test_a_vector_on_top_is_fitted_on_the_tuned_model(model: Model, data: Path) -> None:
    plan = get_method("lora_sft+mean_difference").prepare(setting(model, data), **FAST)
    assert isinstance(plan.change, SteeringVector)
    assert plan.model is not None
    plan.change.check_fits(plan.model)
    with pytest.raises(Exception, match="other weights"):
        plan.change.check_fits(model)
    assert (data.parent / "work/on/lora_sft/sib200/vectors/mean_difference").is_dir()


def test_xcopa_has_only_development_items_to_learn_from(model: Model, data: Path) -> None:
    plan = get_method("lora_sft").prepare(setting(model, data, "xcopa"), **FAST | {"steps": 2})
    assert plan.settings["trained_on"] == "development in sw"
    assert all(name.startswith("development-") for name in plan.chosen_on)


def test_bad_requests(model: Model, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MethodError, match=r"no such option .*it has rank, scale"):
        get_method("lora_sft").prepare(setting(model, data), magic=1)
    with pytest.raises(MethodError, match="at least one training item"):
        get_method("lora_sft").prepare(setting(model, data), most=0)
    monkeypatch.setitem(__import__("sys").modules, "trl", None)
    with pytest.raises(
        MissingExtraError, match=r"LoRA needs trl: pip install 'langsteer\[train\]'"
    ):
        get_method("lora_sft").prepare(setting(model, data))
