"""One pass of the decoder under a change, from the lowest layer that it touches.

Several changes of the same input share everything below: the first pass keeps its states there, and the others
go on from them.
"""

import contextlib
import copy
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from langsteer.model.model import Model
from langsteer.states.intervention import (
    Intervention,
    PositionKind,
    intervene,
    output_states,
    resumed,
)
from langsteer.states.touched import Touched


@dataclass
class Pass:
    """What a pass left behind.

    `hidden`: final-norm states [rows, tokens, hidden]; `cache`: the cache after it, where one was
    asked for; `touched`: which tokens were changed, boolean [rows, tokens]; `states`: the states at the kept layers, before any change; `reached`: the seconds
    it took to get to those; `seconds`: what the pass would have taken alone.
    """

    hidden: Tensor
    cache: Any
    touched: Tensor = field(default_factory=lambda: torch.empty(0, 0, dtype=torch.bool))
    seconds: float = 0.0
    states: dict[int, Tensor] = field(default_factory=dict)
    reached: dict[int, float] = field(default_factory=dict)


def forward_pass(
    model: Model,
    inputs: Mapping[str, Tensor],
    interventions: Sequence[Intervention] = (),
    positions: PositionKind | None = None,
    source: Tensor | None = None,
    *,
    prompt: Tensor | None = None,
    trunk: Pass | None = None,
    keep: Collection[int] = (),
    cache: Any = None,
    caching: bool = False,
) -> Pass:
    """Run the decoder, not the head, under `interventions`, at their own positions or all at `positions`.

    `source` and `prompt` are the `mask` and `prompt` of `intervene`.

    With `trunk`, a pass over the same input that kept the states at the lowest layer touched, only
    the layers above are run. `keep` are layers whose states others will go on from. `cache` is
    gone on from, and returned grown, where `caching`.
    """
    layer = lowest_layer(model, interventions)
    run = Pass(torch.empty(0), None)
    clock = Clock(model)
    with contextlib.ExitStack() as stack:
        if trunk is None:
            stack.enter_context(_keeping(model, keep, run, clock))
        else:
            stack.enter_context(resumed(model, layer, trunk.states[layer]))
        touched = Touched()
        touched.next_pass(*inputs["input_ids"].shape)
        if interventions:
            changes = intervene(model, interventions, positions, source, prompt=prompt)
            touched = stack.enter_context(changes)
        more = {"past_key_values": cache} if cache is not None else {}
        output = model.decoder(**inputs, **more, use_cache=caching, return_dict=True)
    run.hidden = output.last_hidden_state
    run.cache = output.past_key_values if caching else None
    run.touched = touched.tokens
    run.seconds = clock.seconds()
    if trunk is not None:
        run.seconds += trunk.reached[layer]
        if caching:  # the layers that were not run have their cache from the pass that ran them
            lower = trunk.cache.layers[: layer + 1]
            run.cache.layers[: layer + 1] = [copy.copy(part) for part in lower]
    return run


def lowest_layer(model: Model, interventions: Sequence[Intervention]) -> int:
    """The lowest layer that is touched; one past the last where none is."""
    return min((item.layer for item in interventions), default=model.layers)


class Clock:
    """Seconds since it was made; on a GPU, of work that is done."""

    def __init__(self, model: Model) -> None:
        self.device = model.device
        self.start = self._now()

    def seconds(self) -> float:
        return self._now() - self.start

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


@contextlib.contextmanager
def _keeping(model: Model, layers: Collection[int], run: Pass, clock: Clock) -> Iterator[None]:
    """Note the states of `layers` as the blocks give them, before any change."""

    def note(layer: int, output: Any) -> None:
        run.states[layer] = output_states(output)
        run.reached[layer] = clock.seconds()

    with contextlib.ExitStack() as stack:
        for layer in layers:
            if layer < model.layers:
                hook = model.blocks[layer].register_forward_hook(
                    lambda module, args, output, layer=layer: note(layer, output)
                )
                stack.callback(hook.remove)
        yield
