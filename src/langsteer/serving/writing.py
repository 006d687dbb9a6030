"""How answers are written: the rows of several requests together, each with its change, its way of drawing and its end.

`Running` lets a row leave when its answer has ended, and another take its place at once. `WholeBatches` is for
models where that cannot be: whose cache is not of keys and values alone, or whose own settings only `generate` knows.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
import transformers
from torch import Tensor

from langsteer.model.model import Model, base_network
from langsteer.model.tokens import pad_mask
from langsteer.serving.asked import resolve
from langsteer.serving.cache import join_rows, keep_rows, rows_may_change
from langsteer.serving.errors import RequestError
from langsteer.serving.rows import Row, ends_of
from langsteer.serving.scoring import ChoiceRow
from langsteer.steering.change import Change, steer
from langsteer.steering.decoding.biased import biased_by
from langsteer.steering.generation import Finite, check_logits
from langsteer.steering.steered import Steered

WRITTEN = ("generated", "all")  # positions at which a change acts on what is written
# what a model's own settings may ask of `generate`, beyond what `_processors` does
ONLY_GENERATE = (
    "guidance_scale",
    "sequence_bias",
    "bad_words_ids",
    "min_length",
    "min_new_tokens",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "exponential_decay_length_penalty",
    "begin_suppress_tokens",
    "watermarking_config",
)


class Writer(Protocol):
    """Writes rows. Its calls come from one thread."""

    @property
    def rows(self) -> Sequence[Row]:
        """The rows that are being written."""

    def join(self, rows: Sequence[Row]) -> None:
        """Take rows in. What it raises ends them, and no others."""

    def step(self) -> None:
        """Write one token of each row. What it raises ends them all."""

    def clear(self) -> None:
        """Forget all rows."""

    def aside(self) -> AbstractContextManager[None]:
        """Inside, the model may be run for something else: what steers the rows does not act."""


def writer_for(ready: Steered, on_batch: Callable[[int], None]) -> Writer:
    """What can write for this model; `on_batch` is told how many rows each batch has."""
    if _rows_come_and_go(ready.model):
        return Running(ready, on_batch)
    return WholeBatches(ready, on_batch)


class Running:
    """Rows that come and go: a step writes a token of each, and those that ended leave."""

    def __init__(self, ready: Steered, on_batch: Callable[[int], None]) -> None:
        self._ready, self._on_batch = ready, on_batch
        self._ends, self._processors = ends_of(ready.network), _processors(ready.network)
        forward = inspect.signature(base_network(ready.network).forward).parameters
        self._last = {"logits_to_keep": 1} if "logits_to_keep" in forward else {}
        self._rows: list[Row] = []
        self._cache: Any = None
        self._attention = torch.empty(0)  # [rows, columns]: 1 where there is a token
        self._steering = contextlib.ExitStack()
        self._added: Sequence[transformers.LogitsProcessor] = []  # to the logits of these rows

    @property
    def rows(self) -> Sequence[Row]:
        return self._rows

    def join(self, rows: Sequence[Row]) -> None:
        with torch.inference_mode():
            self._steering.close()  # or the changes of those that are there would act on these
            try:
                cache, attention = self._read(rows)
            except BaseException:
                self._steer()
                raise
            try:
                self._put(rows, cache, attention)
            except BaseException as error:  # half of a cache is of no use to those that are there
                for row in self._rows:
                    row.fail(error)
                self.clear()
                raise

    def _read(self, rows: Sequence[Row]) -> tuple[Any, Tensor]:
        """Read the prompts and write their first tokens; the cache, and its mask of attention."""
        resolve_rows(self._ready, rows)
        batch = self._ready.model.batch([row.prompt.ids for row in rows])
        with _steered(self._ready, rows, pad_mask([row.prompt.source for row in rows])):
            output = self._run(batch)
        self._on_batch(len(rows))
        self._choose(rows, output.logits[:, -1], biased_by(_changes(rows)))
        return output.past_key_values, batch["attention_mask"]

    def _put(self, rows: Sequence[Row], cache: Any, attention: Tensor) -> None:
        if self._rows:
            self._attention = join_rows(self._cache, self._attention, cache, attention)
        else:
            self._cache, self._attention = cache, attention
        self._rows = [*self._rows, *rows]
        self._leave()
        self._steer()

    def step(self) -> None:
        with torch.inference_mode():
            self._leave()
            if not self._rows:
                return
            told = torch.tensor([[row.ids[-1]] for row in self._rows])
            attention = torch.nn.functional.pad(self._attention, (0, 1), value=1)
            inputs = {"input_ids": told.to(attention.device), "attention_mask": attention}
            if self._ready.model.takes_position_ids:
                inputs["position_ids"] = attention.sum(1, keepdim=True) - 1
            output = self._run(inputs, past_key_values=self._cache)
            self._attention = attention
            self._on_batch(len(self._rows))
            self._choose(self._rows, output.logits[:, -1], self._added)
            self._leave()

    def clear(self) -> None:
        self._steering.close()
        self._rows, self._cache = [], None

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        self._steering.close()
        try:
            yield
        finally:
            self._steer()

    def _run(self, inputs: Any, **more: Any) -> Any:
        return self._ready.network(**inputs, **more, **self._last, use_cache=True, return_dict=True)

    def _choose(
        self, rows: Sequence[Row], scores: Tensor, added: Sequence[transformers.LogitsProcessor]
    ) -> None:
        """Give each row its next token, of logits [rows, vocabulary] and what is `added` to them."""
        for processor in added:
            scores = processor(None, scores)  # type: ignore[arg-type]
        check_logits(self._ready.model, scores)
        if self._processors:
            scores = torch.cat([self._processed(row, scores[i]) for i, row in enumerate(rows)])
        best = scores.argmax(-1).tolist()
        for i, row in enumerate(rows):
            if give_up(row):
                continue
            row.push(row.choose(scores[i], best[i]), self._ends, self._decode)

    def _processed(self, row: Row, scores: Tensor) -> Tensor:
        ids: Any = torch.tensor([[*row.prompt.ids, *row.ids]], device=scores.device)
        made: Any = scores[None]
        return self._processors(ids, made)

    def _leave(self) -> None:
        """Let the rows that are done, or that nobody waits for, go."""
        for row in self._rows:
            give_up(row)
        if all(not row.done for row in self._rows):
            return
        kept = [i for i, row in enumerate(self._rows) if not row.done]
        self._rows = [self._rows[i] for i in kept]
        if not kept:
            self.clear()
            return
        places = torch.tensor(kept, device=self._attention.device)
        self._attention = keep_rows(self._cache, self._attention, places)
        self._steer()

    def _steer(self) -> None:
        """Have what is written from here on steered, as the rows are now."""
        self._steering.close()
        self._added = biased_by(_changes(self._rows))
        if self._rows:
            self._steering.enter_context(_steered(self._ready, self._rows, None))

    def _decode(self, ids: Sequence[int]) -> str:
        return decoded(self._ready, ids)


class WholeBatches:
    """Batches that transformers' `generate` writes, each to the end of its longest answer."""

    rows: Sequence[Row] = ()

    def __init__(self, ready: Steered, on_batch: Callable[[int], None]) -> None:
        self._ready, self._on_batch, self._ends = ready, on_batch, ends_of(ready.network)

    def step(self) -> None:
        pass

    def clear(self) -> None:
        pass

    def aside(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def join(self, rows: Sequence[Row]) -> None:
        model = self._ready.model
        self._on_batch(len(rows))
        batch = model.batch([row.prompt.ids for row in rows])
        mask = pad_mask([row.prompt.source for row in rows])
        with torch.inference_mode():
            resolve_rows(self._ready, rows)
            with _steered(self._ready, rows, mask):
                model.network.generate(
                    input_ids=batch["input_ids"],
                    attention_mask=batch["attention_mask"],
                    max_new_tokens=max(row.sampling.max_tokens for row in rows),
                    do_sample=False,
                    num_beams=1,
                    pad_token_id=model.pad_id,
                    logits_processor=[Finite(model), _Chooser(rows)],
                    stopping_criteria=[_Watcher(rows, self._ends, self._decode)],
                )
        for row in rows:
            row.fail(RuntimeError("the model stopped before the answer ended"))

    def _decode(self, ids: Sequence[int]) -> str:
        return decoded(self._ready, ids)


def resolve_rows(ready: Steered, rows: Sequence[Row | ChoiceRow]) -> None:
    """Note in each row what it is steered with."""
    told = resolve(ready, [(row.source, row.asked) for row in rows])
    for row, used in zip(rows, told, strict=True):
        row.used = used


def decoded(ready: Steered, ids: Sequence[int]) -> str:
    return str(ready.tokenizer.decode(list(ids), skip_special_tokens=True))


def give_up(row: Row | ChoiceRow) -> bool:
    """End a row that nobody waits for any more; whether it has ended."""
    if row.cancelled:
        row.fail(RequestError("the client has gone", 499))
    return row.done


@contextlib.contextmanager
def _steered(ready: Steered, rows: Sequence[Row], mask: Tensor | None) -> Iterator[None]:
    """Steer each row by its own change: prompts of this mask, or, without one, what is written."""
    changes = _changes(rows)
    if mask is None:
        changes = [change if change and _acts_on_written(change) else None for change in changes]
    if all(change is None for change in changes):
        yield
        return
    with steer(ready.model, changes, mask=mask, other_weights=ready.other_weights):
        yield


def _changes(rows: Sequence[Row]) -> list[Change | None]:
    return [row.used.change if row.used is not None else None for row in rows]


def _acts_on_written(change: Change) -> bool:
    return any(item.positions in WRITTEN for item in change.interventions())


def _rows_come_and_go(model: Model) -> bool:
    """Whether rows may join and leave: found out by running one token."""
    settings = model.network.generation_config
    if any(getattr(settings, name, None) for name in ONLY_GENERATE):
        return False
    tuned = getattr(model.network, "active_peft_config", None)
    if getattr(tuned, "is_prompt_learning", False):
        return False
    with torch.inference_mode():
        output = model.network(**model.batch([[model.pad_id]]), use_cache=True, return_dict=True)
    return rows_may_change(getattr(output, "past_key_values", None))


def _processors(network: Any) -> transformers.LogitsProcessorList:
    """What the model's own settings do to logits before a token is chosen."""
    settings = network.generation_config
    made = transformers.LogitsProcessorList()
    if (settings.repetition_penalty or 1.0) != 1.0:
        made.append(transformers.RepetitionPenaltyLogitsProcessor(settings.repetition_penalty))
    if settings.no_repeat_ngram_size:
        made.append(transformers.NoRepeatNGramLogitsProcessor(settings.no_repeat_ngram_size))
    if settings.suppress_tokens:
        device = network.device
        made.append(
            transformers.SuppressTokensLogitsProcessor(settings.suppress_tokens, device=device)
        )
    return made


class _Chooser(transformers.LogitsProcessor):
    """Leaves one token of each row possible: the one that the row draws."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        chosen = torch.full_like(scores, -torch.inf)
        for place, row in enumerate(self._rows):
            chosen[place, 0 if row.done else row.choose(scores[place])] = 0.0
        return chosen


class _Watcher(transformers.StoppingCriteria):
    """Gives each row its tokens, and says which rows are done."""

    def __init__(
        self, rows: Sequence[Row], ends: frozenset[int], decode: Callable[[Sequence[int]], str]
    ) -> None:
        self._rows, self._ends, self._decode = rows, ends, decode

    def __call__(self, input_ids: Any, scores: Any, **options: Any) -> Tensor:  # type: ignore[override]
        for row, token in zip(self._rows, input_ids[:, -1].tolist(), strict=True):
            if not give_up(row):
                row.push(token, self._ends, self._decode)
        return torch.tensor([row.done for row in self._rows], device=input_ids.device)
