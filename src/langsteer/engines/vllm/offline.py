"""vLLM in a process of its own, with no server: many prompts at once, each steered as it says."""

import math
import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langsteer.engines.vllm.plugin import END_WITH_PARENT
from langsteer.engines.vllm.start import ROWS, check_version, installed_version
from langsteer.engines.vllm.steering import Steering
from langsteer.engines.vllm.word import KEY
from langsteer.errors import EngineError, StateError

ARGUMENTS = (  # of vLLM's `LLM`: where and how fast, and nothing of what is answered
    "block_size",
    "compilation_config",
    "cpu_offload_gb",
    "disable_custom_all_reduce",
    "distributed_executor_backend",
    "enable_prefix_caching",
    "enforce_eager",
    "gpu_memory_utilization",
    "kv_cache_memory_bytes",
    "max_model_len",
    "max_num_batched_tokens",
    "max_num_seqs",
    "pipeline_parallel_size",
    "tensor_parallel_size",
)
_QUIET = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
_SPAWNED = {
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn"
}  # a process that ran a model must not be forked


@dataclass(frozen=True)
class Greedy:
    """How an answer ends, and what is kept from being said again.

    After `longest` tokens, at the first text of `until`, or at a token of `ends`. `repetition` is
    what transformers calls the repetition penalty: 1.0 for none.
    """

    longest: int
    until: tuple[str, ...] = ()
    ends: tuple[int, ...] = ()
    repetition: float = 1.0


@dataclass
class OfflineEngine:
    """A model that vLLM has opened from `source`, a folder or a hub id, in `dtype`.

    `rows` is a folder that what is added to tokens is written into (`rows.py`). `arguments` are of
    vLLM's `LLM`, those of ARGUMENTS.
    """

    source: str
    rows: Path
    dtype: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    _llm: Any = field(default=None, init=False)
    _end: Any = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Raises EngineError where vLLM is not there, is not known, or cannot open the model."""
        check_version(installed_version())
        self.rows.mkdir(parents=True, exist_ok=True)
        os.environ.update(_SPAWNED | {END_WITH_PARENT: "1"})
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        try:
            from vllm import LLM

            self._llm = LLM(
                model=self.source,
                dtype=self.dtype,
                seed=0,
                additional_config={KEY: {ROWS: str(self.rows.resolve())}},
                **self.arguments,
            )
        except Exception as error:  # vLLM's own, torch's, or what its process died of
            raise EngineError(f"vLLM cannot open {self.source}: {_line(error)}") from error
        # also where it is dropped, or Python ends
        self._end = weakref.finalize(self, self._llm.llm_engine.engine_core.shutdown)

    def write(
        self,
        prompts: Sequence[Sequence[int]],
        steering: Sequence[Steering | None],
        greedy: Greedy,
        bias: Mapping[int, float] | None = None,
    ) -> list[list[int]]:
        """The tokens that greedy decoding writes after each prompt, to its end; `bias` is added to the logits
        of tokens.

        The rows that `steering` names are in the folder. Raises EngineError, and StateError for
        logits that are no numbers.
        """
        from vllm import SamplingParams

        params = [
            SamplingParams(
                temperature=0.0,
                max_tokens=greedy.longest,
                stop=[text for text in greedy.until if text],
                stop_token_ids=list(greedy.ends),
                repetition_penalty=greedy.repetition,
                logprobs=0,  # that of the token that is written, to see that it is a number
                flat_logprobs=True,
                logit_bias=dict(bias) if bias else None,
                extra_args=None if one is None else {KEY: one.plain()},
            )
            for one in steering
        ]
        given = [{"prompt_token_ids": list(ids)} for ids in prompts]
        try:
            outputs = [
                output.outputs[0] for output in self._llm.generate(given, params, use_tqdm=False)
            ]
        except Exception as error:
            raise EngineError(f"vLLM failed on {self.source}: {_line(error)}") from error
        if not all(math.isfinite(output.cumulative_logprob or 0.0) for output in outputs):
            raise StateError(
                f"the logits of {self.source} hold NaN or infinity in vLLM ({self.dtype}): choose a "
                "smaller strength, or a wider dtype"
            )
        return [list(output.token_ids) for output in outputs]

    def close(self) -> None:
        """End its processes and free what they hold. It may be called twice."""
        self._end()
        self._llm = None


def _line(error: BaseException) -> str:
    """The last thing that an error says, in one line: pydantic and vLLM say the cause after a title."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = lines[1] if len(lines) > 1 and "validation error" in lines[0] else "".join(lines[:1])
    return (told or type(error).__name__)[:300]
