"""Tiny models of many architectures in one process, one engine after another.

Reads {"folder": path, "names": [...], "prompts": [ids, ...], "words": [...]}, and writes, by name, the tokens of each prompt with
each word, or an error. The folder has NAME/model and NAME/vectors.
"""

import json
import os
import sys
from typing import Any

from vllm_engine import QUIET, answers  # this folder is the first that is searched

LIMITS = {"max_model_len": 128, "max_num_seqs": 16, "block_size": 32, "enforce_eager": True}


def main() -> None:
    os.environ.update(QUIET)
    told = json.load(sys.stdin)
    out, sys.stdout = sys.stdout, sys.stderr
    print(json.dumps({name: run(told, name) for name in told["names"]}), file=out)


def run(told: dict[str, Any], name: str) -> Any:
    from vllm import LLM
    from vllm.distributed import cleanup_dist_env_and_memory

    folder = f"{told['folder']}/{name}"
    settings = {"additional_config": {"langsteer": {"vectors": f"{folder}/vectors"}}}
    try:
        llm = LLM(model=f"{folder}/model", dtype="float32", **settings, **LIMITS)
        asked = [
            {"prompt": ids, "steering": word} for word in told["words"] for ids in told["prompts"]
        ]
        written = [answer["tokens"][0] for answer in answers(llm, asked)]
        llm.llm_engine.engine_core.shutdown()
        del llm
        return written
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        cleanup_dist_env_and_memory()


if __name__ == "__main__":
    main()
