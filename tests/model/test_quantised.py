"""A model quantised by bitsandbytes is steered, fitted and told from others like any other."""

from pathlib import Path

import pytest
import torch
import transformers

from langsteer.errors import FitError, VectorError
from langsteer.fitting.learning import fit
from langsteer.model.model import Model
from langsteer.model.opening import load_model, wrap_model
from tests.helpers import (
    LAYERS,
    ByHand,
    batch,
    build_network,
    character_tokenizer,
    make_vector,
    pairs,
    real_tokens,
)

bitsandbytes = pytest.importorskip("bitsandbytes")

BITS = {"8-bit": {"load_in_8bit": True}, "4-bit": {"load_in_4bit": True}}


@pytest.fixture(scope="module", params=["llama", "gemma3"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole")
    # 4-bit kernels want sizes that are multiples of 32.
    sizes = {"hidden_size": 64, "intermediate_size": 64, "head_dim": 16}
    build_network(request.param, **sizes).save_pretrained(path)
    character_tokenizer().save_pretrained(path)
    return path


@pytest.fixture(scope="module", params=BITS)
def quantised(folder: Path, request: pytest.FixtureRequest) -> Model:
    return open_quantised(folder, request.param)


def open_quantised(folder: Path, bits: str) -> Model:
    settings = transformers.BitsAndBytesConfig(**BITS[bits])
    model = load_model(folder, quantization_config=settings)
    try:
        with torch.inference_mode():
            model.network(**batch(model, "left"))
    except (RuntimeError, NotImplementedError) as error:
        pytest.skip(f"bitsandbytes cannot run here: {error}")
    return model


def test_its_parts_are_found(quantised: Model) -> None:
    names = {type(module).__name__ for module in quantised.blocks[0].modules()}
    assert names & {"Linear8bitLt", "Linear4bit"}
    assert quantised.layers == LAYERS
    assert quantised.hidden_size == 64
    assert quantised.norm is quantised.decoder.norm
    assert quantised.head is quantised.network.get_output_embeddings()


@torch.inference_mode()
@pytest.mark.parametrize("side", ["left", "right"])
def test_steering_equals_adding_by_hand(quantised: Model, side: str) -> None:
    vector = make_vector(quantised, strength=0.7)
    inputs = batch(quantised, side)
    plain = quantised.network(**inputs).logits
    with vector.applied(quantised):
        steered = quantised.network(**inputs).logits
    with ByHand(quantised, 0.7 * vector.values, [real_tokens(inputs)]):
        expected = quantised.network(**inputs).logits
    assert torch.equal(steered, expected)
    assert not torch.equal(steered, plain)
    assert torch.equal(quantised.network(**inputs).logits, plain)


def test_vectors_are_fitted(quantised: Model) -> None:
    before = quantised.fingerprint["weights"]
    vector = fit(quantised, pairs(12), method="mean_difference", layer=1)
    vector.check_fits(quantised)
    assert float(vector.values.norm()) > 0
    assert wrap_model(quantised.network).fingerprint["weights"] == before


def test_learning_lowers_its_loss_or_is_refused(quantised: Model) -> None:
    try:
        vector = fit(quantised, pairs(12), method="learned", layer=1, steps=50, rate=0.03)
    except FitError as error:
        packed = "4-bit weights" in str(error)
        assert packed
        return
    assert vector.loss[-1] < vector.loss[0]


@pytest.mark.parametrize("bits", BITS)
def test_its_fingerprint_is_its_own(folder: Path, bits: str) -> None:
    first, second = (open_quantised(folder, bits) for _ in range(2))
    assert first.fingerprint == second.fingerprint
    settings = transformers.BitsAndBytesConfig(**BITS[bits])
    fresh = transformers.AutoModelForCausalLM.from_pretrained(folder, quantization_config=settings)
    assert wrap_model(fresh).fingerprint == first.fingerprint  # before it has ever run
    whole = load_model(folder)
    assert whole.fingerprint["weights"] != first.fingerprint["weights"]
    vector = make_vector(whole)
    with pytest.raises(VectorError, match="has other weights"):
        vector.check_fits(first)
    vector.check_fits(first, other_weights=True)


def test_a_device_may_be_named(folder: Path) -> None:
    settings = transformers.BitsAndBytesConfig(**BITS["8-bit"])
    assert load_model(folder, device="cpu", quantization_config=settings).layers == LAYERS
