"""What a comparison's fits win by sharing what they read of the pivot: languages fitted one after the other, alone
and sharing.

    python -m benchmarks.shared_reading

The default and a projection in each of three languages, on 400 lines of NTREX. Processor time, by turns; what is fitted is
compared too.
"""

import time

import torch

import langsteer
from benchmarks.common import SHARED, paired, report
from langsteer.evaluation.comparison.fit_text import fit_corpus
from langsteer.fitting.learning import learn
from langsteer.fitting.readings import shared_readings
from langsteer.progress import show_progress
from langsteer.steering.change import Change

LANGUAGES, METHODS, LINES = ("sw", "tr", "hi"), ("learned", "projection"), 400


def fits(model: langsteer.Model, method: str, shared: bool) -> list[Change]:
    changes = []
    for language in LANGUAGES:
        corpus = fit_corpus(str(SHARED / "ntrex"), LINES, language)
        if shared:
            with shared_readings(model):
                changes.append(learn(model, corpus, method=method))
        else:
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

    def run(method: str, shared: bool) -> None:
        model.kept._values.pop("pivot readings", None)
        made[shared] = fits(model, method, shared)

    results = {}
    for method in METHODS:
        ratio = paired(
            lambda method=method: run(method, False),  # type: ignore[misc]
            lambda method=method: run(method, True),  # type: ignore[misc]
            rounds=1,
            warm=0,
            clock=time.process_time,
        )
        results[method] = {"ratio": ratio, "apart": apart(made[True], made[False])}
    report("shared_reading", {"languages": LANGUAGES, "lines": LINES, "methods": results})


if __name__ == "__main__":
    main()
