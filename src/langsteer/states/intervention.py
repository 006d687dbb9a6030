"""The one place that changes a residual stream: hooks on decoder blocks, and which tokens they act on.

A forward pass may be a whole prompt, a prompt on top of a cache, or one decoding step of one token.
`Positions` works out which columns of it are template, source, prompt or generated; the hooks act
there and leave every other number alone.
"""

import contextlib
import functools
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import torch
import torch._dynamo
from torch import Tensor

from langsteer.errors import ModelError
from langsteer.model.model import Model, base_network, replaced_forward

PositionKind = Literal["source", "prompt", "generated", "all"]
POSITIONS: tuple[PositionKind, ...] = get_args(PositionKind)


@dataclass(frozen=True, eq=False)
class Intervention:
    """A change of the hidden states at one layer.

    `change` maps hidden states [rows, tokens, hidden] to new ones of the same shape, token by
    token. `rows`, a boolean tensor [rows], restricts it to some rows of a batch, and `positions`
    to some tokens.
    """

    layer: int
    change: Callable[[Tensor], Tensor]
    rows: Tensor | None = None
    positions: PositionKind = "all"


class Addition:
    """Add `delta` [hidden] to every hidden state: the change that a steering vector makes."""

    def __init__(self, delta: Tensor) -> None:
        self._delta = delta
        self._cast: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def __call__(self, hidden: Tensor) -> Tensor:
        key = (hidden.device, hidden.dtype)
        if key not in self._cast:
            self._cast[key] = self._delta.to(device=hidden.device, dtype=hidden.dtype)
        return hidden + self._cast[key]


@contextlib.contextmanager
def intervene(
    model: Model,
    interventions: Sequence[Intervention],
    positions: PositionKind | None = None,
    mask: Tensor | None = None,
    any_thread: bool = False,
) -> Iterator[None]:
    """Apply `interventions` to every forward pass inside, and to none afterwards.

    Each acts at its own positions, or all of them at `positions`: `source`, `prompt`, `generated`
    or `all`; never on padding and never on the beginning-of-sequence token. `mask`, boolean [rows, prompt tokens], marks the source
    tokens of the prompt as padded for the model; without it all of the prompt but its special
    tokens is source. A pass of one token on top of a cache is generated, as is a pass that
    repeats the prompt with more tokens behind it; any other pass starts a prompt. Rows of a mask
    are repeated where beam search or several samples repeat the prompt.

    Acts in the thread that entered it; with `any_thread`, in all.
    """
    if positions is not None:
        interventions = [replace(item, positions=positions) for item in interventions]
    for item in interventions:
        model.check_layer(item.layer)
        _check_positions(item.positions)
    _make_compiled_code_see_hooks()
    kinds = frozenset(item.positions for item in interventions)
    tracker = _Tracker(model, kinds, mask, None if any_thread else threading.get_ident())
    with contextlib.ExitStack() as stack:
        for module in _entrances(model):
            hook = module.register_forward_pre_hook(tracker.enter, with_kwargs=True, prepend=True)
            stack.callback(hook.remove)
        for item in interventions:
            hook = model.blocks[item.layer].register_forward_hook(_change_hook(tracker, item))
            stack.callback(hook.remove)
        yield
        tracker.warn_if_unused()


@contextlib.contextmanager
def resumed(model: Model, layer: int, hidden: Tensor) -> Iterator[None]:
    """Inside, a forward pass starts from `hidden` [rows, tokens, hidden] at the output of `layer`.

    The blocks up to `layer` are not run. Token ids, masks and positions are passed to the model
    as usual; gradients flow into `hidden`. Not for use by two threads on one model.
    """
    model.check_layer(layer)
    as_tuple = _blocks_return_tuples(model)
    with contextlib.ExitStack() as stack:
        for index, block in enumerate(model.blocks[: layer + 1]):
            returned = hidden if index == layer else None
            stack.enter_context(replaced_forward(block, _skip(returned, as_tuple)))
        yield


def output_states(output: Any) -> Tensor:
    """The hidden states in what a decoder block returns, be it a tensor or a tuple."""
    return output[0] if isinstance(output, tuple) else output


@dataclass
class _Call:
    """What a thread's latest forward pass is: its columns, and where the prompt ends."""

    rows: int
    start: int  # the absolute column of its first token
    width: int
    prompt_end: int
    ids: Tensor | None  # [rows, width]
    attention: Tensor | None  # [rows, width], False on padding
    prompt: Tensor | None = None  # ids of the prompt, where no cache holds it
    # Which tokens to act on, for each kind of positions: True for all, False for none.
    where: dict[PositionKind, Tensor | bool] = field(default_factory=dict)


@dataclass
class _Tracker:
    model: Model
    kinds: frozenset[PositionKind]
    mask: Tensor | None
    owner: int | None
    local: threading.local = field(default_factory=threading.local)
    acted: bool = False
    elsewhere: bool = False

    @torch.compiler.disable
    def enter(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before a forward pass of the network or its decoder: note what the pass is."""
        if self.owner is not None and threading.get_ident() != self.owner:
            self.elsewhere = True
            return
        ids = kwargs.get("input_ids", args[0] if args else None)
        shaped = ids if ids is not None else kwargs.get("inputs_embeds")
        announced = getattr(self.local, "announced", False)
        self.local.announced = module is not self.model.decoder
        if shaped is None or (announced and module is self.model.decoder):
            return  # the network has told of this pass already
        self.acted = True
        previous: _Call | None = getattr(self.local, "call", None)
        self.local.call = call = self._describe(shaped, ids, kwargs, previous)
        call.where = {positions: self._where(call, positions) for positions in self.kinds}

    def call(self) -> _Call | None:
        if self.owner is not None and threading.get_ident() != self.owner:
            return None
        return getattr(self.local, "call", None)

    def warn_if_unused(self) -> None:
        if self.elsewhere and not self.acted:
            warnings.warn(
                "the model ran in another thread than the one that applied the vector, so nothing "
                "was steered: apply it inside that thread, or pass any_thread=True",
                stacklevel=4,
            )

    def _describe(
        self, shaped: Tensor, ids: Tensor | None, kwargs: dict[str, Any], previous: _Call | None
    ) -> _Call:
        rows, width = shaped.shape[:2]
        start = _cached_length(kwargs)
        attention = kwargs.get("attention_mask")
        if not isinstance(attention, Tensor) or attention.dim() != 2:
            attention = None
        else:
            attention = attention[:, start : start + width].bool()
        call = _Call(rows, start, width, start + width, ids, attention)
        if self.mask is not None:
            call.prompt_end = self.mask.shape[1]
        elif previous is not None and start > 0 and width == 1:
            call.prompt_end = previous.prompt_end
        elif start > 0 and width == 1:
            call.prompt_end = start
        elif previous is not None and _continues(ids, previous.prompt, start):
            call.prompt_end = previous.prompt_end
        call.prompt = None
        if start == 0 and ids is not None:
            call.prompt = ids[:, : call.prompt_end]
        return call

    def _where(self, call: _Call, positions: PositionKind) -> Tensor | bool:
        """Boolean [rows, width], or True for everywhere and False for nowhere."""
        if call.start >= call.prompt_end:
            return positions in ("generated", "all")
        if positions == "generated" and call.start + call.width <= call.prompt_end:
            return False
        device = call.ids.device if call.ids is not None else self.model.device
        columns = torch.arange(call.start, call.start + call.width, device=device)
        in_prompt = (columns < call.prompt_end).expand(call.rows, -1)
        if positions == "generated":
            return ~in_prompt
        prompt = in_prompt & ~self._beginning(call, device)
        if call.attention is not None:
            prompt = prompt & call.attention.to(device)
        if positions == "source":
            return prompt & self._source(call, device)
        return prompt if positions == "prompt" else prompt | ~in_prompt

    def _source(self, call: _Call, device: torch.device) -> Tensor:
        if self.mask is None:
            special = getattr(self.model.tokenizer, "all_special_ids", [])
            if call.ids is None or not special:
                return torch.ones(call.rows, call.width, dtype=torch.bool, device=device)
            return ~torch.isin(call.ids, torch.tensor(special, device=device))
        mask = expand_rows(self.mask.to(device), call.rows)
        part = mask[:, call.start : call.start + call.width]
        return torch.nn.functional.pad(part, (0, call.width - part.shape[1]), value=False)

    def _beginning(self, call: _Call, device: torch.device) -> Tensor:
        """True at each row's beginning-of-sequence token."""
        found = torch.zeros(call.rows, call.width, dtype=torch.bool, device=device)
        bos = self.model.bos_id
        if bos is None or call.start > 0:
            return found
        if call.attention is not None:
            first = call.attention.to(device).int().argmax(1)
        elif call.ids is not None:  # without a mask of padding: the first that is one
            first = (call.ids == bos).int().argmax(1)
        else:
            first = torch.zeros(call.rows, dtype=torch.long, device=device)
        rows = torch.arange(call.rows, device=device)
        found[rows, first] = True if call.ids is None else call.ids[rows, first] == bos
        return found


def expand_rows(tensor: Tensor, rows: int) -> Tensor:
    """Repeat each row of `tensor` so that there are `rows`, as beam search repeats its prompts."""
    if tensor.shape[0] == rows:
        return tensor
    if tensor.shape[0] == 1 or rows % tensor.shape[0] == 0:
        return tensor.repeat_interleave(rows // tensor.shape[0], dim=0)
    raise ModelError(
        f"a batch of {rows} rows was steered with a mask or vectors for {tensor.shape[0]}"
    )


def _check_positions(positions: PositionKind) -> None:
    if positions not in POSITIONS:
        raise ModelError(f"no positions {positions!r}: choose from {', '.join(POSITIONS)}")


def _change_hook(tracker: _Tracker, item: Intervention) -> Callable[..., Any]:
    @torch.compiler.disable
    def hook(module: Any, args: Any, output: Any) -> Any:
        call = tracker.call()
        where = call.where[item.positions] if call is not None else False
        if call is None or where is False:
            return None
        hidden = output_states(output)
        if item.rows is not None:
            rows = expand_rows(item.rows, call.rows).to(hidden.device)[:, None]
            where = rows if where is True else where.to(hidden.device) & rows
        changed = item.change(hidden)
        if where is not True:
            changed = torch.where(where.to(hidden.device)[..., None], changed, hidden)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    return hook


def _entrances(model: Model) -> list[Any]:
    """The modules whose forward pass tells what the pass is: the network's, or only the decoder's."""
    base = base_network(model.network)
    return [base] if base is model.decoder else [base, model.decoder]


def _cached_length(kwargs: dict[str, Any]) -> int:
    cache = kwargs.get("past_key_values")
    return int(cache.get_seq_length()) if cache is not None else 0


def _continues(ids: Tensor | None, prompt: Tensor | None, start: int) -> bool:
    """Whether a pass without a cache repeats the prompt of the pass before, and goes on."""
    if ids is None or prompt is None or start > 0 or ids.shape[0] != prompt.shape[0]:
        return False
    if ids.shape[1] <= prompt.shape[1]:
        return False
    return torch.equal(ids[:, : prompt.shape[1]], prompt)


def _blocks_return_tuples(model: Model) -> bool:
    """Found out by running one token, once."""
    if "tuples" not in model._memo:
        found: list[bool] = []
        hook = model.blocks[0].register_forward_hook(
            lambda module, args, output: found.append(isinstance(output, tuple))
        )
        with torch.no_grad():
            model.run_decoder(model.batch([[model.pad_id]]))
        hook.remove()
        model._memo["tuples"] = found[0]
    return bool(model._memo["tuples"])


def _skip(returned: Tensor | None, as_tuple: bool) -> Callable[..., Any]:
    def forward(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        states = hidden_states if returned is None else returned
        return (states, None) if as_tuple else states

    return forward


@functools.cache
def _make_compiled_code_see_hooks() -> None:
    """torch.compile ignores hooks that come or go after it has compiled, unless told otherwise."""
    torch._dynamo.config.skip_nnmodule_hook_guards = False
    torch._dynamo.reset()
