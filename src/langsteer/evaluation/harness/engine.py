"""Answers written by vLLM in place of transformers: all of a cell at once, steered by langsteer's plug-in.

The engine is given the tokens that transformers would be given, and gives tokens back, so that all else of an answer has
one way. What it cannot do transformers does, and the record says so.
"""

import contextlib
import math
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from langsteer.engines.vllm.catalogue import make_catalogue, what_hinders
from langsteer.engines.vllm.offline import ARGUMENTS, Greedy, OfflineEngine
from langsteer.engines.vllm.rows import write_rows
from langsteer.engines.vllm.start import check_version, installed_version
from langsteer.engines.vllm.steering import OPEN, Prompt, Steering, steering_of
from langsteer.engines.vllm.word import Word
from langsteer.errors import EngineError
from langsteer.evaluation.benchmarks.loading import nearest
from langsteer.evaluation.harness.scoring import Change
from langsteer.evaluation.harness.ties import WITHIN, Margins, Ties, compare_rows
from langsteer.evaluation.harness.writing import Decoding, Row, write_batch
from langsteer.model.model import Model
from langsteer.model.tokens import Tokens
from langsteer.steering.logit_bias import request_bias

VLLM, TRANSFORMERS = "vllm", "transformers"
SHORTEST = 4096  # what an engine is opened for at least, that it need not be opened again soon
GPU_SHARE = 0.85  # of the memory that transformers leaves free; the rest is for what it does later
# What of a model's own settings changes greedy answers, and vLLM does not do
_PECULIAR = (
    "bad_words_ids",
    "begin_suppress_tokens",
    "exponential_decay_length_penalty",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "guidance_scale",
    "min_length",
    "min_new_tokens",
    "no_repeat_ngram_size",
    "penalty_alpha",
    "sequence_bias",
    "stop_strings",
    "suppress_tokens",
    "watermarking_config",
)


@dataclass
class EngineWriter:
    """Writes what `model` would write with vLLM, which opens it from `source` when it is first needed.

    `rows` is a folder for what is added to tokens, `arguments` are of vLLM's `LLM`. Of the first
    `check` items of each question transformers writes the answer too (`ties.py`).
    """

    model: Model
    source: str
    rows: Path
    arguments: Mapping[str, Any] = field(default_factory=dict)
    check: int = 0
    _engine: OfflineEngine | None = field(default=None, init=False)
    _length: int = field(default=0, init=False)
    _error: EngineError | None = field(default=None, init=False)

    def what_hinders(self, lm: Any, change: Change | None, decoding: Decoding) -> str | None:
        """Why vLLM cannot write what `lm` is asked for; None where it can."""
        if lm.steered is not self.model:
            return "it asks another model, such as a tuned one"
        if Path(self.source, "adapter_config.json").exists():
            return "the model is an adapter, which vLLM has to be given merged"
        if lm.processors:
            return "it holds the choice of tokens to some of them"
        if decoding.options.get("do_sample"):
            return "its task samples"
        others = sorted(set(decoding.options) - {"do_sample", "temperature"})
        own = self.model.network.generation_config
        others += [name for name in _PECULIAR if getattr(own, name, None) not in (None, 0)]
        if others or (own.num_beams or 1) > 1:
            return f"its decoding has {others[0] if others else 'num_beams'}"
        return None if change is None else what_hinders(change)

    def write(
        self, contexts: Sequence[Tokens], change: Change | None, decoding: Decoding
    ) -> tuple[list[Row], float]:
        """What is written after contexts, all at once, and the seconds that it took.

        Raises EngineError where vLLM does not open the model, or fails.
        """
        engine = self._opened(max(map(len, contexts)) + decoding.longest)
        steering = self._steering(contexts, change)
        own = self.model.network.generation_config
        ends = own.eos_token_id if own.eos_token_id is not None else []
        greedy = Greedy(
            decoding.longest,
            tuple(decoding.until),
            (ends,) if isinstance(ends, int) else tuple(ends),
            own.repetition_penalty or 1.0,
        )
        bias = request_bias(None if change is None else change.logit_bias())
        started = time.perf_counter()
        written = engine.write([context.ids for context in contexts], steering, greedy, bias)
        seconds = time.perf_counter() - started
        rows = [
            Row(ids, bool(bias) or _touches(one, len(context) + len(ids) - 1))
            for ids, one, context in zip(written, steering, contexts, strict=True)
        ]
        return rows, seconds

    def close(self) -> None:
        """End the engine, where it runs."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def _steering(self, contexts: Sequence[Tokens], change: Change | None) -> list[Steering | None]:
        if change is None:
            return [None] * len(contexts)
        catalogue = make_catalogue({change.language: change})
        write_rows(self.rows, catalogue)
        return [
            steering_of(
                Word(change.language, spans=_spans(context.source)),
                catalogue,
                Prompt(context.ids, self.model.bos_id),
            )
            for context in contexts
        ]

    def _opened(self, needed: int) -> OfflineEngine:
        """The engine, opened anew where a prompt and its answer are more than it was opened for."""
        if self._error is not None:
            raise self._error
        given = self.arguments.get("max_model_len")
        if given is not None and needed > given:
            raise EngineError(
                f"a prompt and its answer take {needed} tokens, and engine_arguments says max_model_len "
                f"{given}: give more"
            )
        if self._engine is None or needed > self._length:
            self.close()
            self._length = given or self._length_for(needed)
            try:
                self._engine = OfflineEngine(
                    self.source,
                    self.rows,
                    str(self.model.dtype).removeprefix("torch."),
                    {**self._memory(), **self.arguments, "max_model_len": self._length},
                )
            except EngineError as error:
                self._error = error  # it is not tried again for each cell
                raise
        return self._engine

    def _length_for(self, needed: int) -> int:
        length = max(SHORTEST, math.ceil(needed / 1024) * 1024)
        most = self.model.positions
        return length if most is None else max(needed, min(length, most))

    def _memory(self) -> dict[str, float]:
        """The share of GPUs that vLLM may have, beside the model that transformers holds there."""
        if self.model.device.type != "cuda" or "kv_cache_memory_bytes" in self.arguments:
            return {}
        torch.cuda.empty_cache()
        wanted = [
            int(self.arguments.get(f"{kind}_parallel_size", 1)) for kind in ("tensor", "pipeline")
        ]
        there = range(min(math.prod(wanted), torch.cuda.device_count()))
        shares = [free / total for free, total in map(torch.cuda.mem_get_info, there)]
        return {"gpu_memory_utilization": math.floor(100 * GPU_SHARE * min(shares)) / 100}


def check_arguments(arguments: Iterable[str]) -> None:
    """Raise EngineError for what is not among vLLM's arguments that may be given."""
    for name in arguments:
        if name not in ARGUMENTS:
            raise EngineError(
                f"engine_arguments has no {name!r}{nearest(str(name), ARGUMENTS)} (what would change "
                "answers, or would run a model's own code, is not among them)"
            )


@contextlib.contextmanager
def engine_writer(
    model: Model, source: str, arguments: Mapping[str, Any], check: int
) -> Iterator[EngineWriter]:
    """A writer inside, with a folder of its own, which ends with it; arguments as of `EngineWriter`.

    Raises EngineError where vLLM is not there, or for an argument that is not its.
    """
    check_version(installed_version())
    check_arguments(arguments)
    with tempfile.TemporaryDirectory(prefix="langsteer-") as rows:
        writer = EngineWriter(model, source, Path(rows), arguments, check)
        try:
            yield writer
        finally:
            writer.close()


@dataclass
class EngineUse:
    """How a model of the harness, `lm`, writes by an engine: what it is asked, variant by variant."""

    lm: Any
    writer: EngineWriter
    hindered: dict[str, str | None] = field(default_factory=dict)
    ties: dict[str, Ties] = field(default_factory=dict)

    def write(
        self, variant: str, contexts: Sequence[Tokens], change: Change | None, decoding: Decoding
    ) -> tuple[list[Row], float] | None:
        """What is written, and the seconds that it took; None where the engine cannot."""
        hindrance = self.writer.what_hinders(self.lm, change, decoding)
        self.hindered[variant] = self.hindered.get(variant) or hindrance
        if hindrance is not None:
            return None
        rows, seconds = self.writer.write(contexts, change, decoding)
        if self.writer.check:
            count = self.writer.check
            ties = self._checked(contexts[:count], rows[:count], change, decoding)
            self.ties[variant] = self.ties.get(variant, Ties()) + ties
        return rows, seconds

    def forget(self) -> None:
        """Begin anew: what is told next is of what is written from here on."""
        self.hindered.clear()
        self.ties.clear()

    def told(self, variant: str) -> dict[str, Any] | None:
        """Who wrote under a variant, as the record of a cell says; None where nothing was written."""
        if variant not in self.hindered:
            return None
        if (why := self.hindered[variant]) is not None:
            return {"name": TRANSFORMERS, "why": why}
        about = {
            "name": VLLM,
            "version": installed_version(),
            "arguments": dict(self.writer.arguments),
        }
        ties = self.ties.get(variant)
        if ties is None:
            return about
        return about | {
            "checked": asdict(ties) | {"within": WITHIN.get(self.lm.steered.dtype, 0.0)}
        }

    def _checked(
        self,
        contexts: Sequence[Tokens],
        rows: Sequence[Row],
        change: Change | None,
        decoding: Decoding,
    ) -> Ties:
        """The same answers by transformers, compared."""
        until = list(decoding.until)
        ties = Ties()
        for index in self.lm.groups(contexts):
            theirs = [rows[i] for i in index]
            margins = Margins([row.ids for row in theirs])
            asked = [contexts[i] for i in index]
            own = write_batch(self.lm, asked, change, decoding, [margins])
            ties += compare_rows(
                theirs, own, margins, lambda ids: self.lm.ended(ids, until), self.lm.steered.dtype
            )
        return ties


def _spans(source: Sequence[bool]) -> tuple[tuple[int, int], ...]:
    """Runs of tokens that are text: [first, end)."""
    edges = [
        i for i, (a, b) in enumerate(zip([False, *source], [*source, False], strict=True)) if a != b
    ]
    return tuple(zip(edges[::2], edges[1::2], strict=True))


def _touches(steering: Steering | None, read: int) -> bool:
    """Whether anything is added to the first `read` tokens, which are all that the model has read."""
    pieces = steering.pieces if steering is not None else ()
    return any(first < (read if end == OPEN else min(end, read)) for first, end, _ in pieces)
