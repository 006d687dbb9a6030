"""vLLM with the plug-in, on Gemma 3 270M in float32: its log-probabilities against transformers', and what it costs.

    python -m benchmarks.engines vllm           the rows of the table
    python -m benchmarks.engines --cost         throughput: steered, with the plug-in idle, and without it

Run in an environment that has vLLM; MODEL names the folder of the model where its package is not there. Log-probabilities are compared at every token of the prompts, for the 20 tokens that
vLLM finds likeliest; the greedy answers token by token. A difference of tokens where transformers' own first two are
within 0.001 nats is a tie, and is not counted. Throughput is that of a second of processor time, which other programs on the machine
disturb less than the clock; the engines are in processes of their own, each compiled.
"""

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import langsteer
from benchmarks.common import RESULTS
from benchmarks.engines.row import Row
from langsteer.engines.vllm.start import check_version, installed_version
from langsteer.fitting import mean_difference
from langsteer.fitting.options import PooledOptions
from langsteer.model.model import Model
from langsteer.model.opening import checkpoint_of
from langsteer.states.intervention import PositionKind
from langsteer.steering.change import Change, steer
from langsteer.steering.vector import SteeringVector
from langsteer.storage.files import write_json
from langsteer.version import versions

NAME = os.environ.get("MODEL", "gemma-3-270m")
LANGUAGES, LAYER, LINES = ("sw", "tr"), 8, 64
PROMPTS, WRITTEN, TIED, TOP = 8, 24, 1e-3, 20
ROUNDS, REQUESTS, TOKENS, WARM = 30, 16, 16, 2
ORDERS = tuple(itertools.permutations(("plain", "idle", "steered")))
LIMITS = {"max_model_len": 512, "max_num_batched_tokens": 512, "max_num_seqs": 64, "block_size": 32}
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}


@dataclass(frozen=True)
class Compared:
    """What engines differ by, over all places: log-probabilities in nats, greedy tokens, and by how
    much transformers' own are moved.
    """

    places: int
    largest: float
    other_tokens: int
    effect: float


def measure() -> list[Row]:
    """The rows of vLLM, for vectors at the prompt, at what is written, and at all tokens. Raises EngineError where it is not installed."""
    check_version(installed_version())
    model = langsteer.load_model(NAME, dtype="float32")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        vectors = {tag: fitted(model, tag) for tag in LANGUAGES}
        for tag, vector in vectors.items():
            vector.save(Path(name) / f"{tag}.safetensors")
        engine = started(name)
        for tag, vector in vectors.items():
            prompts = prompts_of(model, tag)
            plain = compared(model, engine, prompts, None, None)
            for positions in ("source", "generated", "all"):
                told = compared(model, engine, prompts, vector, positions)
                rows.append(
                    Row(
                        engine=f"vLLM {installed_version()}",
                        weights=f"float32, {positions}",
                        language=tag,
                        places=told.places,
                        other_tokens=told.other_tokens,
                        other_tokens_unsteered=plain.other_tokens,
                        largest=told.largest,
                        largest_unsteered=plain.largest,
                        effect=told.effect,
                    )
                )
    return rows


def fitted(model: Model, tag: str) -> SteeringVector:
    """A mean difference."""
    options = PooledOptions(layer=LAYER, positions="source")
    return mean_difference.fit(model, langsteer.builtin(tag).lines(range(LINES)), options)


def prompts_of(model: Model, tag: str) -> list[list[int]]:
    lines = langsteer.builtin(tag).texts[tag][LINES : LINES + PROMPTS]
    return [list(model.tokenizer(line)["input_ids"]) for line in lines]


def started(vectors: str | None) -> Any:
    """An engine in this process; with `vectors`, steered."""
    os.environ.update(ENVIRONMENT)
    from vllm import LLM

    extra = {} if vectors is None else {"langsteer": {"vectors": vectors}}
    folder = checkpoint_of(NAME)
    return LLM(model=folder, dtype="float32", additional_config=extra, max_logprobs=TOP, **LIMITS)


def compared(
    model: Model,
    engine: Any,
    prompts: Sequence[list[int]],
    vector: Change | None,
    positions: PositionKind | None,
) -> Compared:
    """The engine against transformers on the same prompts, steered alike."""
    from vllm import SamplingParams

    word = None if vector is None else {"language": vector.language, "positions": positions}
    params = SamplingParams(
        temperature=0,
        max_tokens=WRITTEN,
        ignore_eos=True,
        logprobs=TOP,
        prompt_logprobs=TOP,
        extra_args=None if word is None else {"langsteer": word},
    )
    asked = [{"prompt_token_ids": ids} for ids in prompts]
    largest, others, places, effects = 0.0, 0, 0, []
    for ids, output in zip(prompts, engine.generate(asked, params, use_tqdm=False), strict=True):
        answer = output.outputs[0]
        whole = [*ids, *answer.token_ids]
        scores = logprobs_of(model, whole, len(ids), vector, positions)
        plain = logprobs_of(model, whole, len(ids), None, None)
        effects.append(float((scores.exp() * (scores - plain)).sum(-1).mean()))
        theirs = [*output.prompt_logprobs[1:], *answer.logprobs]
        for place, told in enumerate(theirs):
            places += 1
            largest = max(
                largest, *(abs(v.logprob - float(scores[place, t])) for t, v in told.items())
            )
            first, second = scores[place].topk(2).values.tolist()
            best = max(told, key=lambda token: told[token].logprob)
            others += best != int(scores[place].argmax()) and first - second > TIED
    return Compared(places, largest, others, float(np.mean(effects)))


def logprobs_of(
    model: Model,
    ids: Sequence[int],
    prompt: int,
    vector: Change | None,
    positions: PositionKind | None,
) -> torch.Tensor:
    """transformers' log-probabilities [tokens, vocabulary], the prompt ending after `prompt` tokens."""
    special = set(model.tokenizer.all_special_ids)
    mask = torch.tensor([[token not in special for token in ids[:prompt]]])
    with torch.inference_mode(), steer(model, [vector], positions=positions, mask=mask):
        logits = model.network(torch.tensor([list(ids)])).logits[0]
    return torch.log_softmax(logits.float(), -1)


def cost(rounds: int = ROUNDS) -> dict[str, Any]:
    """Answers a processor second, of engines that take turns on the same requests in one run, each
    turn in another order: with vectors and all requests steered, with vectors and none steered
    (idle), and without the plug-in. What is measured is written after each round.
    """
    model = langsteer.load_model(NAME, dtype="float32")
    with tempfile.TemporaryDirectory() as name:
        for tag in LANGUAGES:
            fitted(model, tag).save(Path(name) / f"{tag}.safetensors")
        prompts = [ids for tag in LANGUAGES for ids in prompts_of(model, tag)]
        told: dict[str, Any] = {}
        with Worker(None) as bare, Worker(name) as plugged:
            engines = {
                "plain": (bare, None),
                "idle": (plugged, None),
                "steered": (plugged, list(LANGUAGES)),
            }
            turns: list[dict[str, float]] = []
            for number, order in zip(range(WARM + rounds), itertools.cycle(ORDERS), strict=False):
                asked = [ids[: len(ids) - number % 3] for ids in prompts]
                turn = {kind: engines[kind][0].seconds(asked, engines[kind][1]) for kind in order}
                print(number, turn, file=sys.stderr, flush=True)
                if number >= WARM:
                    turns.append(turn)
                    told = summed_up(turns)
                    write_json(RESULTS / "engines_vllm_cost.json", told)
    return told


def summed_up(turns: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """The ratios of throughput, by what is compared, and the seconds that they are of."""
    about = {
        "vllm": installed_version(),
        "rounds": len(turns),
        "requests": REQUESTS,
        "tokens": TOKENS,
    }
    ratios = {
        f"{first} ÷ {second}": ratio([turn[second] / turn[first] for turn in turns])
        for first, second in (("steered", "plain"), ("idle", "plain"), ("steered", "idle"))
    }
    return {**ratios, **about, "versions": versions(), "processor seconds": list(turns)}


def ratio(ratios: Sequence[float]) -> dict[str, float]:
    """Median, and its 95% bootstrap interval over rounds."""
    drawn = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return {"median": float(np.median(ratios)), "low": float(low), "high": float(high)}


class Worker:
    """An engine in a process of its own, which is told by lines of JSON."""

    def __init__(self, vectors: str | None) -> None:
        words = [sys.executable, "-m", "benchmarks.engines.vllm", "--worker", vectors or ""]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def seconds(self, prompts: Sequence[list[int]], languages: Sequence[str] | None) -> float:
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the worker has no pipes")
        print(
            json.dumps({"prompts": prompts, "languages": languages}), file=process.stdin, flush=True
        )
        for line in process.stdout:
            if line.startswith("seconds "):
                return float(line.split()[1])
        raise RuntimeError("the worker has ended")

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait(30)


def work(vectors: str) -> None:
    """What a worker does: answer, and say how much processor time that took."""
    from vllm import SamplingParams

    engine = started(vectors or None)
    for line in sys.stdin:
        told: Mapping[str, Any] = json.loads(line)
        tags = told["languages"]
        asked, params = [], []
        for number in range(REQUESTS):
            asked.append({"prompt_token_ids": told["prompts"][number % len(told["prompts"])]})
            extra = (
                {"langsteer": {"language": tags[number % 2], "positions": "all"}} if tags else None
            )
            params.append(
                SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True, extra_args=extra)
            )
        engine.reset_prefix_cache()
        before = processor_seconds()
        engine.generate(asked, params, use_tqdm=False)
        print("seconds", processor_seconds() - before, flush=True)


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", required=True)
    work(parser.parse_args().worker)
