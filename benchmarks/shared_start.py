"""What all choices of an item begin with, read once: operations and seconds, beside reading each choice whole.

    python -m benchmarks.shared_start [ITEMS]

Items in the native form of XNLI (`premise, right? Yes, hypothesis`, three choices, no context), of sentences of the built-in corpus in Swahili.
"""

import logging
import sys
import time
from typing import Any

from lm_eval.api.instance import Instance
from torch.utils.flop_counter import FlopCounterMode

import langsteer
from benchmarks.common import report
from langsteer.evaluation.harness.model import LangsteerLM
from langsteer.evaluation.harness.question import Question
from langsteer.evaluation.harness.requests import question_of
from langsteer.evaluation.harness.scoring import score
from langsteer.model.tokens import Tokens
from langsteer.progress import show_progress

ITEMS = int(sys.argv[1]) if len(sys.argv) > 1 else 24


def requests() -> list[Instance]:
    lines = langsteer.builtin("sw").texts["sw"]
    return [
        Instance(
            "loglikelihood", doc, ("", f"{premise}, sawa? {word}, {hypothesis}"), i, ("x", n, 1)
        )
        for n in range(ITEMS)
        for premise, hypothesis in [(lines[2 * n], lines[2 * n + 1])]
        for doc in [{"premise": premise, "hypothesis": hypothesis}]
        for i, word in enumerate(("Ndio", "Hivyo", "Hapana"))
    ]


def measured(model: langsteer.Model, questions: list[Question]) -> dict[str, Any]:
    started = time.perf_counter()
    (scores,) = score(model, questions)
    seconds = time.perf_counter() - started
    with FlopCounterMode(display=False) as counter:
        score(model, questions)
    values = [value for row in scores.loglikelihoods for value in row]
    return {"seconds": seconds, "operations": counter.get_total_flops(), "values": values}


def main() -> None:
    logging.disable(logging.WARNING)
    show_progress(False)
    model = langsteer.load_model()
    asked = LangsteerLM(model).reader.asked(requests())
    shared = [question_of(asked[i : i + 3]) for i in range(0, len(asked), 3)]
    whole = [
        Question(
            Tokens(list(q.context.ids[: -q.scored]), [False] * (len(q.context) - q.scored)),
            tuple((*q.context.ids[-q.scored :], *answer) for answer in q.answers),
        )
        for q in shared
    ]
    score(model, shared[:1])  # warm up
    once, each = measured(model, shared), measured(model, whole)
    apart = zip(once.pop("values"), each.pop("values"), strict=True)
    found = {
        "items": ITEMS,
        "read_once": once,
        "each_choice_whole": each,
        "times_faster": each["seconds"] / once["seconds"],
        "times_fewer_operations": each["operations"] / once["operations"],
        "largest_difference": max(abs(a - b) for a, b in apart),
    }
    print(found)
    report("shared_start", found)


if __name__ == "__main__":
    main()
