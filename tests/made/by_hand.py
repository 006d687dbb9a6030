"""Steering by a hook written by hand, and the comparison of langsteer's with it.

The hook looks at token ids alone and knows nothing of positions or caches: what is neither padding nor the
beginning of the text is steered. What is generated is kept free of those tokens.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from langsteer.model.model import Model
from langsteer.states.intervention import output_states
from tests.helpers import BOS, LAYER, make_vector

PAD = 0
PLAIN: dict[str, Any] = {
    "max_new_tokens": 6,
    "min_new_tokens": 6,
    "do_sample": False,
    "pad_token_id": PAD,
    "suppress_tokens": [PAD, BOS],
    "return_dict_in_generate": True,
    "output_logits": True,
}


@contextlib.contextmanager
def by_hand(model: Model, delta: Tensor) -> Iterator[None]:
    ids: list[Tensor] = [torch.empty(0)]

    def read(module: Any, args: Any) -> None:
        ids[0] = args[0]

    def add(module: Any, args: Any, output: Any) -> Any:
        hidden = output_states(output)
        steered = ((ids[0] != PAD) & (ids[0] != BOS))[..., None]
        changed = torch.where(steered, hidden + delta.to(hidden.dtype), hidden)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    hooks = [
        model.network.get_input_embeddings().register_forward_pre_hook(read),
        model.blocks[LAYER].register_forward_hook(add),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def written(model: Model, inputs: dict[str, Tensor], options: Any = None) -> list[Tensor]:
    """What `generate` wrote, and its logits at each step."""
    torch.manual_seed(0)
    ids = {name: inputs[name] for name in inputs if name != "position_ids"}
    answer = model.network.generate(**ids, **{**PLAIN, **(options or {})})
    return [answer.sequences, *answer.logits]


def check_generation(model: Model, inputs: dict[str, Tensor], options: Any = None) -> None:
    vector = make_vector(model, strength=2.0)
    plain = written(model, inputs, options)
    with vector.applied(model):
        steered = written(model, inputs, options)
    with by_hand(model, 2.0 * vector.values):
        expected = written(model, inputs, options)
    assert len(steered) == len(expected) == len(plain)
    assert all(torch.equal(*pair) for pair in zip(steered, expected, strict=True))
    assert not all(torch.equal(*pair) for pair in zip(steered, plain, strict=True))


def check_forward(model: Model, inputs: dict[str, Tensor]) -> None:
    vector = make_vector(model, strength=0.7)
    plain = model.network(**inputs).logits
    with vector.applied(model):
        steered = model.network(**inputs).logits
    with by_hand(model, 0.7 * vector.values):
        expected = model.network(**inputs).logits
    assert torch.equal(steered, expected)
    assert not torch.equal(steered, plain)
