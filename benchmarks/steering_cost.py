"""What a vector costs `generate`: the same prompts, steered and not, by turns.

python -m benchmarks.steering_cost
"""

from typing import Any

import torch

import langsteer
from benchmarks.common import paired, report
from langsteer.generation import generate

NEW_TOKENS = 48
ROUNDS = 15


def main() -> None:
    model = langsteer.load_model()
    corpus = langsteer.builtin("sw")
    vector = langsteer.fit(model, corpus.lines(range(32)))
    prompts = list(corpus.texts["sw"][32:36])
    options: dict[str, Any] = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS}
    torch.manual_seed(0)
    found = {}
    for positions in ("source", "all"):
        found[positions] = paired(
            lambda positions=positions: generate(
                model, prompts, vector, positions=positions, **options
            ),
            lambda: generate(model, prompts, **options),
            ROUNDS,
        )
    report("steering_cost", {"new_tokens": NEW_TOKENS, "prompts": len(prompts), "ratio": found})


if __name__ == "__main__":
    main()
