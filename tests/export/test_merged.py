"""Checkpoints with a vector inside, opened by transformers alone."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers

from langsteer.errors import ExportError, SaveError, VectorError
from langsteer.export import merged
from langsteer.export.formats import export
from langsteer.model.model import Model
from langsteer.model.opening import wrap_model
from langsteer.steering.sequence import ChangeSequence
from tests.helpers import ARCHITECTURES, BOS, build_model, build_network, make_vector, run, tiny

EXACT = ("llama", "cohere", "gpt2", "gpt_neox", "opt", "bloom")
IDS = torch.tensor([[10, 11, 12, 13, 14], [40, 41, 42, 43, 44]])  # without the first token


@torch.no_grad()
def logits(network: object, ids: torch.Tensor = IDS) -> torch.Tensor:
    return network(input_ids=ids).logits  # type: ignore[operator]


def opened(folder: Path) -> object:
    network, told = transformers.AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(told.values())
    return network.eval()


@pytest.mark.parametrize("architecture", EXACT)
def test_transformers_gives_the_logits_of_steering(architecture: str, tmp_path: Path) -> None:
    model = tiny(architecture)
    before = logits(model.network)
    vector = make_vector(model, layer=2, strength=0.7)
    (folder,) = export(vector, "merged", tmp_path / "m", model=model).values()
    with vector.applied(model):
        steered = logits(model.network)
    theirs = logits(opened(folder))
    torch.testing.assert_close(theirs, steered, rtol=1e-5, atol=1e-6)
    assert (theirs - before).abs().max() > 1000 * (theirs - steered).abs().max()
    assert torch.equal(logits(model.network), before)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("architecture", sorted(set(ARCHITECTURES) - set(EXACT)))
def test_other_architectures_are_refused(architecture: str, tmp_path: Path) -> None:
    model = tiny(architecture)
    with pytest.raises(ExportError, match=r"a norm \(.*follows|has no bias, and no option"):
        export(make_vector(model), "merged", tmp_path / "m", model=model)
    assert not list(tmp_path.iterdir())


def test_all_other_biases_are_zero(llama: Model, tmp_path: Path) -> None:
    vector = make_vector(llama, layer=2, strength=0.5)
    folder = export(vector, "merged", tmp_path / "m", model=llama)["sw"]
    network = opened(folder)
    assert network.config.mlp_bias is True  # type: ignore[attr-defined]
    biases = {n: p for n, p in network.named_parameters() if n.endswith(".bias")}  # type: ignore[attr-defined]
    assert len(biases) == 3 * llama.layers
    own = biases.pop("model.layers.2.mlp.down_proj.bias")
    assert torch.equal(own, 0.5 * vector.values)
    assert not any(bias.any() for bias in biases.values())


def test_a_bias_of_its_own_is_added_to(tmp_path: Path) -> None:
    model = build_model("gpt2")
    bias = model.blocks[1].mlp.c_proj.bias
    torch.nn.init.normal_(bias)
    vector = make_vector(model)
    network = opened(export(vector, "merged", tmp_path / "m", model=model)["sw"])
    merged_bias = network.transformer.h[1].mlp.c_proj.bias  # type: ignore[attr-defined]
    assert torch.equal(merged_bias, bias + vector.values)


def test_several_layers_and_half_precision(tmp_path: Path) -> None:
    model = build_model("llama")
    model.network.to(torch.bfloat16)
    parts = tuple(make_vector(model, seed, layer=seed) for seed in (0, 2))
    change = ChangeSequence(parts, strength=0.5)
    network = opened(export(change, "merged", tmp_path / "m", model=model)["sw"])
    assert network.dtype == torch.bfloat16  # type: ignore[attr-defined]
    with change.applied(model):
        steered = logits(model.network)
    effect = (steered - logits(model.network)).abs().mean()
    assert (logits(network) - steered).abs().mean() < 0.1 * effect


def test_the_first_token_is_declared(llama: Model, tmp_path: Path) -> None:
    vector = make_vector(llama, strength=3.0)
    record = merged.export([vector], tmp_path / "m", model=llama)
    assert record["everywhere"] is None
    assert "the beginning-of-sequence token is steered too" in record["difference"]
    assert json.loads((tmp_path / "m" / merged.RECORD).read_text()) == json.loads(
        json.dumps(record)
    )
    (entry,) = record["vectors"]
    assert (entry["bias"], entry["option"]) == ("mlp.down_proj", "mlp_bias")
    assert (entry["layer"], entry["strength"], entry["positions"]) == (1, 3.0, "all")
    first = torch.cat([torch.full((2, 1), BOS), IDS], 1)
    with vector.applied(llama):
        assert not torch.allclose(
            logits(opened(tmp_path / "m"), first)[:, 0], logits(llama.network, first)[:, 0]
        )


def test_positions_are_refused_or_declared(llama: Model, tmp_path: Path) -> None:
    vector = make_vector(llama, positions="prompt")
    with pytest.raises(ExportError, match="positions 'prompt', and a merged checkpoint acts on"):
        export(vector, "merged", tmp_path / "m", model=llama)
    export(vector, "merged", tmp_path / "m", model=llama, everywhere=True)
    record = json.loads((tmp_path / "m" / merged.RECORD).read_text())
    assert "fitted to act on the positions prompt" in record["everywhere"]


def test_what_is_refused(llama: Model, tmp_path: Path) -> None:
    vector = make_vector(llama)
    with pytest.raises(ExportError, match=r"pass model=.*--model"):
        export(vector, "merged", tmp_path / "m")
    with pytest.raises(VectorError, match="has other weights"):
        export(vector, "merged", tmp_path / "m", model=build_model("llama", seed=1))
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("mine")
    with pytest.raises(SaveError, match="it is there already"):
        export(vector, "merged", tmp_path / "there", model=llama)
    quantised = replace(llama, network=build_network("llama"))
    quantised.network.is_quantized = True
    with pytest.raises(ExportError, match="is quantised"):
        export(vector, "merged", tmp_path / "m", model=quantised)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_an_adapter_is_refused(llama: Model, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    adapted = peft.get_peft_model(build_network("llama"), peft.LoraConfig(r=2))
    model = wrap_model(adapted, llama.tokenizer)
    with pytest.raises(ExportError, match="merge the adapter into it first"):
        export(make_vector(model), "merged", tmp_path / "m", model=model)


def test_a_checkpoint_that_does_not_steer_is_not_kept(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merged, "scaled", lambda vector: replace(vector, values=-vector.values))
    with pytest.raises(ExportError, match="differs from steering by"):
        export(make_vector(llama), "merged", tmp_path / "m", model=llama)
    assert not list(tmp_path.iterdir())


def test_from_the_command_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vector = make_vector(tiny("llama")).save(tmp_path / "sw.safetensors")
    code, out, err = run(
        capsys, "export", str(vector), "--to", "merged", "-m", str(folder), "-o",
        str(tmp_path / "m"),
    )  # fmt: skip
    assert code == 0, err
    assert f"sw: {tmp_path / 'm'} (checkpoint with the vector inside)" in out
    opened(tmp_path / "m")
