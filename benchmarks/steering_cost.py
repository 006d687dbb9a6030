"""What a vector costs `generate`: the same prompts, steered and not, by turns.

python -m benchmarks.steering_cost
"""

import functools
from typing import Any

import torch

import langsteer
from benchmarks.common import paired, report
from langsteer.states.intervention import PositionKind
from langsteer.steering.generation import generate

POSITIONS: tuple[PositionKind, ...] = ("source", "all")
NEW_TOKENS = 48
ROUNDS = 15


def main() -> None:
    model = langsteer.load_model()
    corpus = langsteer.builtin("sw")
    vector = langsteer.fit(model, corpus.lines(range(32)))
    prompts = list(corpus.texts["sw"][32:36])
    options: dict[str, Any] = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS}
    torch.manual_seed(0)
    direct = functools.partial(generate, model, prompts, **options)
    ratios = {
        positions: paired(functools.partial(direct, vector, positions=positions), direct, ROUNDS)
        for positions in POSITIONS
    }
    report("steering_cost", {"new_tokens": NEW_TOKENS, "prompts": len(prompts), "ratio": ratios})


if __name__ == "__main__":
    main()
