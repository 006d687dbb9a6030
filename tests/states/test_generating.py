"""Which tokens are steered, however `generate` goes about the prompt and the answer."""

import threading
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import DynamicCache

from langsteer.model.model import Model
from langsteer.states.generating import around_generate
from langsteer.states.intervention import PositionKind, intervene
from langsteer.steering.change import steer
from tests.helpers import BOS, batch, build_model, make_vector, tiny

KINDS: tuple[PositionKind, ...] = ("source", "prompt", "generated", "all")
LENGTHS = (9, 4, 6)


def steered_columns(model: Model, run: Any, **options: Any) -> set[tuple[int, int]]:
    """(row, absolute column) of every token that is steered while `run` runs."""
    seen: set[tuple[int, int]] = set()
    vector = make_vector(model, layer=1, values=torch.ones(model.hidden_size) * 1e-3)
    start = [0]

    def before(module: Any, args: Any, kwargs: Any) -> None:
        cache = kwargs.get("past_key_values")
        start[0] = int(cache.get_seq_length()) if cache is not None else 0

    outputs: list[Tensor] = []

    def plain(module: Any, args: Any, output: Any) -> None:
        outputs.append((output[0] if isinstance(output, tuple) else output).detach().clone())

    def changed(module: Any, args: Any, output: Any) -> None:
        moved = (output[0] if isinstance(output, tuple) else output) != outputs.pop()
        for row, column in moved.any(-1).nonzero().tolist():
            seen.add((row, start[0] + column))

    entrance = model.decoder.register_forward_pre_hook(before, with_kwargs=True)
    first = model.blocks[1].register_forward_hook(plain)
    with intervene(model, vector.interventions(), **options):
        last = model.blocks[1].register_forward_hook(changed)
        with torch.no_grad():
            run()
        last.remove()
    entrance.remove()
    first.remove()
    return seen


def wanted(positions: PositionKind, mask: Tensor, inputs: dict[str, Tensor], end: int) -> set[Any]:
    """By the definition: what of the prompt, and whether what comes after, up to column `end`."""
    real = inputs["attention_mask"].bool() & (inputs["input_ids"] != BOS)
    width = real.shape[1]
    inside = {"source": real & mask, "prompt": real, "all": real}.get(positions, real & False)
    columns = {(r, c) for r, c in inside.nonzero().tolist()}
    if positions in ("generated", "all"):
        columns |= {(row, c) for row in range(len(real)) for c in range(width, end)}
    return columns


def prompt_of(model: Model) -> tuple[dict[str, Tensor], Tensor]:
    inputs = batch(model, "left", LENGTHS)
    mask = torch.zeros_like(inputs["input_ids"], dtype=torch.bool)
    mask[:, 4:7] = True
    return inputs, mask


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.sampled_from(KINDS))
def test_any_split_into_passes_steers_the_same(widths: list[int], positions: PositionKind) -> None:
    """A loop of one's own on top of a cache, with a mask that says where the prompt ends."""
    model = tiny("llama")
    inputs, mask = prompt_of(model)
    prompt = inputs["input_ids"]
    answer = torch.arange(prompt.numel() // 3 * 2).remainder(90).add(20)[: 3 * 6].view(3, 6)
    ids = torch.cat([prompt, answer], 1)
    attention = torch.cat([inputs["attention_mask"], torch.ones_like(answer)], 1)
    places = (attention.cumsum(1) - 1).clamp(min=0)

    def run() -> None:
        cache, done = DynamicCache(config=model.network.config), 0
        for width in [*widths, ids.shape[1]]:
            end = min(done + width, ids.shape[1])
            if end > done:
                model.network(
                    input_ids=ids[:, done:end],
                    attention_mask=attention[:, :end],
                    position_ids=places[:, done:end],
                    past_key_values=cache,
                )
            done = end

    steered = steered_columns(model, run, positions=positions, mask=mask)
    assert steered == wanted(positions, mask, inputs, ids.shape[1])


WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no cache": {"use_cache": False},
    "chunked": {"prefill_chunk_size": 3},
    "static": {"cache_implementation": "static"},
}


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("positions", KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_generate_in_any_way(way: str, positions: PositionKind, masked: bool) -> None:
    model = build_model("llama") if way == "static" else tiny("llama")
    inputs, mask = prompt_of(model)
    ids = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    seen = steered_columns(
        model,
        lambda: model.network.generate(
            **ids, max_new_tokens=5, min_new_tokens=5, do_sample=False, pad_token_id=0, **WAYS[way]
        ),
        positions=positions,
        mask=mask if masked else None,
    )
    whole = mask if masked else torch.ones_like(mask)
    assert seen == wanted(positions, whole, inputs, inputs["input_ids"].shape[1] + 4)


@pytest.mark.parametrize("positions", KINDS)
@pytest.mark.parametrize("way", ["lookup", "assistant"])
def test_assisted_decoding(way: str, positions: PositionKind) -> None:
    """Passes of several tokens on top of a cache are generated, though wider than one."""
    model, assistant = build_model("llama"), build_model("llama")
    ids = torch.tensor([[BOS, *([30, 31, 32, 33] * 3)]])
    options: dict[str, Any] = {"do_sample": False, "max_new_tokens": 12, "min_new_tokens": 12}
    vector = make_vector(model, layer=1, positions=positions)
    with vector.applied(model):
        plain = model.network.generate(ids, pad_token_id=0, **options)
        more = (
            {"prompt_lookup_num_tokens": 3}
            if way == "lookup"
            else {"assistant_model": assistant.network}
        )
        assisted = model.network.generate(ids, pad_token_id=0, **options, **more)
    assert torch.equal(plain, assisted)
    seen = steered_columns(
        model,
        lambda: model.network.generate(ids, pad_token_id=0, **options, **more),
        positions=positions,
    )
    columns = {column for _, column in seen}
    prompt = set(range(1, ids.shape[1]))
    assert columns & prompt == (set() if positions == "generated" else prompt)
    assert any(column >= ids.shape[1] for column in columns) == (positions in ("generated", "all"))


def test_a_second_text_that_begins_as_the_first(llama: Model) -> None:
    """It is a prompt, and no continuation of the first."""
    vector = make_vector(llama, positions="prompt")
    first = torch.tensor([[BOS, 40, 41, 42]])
    second = torch.tensor([[BOS, 40, 41, 42, 43, 44]])
    with torch.no_grad(), vector.applied(llama):
        llama.network(first)
        after = llama.network(second).logits
    with torch.no_grad(), vector.applied(llama):
        assert torch.equal(llama.network(second).logits, after)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["PromptTuningConfig", "PrefixTuningConfig"])
@pytest.mark.parametrize("positions", KINDS)
def test_virtual_tokens_are_not_steered(kind: str, positions: PositionKind) -> None:
    """The tokens of the text are, where they come to stand."""
    peft = pytest.importorskip("peft")
    model = build_model("llama")
    config = getattr(peft, kind)(task_type="CAUSAL_LM", num_virtual_tokens=4)
    tuned = type(model)(
        **{**vars(model), "network": peft.get_peft_model(model.network, config).eval()}
    )
    inputs, mask = prompt_of(model)
    ids = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    options = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    seen = steered_columns(
        tuned, lambda: tuned.network.generate(**ids, **options), positions=positions, mask=mask
    )
    shifted = {(row, column - 4) for row, column in seen}
    assert shifted == wanted(positions, mask, inputs, inputs["input_ids"].shape[1] + 3)


def test_generate_is_left_as_it_was(llama: Model) -> None:
    """Also where contexts of two threads end in the order in which they began."""
    own = type(llama.network).generate
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with steer(llama, make_vector(llama)):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with steer(llama, make_vector(llama)):
        thread.start()
        entered.wait(10)
        assert "generate" in llama.network.__dict__
    assert "generate" in llama.network.__dict__
    leave.set()
    thread.join()
    assert llama.network.generate.__func__ is own
    assert not [name for name in llama.network.__dict__ if "langsteer" in name]


def test_what_is_around_is_undone_after_an_error(llama: Model) -> None:
    with (
        pytest.raises(ValueError, match="stop"),
        around_generate(llama.network, lambda prompt, kwargs: _raising()),
    ):
        llama.network.generate(torch.tensor([[BOS, 40]]), max_new_tokens=1)
    assert "generate" not in llama.network.__dict__


def _raising() -> Any:
    raise ValueError("stop")
