"""What a comparison's fits win by sharing what they read of the pivot: the methods of a language one after the other,
alone and sharing.

    python -m benchmarks.shared_reading

Three methods in Swahili, on 200 lines of NTREX, in the order of a report. Processor time; what is fitted is compared too.
Languages do not share by this: of each, other lines are left out as faulty, so that the lines are not the same.
"""

import contextlib
import time

import torch

import langsteer
from benchmarks.common import SHARED, paired, report
from langsteer.evaluation.comparison.fit_text import fit_corpus
from langsteer.fitting.learning import learn
from langsteer.fitting.readings import SharedReadings, shared_readings
from langsteer.model.model import Model
from langsteer.progress import show_progress
from langsteer.steering.change import Change

LANGUAGE, LINES = "sw", 200
METHODS = ("mean_difference", "projection", "learned")


def fits(model: Model, shared: bool) -> list[Change]:
    corpus = fit_corpus(str(SHARED / "ntrex"), LINES, LANGUAGE)
    changes = []
    for method in METHODS:
        with shared_readings(model) if shared else contextlib.nullcontext():
            changes.append(learn(model, corpus, method=method))
    return changes


def apart(ours: list[Change], theirs: list[Change]) -> float:
    """The largest difference between two numbers of what was fitted."""
    tensors = [(a.tensors(), b.tensors()) for a, b in zip(ours, theirs, strict=True)]
    return max(float((a[n] - b[n]).abs().max()) for a, b in tensors for n in a)


def main() -> None:
    show_progress(False)
    torch.set_num_threads(1)
    model = langsteer.load_model()
    made: dict[bool, list[Change]] = {}

    def run(shared: bool) -> None:
        made[shared] = fits(model, shared)

    ratio = paired(lambda: run(False), lambda: run(True), rounds=1, warm=0, clock=time.process_time)
    kept = model.kept.get("pivot readings", SharedReadings)
    report(
        "shared_reading",
        {
            "language": LANGUAGE,
            "lines": LINES,
            "methods": METHODS,
            "ratio": ratio,
            "seconds_spared_in_the_last": kept.spared,
            "apart": apart(made[True], made[False]),
        },
    )


if __name__ == "__main__":
    main()
