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
from langsteer.states.generating import around_generate
from langsteer.states.touched import Touched

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
    prompt: Tensor | None = None,
) -> Iterator[Touched]:
    """Apply `interventions` to every forward pass inside, and to none afterwards; what they touched.

    Each acts at its own positions, or all of them at `positions`: `source`, `prompt`, `generated`
    or `all`; never on padding and never on the beginning-of-sequence token. `mask`, boolean [rows,
    prompt tokens], marks the source tokens of the prompt as padded for the model; without it all of
    the prompt but its special tokens is source. Rows of a mask are repeated where beam search or
    several samples repeat the prompt. `prompt`, of the mask's shape, says which of its tokens are the
    prompt's where not all are: the others count as generated.

    Where the prompt ends is what `generate` was given, in however many passes it is read or gone on
    from; in a loop of one's own it is the width of the mask. Without a mask, a pass of one token on
    top of a cache is generated, and any other pass belongs to a prompt.

    Acts in the thread that entered it; with `any_thread`, in all.
    """
    if positions is not None:
        interventions = [replace(item, positions=positions) for item in interventions]
    for item in interventions:
        model.check_layer(item.layer)
        _check_positions(item.positions)
    _make_compiled_code_see_hooks()
    kinds = frozenset(item.positions for item in interventions)
    owner = None if any_thread else threading.get_ident()
    tracker = _Tracker(model, kinds, mask, prompt, owner)
    with contextlib.ExitStack() as stack:
        for module in _entrances(model):
            hook = module.register_forward_pre_hook(tracker.enter, with_kwargs=True, prepend=True)
            stack.callback(hook.remove)
        for item in interventions:
            hook = model.blocks[item.layer].register_forward_hook(_change_hook(tracker, item))
            stack.callback(hook.remove)
        for network in generators(model):
            stack.enter_context(around_generate(network, tracker.generating))
        yield tracker.touched
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


def steered_tokens(
    positions: PositionKind, *, source: Tensor, prompt: Tensor, never: Tensor
) -> Tensor:
    """Which tokens of a text are acted on at these positions; all are boolean and of one shape.

    `source` marks the tokens in the language, `prompt` those of the prompt (what follows is
    generated), `never` padding and the beginning-of-sequence token.
    """
    asked = prompt & ~never
    if positions == "source":
        return asked & source
    if positions == "prompt":
        return asked
    return ~prompt if positions == "generated" else asked | ~prompt


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
    beginning: Tensor | None = None  # [rows], the absolute column of each row's first token
    # Which tokens to act on, for each kind of positions: True for all, False for none.
    where: dict[PositionKind, Tensor | bool] = field(default_factory=dict)


@dataclass
class _Tracker:
    model: Model
    kinds: frozenset[PositionKind]
    mask: Tensor | None
    prompt: Tensor | None
    owner: int | None
    touched: Touched = field(default_factory=Touched)
    local: threading.local = field(default_factory=threading.local)
    acted: bool = False
    elsewhere: bool = False

    @torch.compiler.disable
    def enter(
        self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
    ) -> None:
        """Before a forward pass of the network or its decoder: note what the pass is.

        torch gives no `kwargs` where another thread puts this hook there, or takes it away, in the
        course of the call: the pass is none of those inside then.
        """
        if kwargs is None:
            self.local.call = None
            return
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
        self.touched.next_pass(*shaped.shape[:2])
        previous: _Call | None = getattr(self.local, "call", None)
        self.local.call = call = self._describe(shaped, ids, kwargs, previous)
        call.where = {positions: self._where(call, positions) for positions in self.kinds}

    @contextlib.contextmanager
    def generating(self, prompt: Tensor | None, arguments: dict[str, Any]) -> Iterator[None]:
        """Around a call of `generate`: what its prompt is, so that its passes can be told apart."""
        before = getattr(self.local, "prompt", None)
        if prompt is not None:
            self.local.prompt = (prompt.shape[1], _two_dimensional(arguments.get("attention_mask")))
        try:
            yield
        finally:
            self.local.prompt = before

    def call(self) -> _Call | None:
        """The pass that this thread is in; None where it is in none that it told of."""
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
        virtual = _virtual_tokens(self.model.network)
        cached = _cached_length(kwargs)
        start = cached - virtual  # columns before 0 are virtual tokens
        prompt_width, prompt_attention = getattr(self.local, "prompt", None) or (None, None)
        whole = _two_dimensional(kwargs.get("attention_mask"))
        if whole is not None:
            whole = whole[:, virtual:]
        elif prompt_attention is not None:  # the pass has been given a mask of another form
            real = expand_rows(prompt_attention, rows)
            more = max(0, start + width - real.shape[1])
            whole = torch.nn.functional.pad(real, (0, more), value=1)
        attention, beginning = None, None
        if whole is not None:
            first = max(0, start)
            attention = whole[:, first : start + width].bool()
            attention = torch.nn.functional.pad(attention, (width - attention.shape[1], 0))
            beginning = whole.int().argmax(1)
        call = _Call(rows, start, width, start + width, ids, attention, beginning)
        if prompt_width is not None:
            call.prompt_end = prompt_width
        elif self.mask is not None:
            call.prompt_end = self.mask.shape[1]
        elif start > 0 and width == 1:
            call.prompt_end = start if previous is None else previous.prompt_end
        return call

    def _where(self, call: _Call, positions: PositionKind) -> Tensor | bool:
        """Boolean [rows, width], or True for everywhere and False for nowhere."""
        if call.start >= call.prompt_end:
            return positions in ("generated", "all")
        whole = self.prompt is None
        if positions == "generated" and whole and call.start + call.width <= call.prompt_end:
            return False
        device = call.ids.device if call.ids is not None else self.model.device
        columns = torch.arange(call.start, call.start + call.width, device=device)
        prompt = ((columns >= 0) & (columns < call.prompt_end)).expand(call.rows, -1)
        if self.prompt is not None:
            prompt = prompt & self._part(self.prompt, call, device)
        never = self._beginning(call, device)
        if call.attention is not None:
            never = never | ~call.attention.to(device)
        source = self._source(call, device) if positions == "source" else prompt
        steered = steered_tokens(positions, source=source, prompt=prompt, never=never)
        return steered & ~never & (columns >= 0)

    def _source(self, call: _Call, device: torch.device) -> Tensor:
        if self.mask is None:
            special = getattr(self.model.tokenizer, "all_special_ids", [])
            if call.ids is None or not special:
                return torch.ones(call.rows, call.width, dtype=torch.bool, device=device)
            return ~torch.isin(call.ids, torch.tensor(special, device=device))
        return self._part(self.mask, call, device)

    def _part(self, mask: Tensor, call: _Call, device: torch.device) -> Tensor:
        """The columns of a pass in a mask [rows, tokens]; False where it has none."""
        mask = expand_rows(mask.to(device), call.rows)
        part = mask[:, max(call.start, 0) : max(call.start + call.width, 0)]
        before = min(call.width, max(-call.start, 0))
        after = call.width - before - part.shape[1]
        return torch.nn.functional.pad(part, (before, after), value=False)

    def _beginning(self, call: _Call, device: torch.device) -> Tensor:
        """True at each row's beginning-of-sequence token, and at one more right after it."""
        beginning = torch.zeros(call.rows, call.width, dtype=torch.bool, device=device)
        bos = self.model.bos_id
        if bos is None:
            return beginning
        if call.beginning is not None:
            first = call.beginning.to(device) - call.start
        elif call.start > 0:
            return beginning
        elif call.ids is not None:  # without a mask of padding: the first that is one
            first = (call.ids == bos).int().argmax(1)
        else:
            first = torch.full((call.rows,), -call.start, dtype=torch.long, device=device)
        rows = torch.arange(call.rows, device=device)
        here = (first >= 0) & (first < call.width)
        first = first.clamp(0, call.width - 1)
        beginning[rows, first] = here if call.ids is None else here & (call.ids[rows, first] == bos)
        if call.ids is not None:
            beginning[:, 1:] |= beginning[:, :-1] & (call.ids[:, 1:] == bos)
        return beginning


def expand_rows(tensor: Tensor, rows: int) -> Tensor:
    """Repeat each row of `tensor` so that there are `rows`, as beam search repeats its prompts."""
    if tensor.shape[0] == rows:
        return tensor
    if tensor.shape[0] == 1 or rows % tensor.shape[0] == 0:
        return tensor.repeat_interleave(rows // tensor.shape[0], dim=0)
    raise ModelError(
        f"a batch of {rows} rows was steered with a mask or vectors for {tensor.shape[0]}"
    )


def generators(model: Model) -> list[Any]:
    """The modules whose `generate` may be called: the network, and what it wraps."""
    base = base_network(model.network)
    return [n for n in dict.fromkeys((model.network, base)) if hasattr(n, "generate")]


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
        tracker.touched.note(where)
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


def _two_dimensional(mask: Any) -> Tensor | None:
    """A mask of padding [rows, tokens]; None for any other form."""
    return mask if isinstance(mask, Tensor) and mask.dim() == 2 else None


def _virtual_tokens(network: Any) -> int:
    """How many tokens a prompt that PEFT has tuned puts before the text."""
    tuned: Any = getattr(network, "active_peft_config", None)
    learned = tuned is not None and getattr(tuned, "is_prompt_learning", False)
    return int(tuned.num_virtual_tokens) if learned else 0


def _blocks_return_tuples(model: Model) -> bool:
    """Found out by running one token, once."""
    return model.kept.get("blocks return tuples", lambda: _first_block_returns_tuple(model))


def _first_block_returns_tuple(model: Model) -> bool:
    seen: list[bool] = []
    hook = model.blocks[0].register_forward_hook(
        lambda module, args, output: seen.append(isinstance(output, tuple))
    )
    with torch.no_grad():
        model.run_decoder(model.batch([[model.pad_id]]))
    hook.remove()
    return seen[0]


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
