"""Steering equals adding by hand to the block's output, to the last bit, however the model is run."""

import sys
import threading
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from langsteer.errors import ModelError, VectorError
from langsteer.model.model import Model
from langsteer.model.opening import wrap_model
from langsteer.states.intervention import output_states, resumed
from langsteer.steering.change import steer
from tests.helpers import (
    ARCHITECTURES,
    LAYER,
    LAYERS,
    ByHand,
    batch,
    build_model,
    build_network,
    make_vector,
    real_tokens,
    tiny,
)

EOS = 2


@torch.inference_mode()
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_plain_forward_equals_adding_by_hand(architecture: str, side: str) -> None:
    model = tiny(architecture)
    vector = make_vector(model, strength=0.7)
    inputs = batch(model, side)
    plain = model.network(**inputs).logits
    with vector.applied(model):
        steered = model.network(**inputs).logits
    with ByHand(model, 0.7 * vector.values, [real_tokens(inputs)]):
        expected = model.network(**inputs).logits
    assert torch.equal(steered, expected)
    assert not torch.equal(steered, plain)
    assert torch.equal(model.network(**inputs).logits, plain)


@torch.inference_mode()
@pytest.mark.parametrize("layer", range(LAYERS))
@pytest.mark.parametrize("architecture", ["llama", "bloom"])
def test_every_layer(architecture: str, layer: int) -> None:
    """The last too, which is before the final norm."""
    model = tiny(architecture)
    vector, inputs = make_vector(model, layer=layer), batch(model, "left")
    with vector.applied(model):
        steered = model.network(**inputs).logits
    with ByHand(model, vector.values, [real_tokens(inputs)], layer=layer):
        assert torch.equal(steered, model.network(**inputs).logits)


@torch.inference_mode()
@pytest.mark.parametrize("layer", range(LAYERS))
@pytest.mark.parametrize("architecture", ["llama", "bloom"])
def test_going_on_from_a_layer(architecture: str, layer: int) -> None:
    model, kept = tiny(architecture), {}
    inputs = batch(model, "left")
    hook = model.blocks[layer].register_forward_hook(
        lambda module, args, output: kept.update(states=output_states(output) * 1.5)
    )
    plain = model.run_decoder(inputs)
    hook.remove()

    def changed(module: Any, args: Any, output: Any) -> Any:
        return (kept["states"], *output[1:]) if isinstance(output, tuple) else kept["states"]

    hook = model.blocks[layer].register_forward_hook(changed)
    expected = model.run_decoder(inputs)
    hook.remove()
    with resumed(model, layer, kept["states"]):
        assert torch.equal(model.run_decoder(inputs), expected)
    assert not torch.equal(expected, plain)
    assert torch.equal(model.run_decoder(inputs), plain)


@torch.inference_mode()
@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("positions", ["all", "prompt", "generated"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_generate_equals_adding_by_hand(architecture: str, positions: str, cached: bool) -> None:
    model = tiny(architecture)
    vector = make_vector(model, strength=2.0, positions=positions)
    inputs = batch(model, "left")
    inputs.pop("position_ids", None)
    settings = {
        "max_new_tokens": 5,
        "min_new_tokens": 5,
        "do_sample": False,
        "use_cache": cached,
        "return_dict_in_generate": True,
        "output_logits": True,
    }
    rows = len(inputs["input_ids"])
    prompt = real_tokens(inputs) & (positions != "generated")
    masks = [prompt]
    for step in range(1, 5):
        new = torch.full((rows, 1 if cached else step), positions != "prompt")
        masks.append(new if cached else torch.cat([prompt, new], 1))
    with vector.applied(model):
        steered = model.network.generate(**inputs, **settings)
    with ByHand(model, 2.0 * vector.values, masks):
        expected = model.network.generate(**inputs, **settings)
    assert torch.equal(steered.sequences, expected.sequences)
    for ours, theirs in zip(steered.logits, expected.logits, strict=True):
        assert torch.equal(ours, theirs)


@torch.inference_mode()
@pytest.mark.parametrize("side", ["left", "right"])
def test_source_mask_and_one_vector_a_row(llama: Model, side: str) -> None:
    first, second = make_vector(llama, 1), make_vector(llama, 2)
    inputs = batch(llama, side)
    mask = real_tokens(inputs)
    mask[:, 3] = False
    with steer(llama, [first, None, second], positions="source", mask=mask):
        steered = llama.network(**inputs).logits
    one, three = mask.clone(), mask.clone()
    one[1:], three[:2] = False, False
    with ByHand(llama, first.values, [one]), ByHand(llama, second.values, [three]):
        expected = llama.network(**inputs).logits
    assert torch.equal(steered, expected)


@torch.inference_mode()
def test_special_tokens_are_no_source(llama: Model) -> None:
    vector = make_vector(llama, strength=3.0)
    inputs = batch(llama, "left")
    inputs["input_ids"][0, 3] = inputs["input_ids"][2, -1] = EOS
    mask = real_tokens(inputs) & (inputs["input_ids"] != EOS)
    assert int(mask.sum()) == int(real_tokens(inputs).sum()) - 2
    with vector.applied(llama, positions="source"):
        steered = llama.network(**inputs).logits
    with ByHand(llama, 3.0 * vector.values, [mask]):
        expected = llama.network(**inputs).logits
    assert torch.equal(steered, expected)


@torch.inference_mode()
def test_rows_follow_beam_search(llama: Model) -> None:
    vector = make_vector(llama, strength=3.0)
    inputs = batch(llama, "left", (6, 4))
    inputs.pop("position_ids")
    settings = {"max_new_tokens": 4, "num_beams": 3, "do_sample": False, "pad_token_id": 0}
    with steer(llama, [vector, None]):
        steered = llama.network.generate(**inputs, **settings)
    prompt = real_tokens(inputs).repeat_interleave(3, 0)
    prompt[3:] = False
    new = torch.tensor([[True]] * 3 + [[False]] * 3)
    with ByHand(llama, 3.0 * vector.values, [prompt, new]):
        expected = llama.network.generate(**inputs, **settings)
    assert torch.equal(steered, expected)


@torch.inference_mode()
def test_contexts_nest_and_add_up(llama: Model) -> None:
    first, second = make_vector(llama, 1), make_vector(llama, 2, layer=2)
    inputs = batch(llama, "left")
    with first.applied(llama), second.applied(llama):
        steered = llama.network(**inputs).logits
    mask = real_tokens(inputs)
    with ByHand(llama, first.values, [mask]), ByHand(llama, second.values, [mask], layer=2):
        assert torch.equal(steered, llama.network(**inputs).logits)


@torch.inference_mode()
def test_an_exception_leaves_the_model_as_it_was(llama: Model) -> None:
    inputs = batch(llama, "left")
    plain = llama.network(**inputs).logits
    weights = {k: v.clone() for k, v in llama.network.state_dict().items()}
    hooks = hooks_of(llama)
    with pytest.raises(RuntimeError, match="on purpose"), make_vector(llama).applied(llama):
        raise RuntimeError("on purpose")
    assert torch.equal(llama.network(**inputs).logits, plain)
    assert all(torch.equal(v, weights[k]) for k, v in llama.network.state_dict().items())
    assert hooks_of(llama) == hooks


def hooks_of(model: Model) -> list[tuple[int, int]]:
    """How many hooks each module has, after it and before."""
    return [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.network.modules()]


@torch.inference_mode()
def test_bfloat16() -> None:
    model = wrap_model(build_network("gemma3").to(torch.bfloat16))
    vector = make_vector(model, strength=0.3)
    inputs = batch(model, "left")
    with vector.applied(model):
        steered = model.network(**inputs).logits
    with ByHand(model, 0.3 * vector.values, [real_tokens(inputs)]):
        assert torch.equal(steered, model.network(**inputs).logits)


@torch.inference_mode()
def test_the_decoder_called_alone_is_steered_too(llama: Model) -> None:
    vector, inputs = make_vector(llama), batch(llama, "left")
    with vector.applied(llama):
        steered = llama.run_decoder(inputs)
        again = llama.decoder(**inputs, use_cache=False).last_hidden_state
    with ByHand(llama, vector.values, [real_tokens(inputs)]):
        expected = llama.run_decoder(inputs)
    assert torch.equal(steered, expected)
    assert torch.equal(again, expected)


def test_threads_do_not_steer_each_other(llama: Model) -> None:
    inputs = batch(llama, "left")
    found: dict[int, Tensor] = {}
    with torch.inference_mode():
        expected = {}
        for seed in range(4):
            with make_vector(llama, seed).applied(llama):
                expected[seed] = llama.network(**inputs).logits
    barrier = threading.Barrier(4)

    def work(seed: int) -> None:
        with torch.inference_mode(), make_vector(llama, seed).applied(llama):
            for _ in range(5):
                barrier.wait()
                found[seed] = llama.network(**inputs).logits
            barrier.wait()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[seed], expected[seed]) for seed in range(4))


@pytest.mark.parametrize("any_thread", [False, True])
def test_contexts_that_come_and_go_while_another_thread_runs(any_thread: bool) -> None:
    model = build_model("llama")
    vector, inputs = make_vector(model, positions="prompt"), batch(model, "left")
    failed: list[BaseException] = []
    done = threading.Event()

    def run() -> None:
        try:
            with torch.inference_mode():
                while not done.is_set():
                    model.network(**inputs)
        except BaseException as error:
            failed.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=run)
    thread.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # nothing runs in this thread
            for _ in range(400):
                with steer(model, vector, any_thread=any_thread):
                    pass
    finally:
        done.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert failed == []


def test_a_hook_that_is_taken_away_in_the_course_of_a_call(llama: Model) -> None:
    """torch calls it without keywords then; what an earlier pass was does not count for this one."""
    vector, inputs = make_vector(llama), batch(llama, "left")
    with torch.inference_mode():
        plain = llama.network(**inputs).logits
        with vector.applied(llama):
            assert not torch.equal(llama.network(**inputs).logits, plain)
            for module in (llama.network, llama.decoder):
                module._forward_pre_hooks_with_kwargs.clear()
            assert torch.equal(llama.network(**inputs).logits, plain)


def test_running_only_in_another_thread_warns(llama: Model) -> None:
    inputs = batch(llama, "left")

    def run() -> None:
        with torch.inference_mode():
            llama.network(**inputs)

    with pytest.warns(UserWarning, match="any_thread"), make_vector(llama).applied(llama):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()


@torch.inference_mode()
def test_compiled_before_the_vector_is_applied() -> None:
    model = build_model("llama", seed=3)
    vector, inputs = make_vector(model), batch(model, "left")
    compiled = torch.compile(model.network)
    plain = compiled(**inputs).logits
    with vector.applied(compiled):
        steered = compiled(**inputs).logits
    mask = real_tokens(inputs)[..., None]

    @torch.compiler.disable
    def by_hand(module: Any, args: Any, output: Any) -> Any:
        return torch.where(mask, output + vector.values, output)

    hook = model.blocks[LAYER].register_forward_hook(by_hand)
    assert torch.equal(steered, compiled(**inputs).logits)
    hook.remove()
    assert not torch.allclose(steered, plain, atol=1e-3)
    torch.testing.assert_close(compiled(**inputs).logits, plain)


@torch.inference_mode()
def test_peft_wrapped() -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    model = wrap_model(peft.get_peft_model(build_network("llama", seed=5), config))
    vector, inputs = make_vector(model), batch(model, "left")
    with vector.applied(model):
        steered = model.network(**inputs).logits
    with ByHand(model, vector.values, [real_tokens(inputs)]):
        assert torch.equal(steered, model.network(**inputs).logits)


@torch.inference_mode()
def test_over_several_devices() -> None:
    accelerate = pytest.importorskip("accelerate")
    network = build_network("llama", seed=6)
    plain = wrap_model(network)
    vector, inputs = make_vector(plain), batch(plain, "left")
    with vector.applied(plain):
        expected = network(**inputs).logits
    parts = {"model.embed_tokens": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu"}
    parts |= {f"model.layers.{i}": "cpu" if i < 2 else "disk" for i in range(4)} | {
        "lm_head": "cpu"
    }
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        spread = accelerate.dispatch_model(network, parts, offload_dir=folder, main_device="cpu")
        with vector.applied(spread):
            assert torch.equal(spread(**inputs).logits, expected)


def test_what_does_not_fit_is_refused(llama: Model) -> None:
    with pytest.raises(VectorError, match="architecture is llama there and qwen2 here"):
        make_vector(llama).applied(tiny("qwen2")).__enter__()
    with pytest.raises(ModelError, match="no layer 9: its layers are 0 to 3"):
        make_vector(llama, layer=9).applied(llama).__enter__()
    with pytest.raises(ModelError, match="no positions"):
        make_vector(llama).applied(llama, positions="everywhere").__enter__()  # type: ignore[arg-type]
    other = build_model("llama", seed=9)
    with pytest.raises(VectorError, match="other weights"):
        make_vector(llama).applied(other).__enter__()
    make_vector(llama).check_fits(other, other_weights=True)
