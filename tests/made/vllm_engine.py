"""An engine in a process of its own: reads what to run from standard input, writes what came of it.

    {"model": folder, "vectors": folder, "engine": {arguments of LLM}, "rounds": [[request, ...], ...]}

A request is {"prompt": text or ids, "steering": word or null, "n": answers, "tokens": to write}. With "eager" the
model is not compiled, else with the backend that only traces it.
"""

import json
import os
import sys
from typing import Any

QUIET = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DISABLE_COMPILE_CACHE": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def main() -> None:
    os.environ.update({**QUIET, **{k: v for k, v in os.environ.items() if k.startswith("VLLM_")}})
    told = json.load(sys.stdin)
    out, sys.stdout = sys.stdout, sys.stderr
    print(json.dumps(run(told)), file=out)


def run(told: dict[str, Any]) -> dict[str, Any]:
    from torch._dynamo.utils import counters
    from vllm import LLM
    from vllm.v1.core.sched.scheduler import Scheduler

    preempted: list[str] = []
    plain = Scheduler._preempt_request

    def preempt(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        preempted.append(request.request_id)
        return plain(self, request, *args, **kwargs)

    Scheduler._preempt_request = preempt  # type: ignore[method-assign]
    settings = {"additional_config": {"langsteer": {"vectors": told["vectors"]}}}
    llm = LLM(model=told["model"], dtype="float32", seed=0, **settings, **told["engine"])
    graphs = [dict(counters["stats"]).get("unique_graphs", 0)]
    rounds = []
    for requests in told["rounds"]:
        rounds.append(answers(llm, requests))
        graphs.append(dict(counters["stats"]).get("unique_graphs", 0))
    breaks = sum(counters["graph_break"].values())
    return {"rounds": rounds, "graphs": graphs, "breaks": breaks, "preempted": len(preempted)}


def answers(llm: Any, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    from vllm import SamplingParams

    prompts, params = [], []
    for request in requests:
        prompt, word = request["prompt"], request.get("steering")
        prompts.append(prompt if isinstance(prompt, str) else {"prompt_token_ids": prompt})
        params.append(
            SamplingParams(
                n=request.get("n", 1),
                temperature=1.0 if "n" in request else 0.0,
                top_k=1,
                max_tokens=request.get("tokens", 8),
                ignore_eos=True,
                extra_args=None if word is None else {"langsteer": word},
            )
        )
    try:
        outputs = llm.generate(prompts, params, use_tqdm=False)
    except Exception as error:
        return [{"error": f"{type(error).__name__}: {error}"}]
    return [
        {"tokens": [list(o.token_ids) for o in output.outputs], "cached": output.num_cached_tokens}
        for output in outputs
    ]


if __name__ == "__main__":
    main()
