"""Does one backward pass know which layer to steer? Its estimate of every layer against the exact search.

    python -m benchmarks.attribution --languages sw el

The search's measure, the divergence from the English next-token distribution on held-out lines, is run exactly for the
mean difference at every layer and strength. Attribution patching estimates the same from one forward and one backward
pass without steering: to first order, strength v at layer l changes it by the product of v and the gradient there.
Each language is a line of benchmarks/results/attribution.jsonl; those that are there are not made again.
"""

import argparse
import functools
import json
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import Tensor

import langsteer
from benchmarks.common import RESULTS, add_line, find_line
from benchmarks.strength import corpus
from benchmarks.variants import last_states
from langsteer.fitting.mean_difference import fit_layers
from langsteer.fitting.options import STRENGTHS, PooledOptions
from langsteer.fitting.search import Measure
from langsteer.model.model import Model, frozen
from langsteer.progress import show_progress
from langsteer.states.intervention import Intervention
from langsteer.steering.vector import SteeringVector

FILE = RESULTS / "attribution.jsonl"
FITTED, HELD_OUT = 200, 40


def gradients(model: Model, measure: Measure) -> Tensor:
    """Of the mean divergence with respect to a vector at the text's tokens, [layers, hidden]."""
    added = torch.zeros(model.layers, model.hidden_size, dtype=model.dtype, requires_grad=True)
    items = [
        Intervention(layer, functools.partial(torch.add, added[layer]))
        for layer in range(model.layers)
    ]
    for index, last in last_states(model, measure, items):
        apart = (last - measure.english.states[index]) @ measure.english.root
        (apart.pow(2).sum() / 2 / len(measure.texts)).backward()  # type: ignore[no-untyped-call]
    assert added.grad is not None
    return added.grad.float()


def run(model: Model, language: str) -> dict[str, Any]:
    text = corpus("ntrex", language, FITTED + HELD_OUT)
    fit, held_out = text.lines(range(FITTED)), text.lines(range(FITTED, FITTED + HELD_OUT))
    layers = list(range(model.layers - 1))
    vectors = fit_layers(model, fit, layers, PooledOptions())
    measure = Measure(model, held_out)
    trials: list[tuple[SteeringVector | None, float]] = [(None, 0.0)]
    trials += [(vector, strength) for vector in vectors for strength in STRENGTHS]
    unsteered, *steered = measure.several(trials)
    exact = torch.tensor(steered).view(len(layers), len(STRENGTHS)) - unsteered
    with frozen(model):
        slopes = gradients(model, measure)
    estimate = torch.stack([slopes[v.layer] @ v.values for v in vectors])
    best = exact.min(1).values
    order = estimate.argsort().tolist()
    return {
        "language": language,
        "divergence_unsteered": round(unsteered, 4),
        "best_change_by_layer": [round(float(change), 4) for change in best],
        "estimated_change_by_layer": [round(float(change), 4) for change in estimate],
        "spearman": round(float(spearmanr(estimate, best).statistic), 2),
        "spearman_at_the_least_strength": round(
            float(spearmanr(estimate, exact[:, 0]).statistic), 2
        ),
        "best_layer": int(best.argmin()),
        "first_three_estimated": order[:3],
        "best_of_those": round(float(best[order[:3]].min()), 4),
        "best_of_all": round(float(best.min()), 4),
        "best_strength_by_layer": [STRENGTHS[int(i)] for i in exact.argmin(1)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--languages", nargs="+", default=["sw", "el"])
    parser.add_argument("--dtype", default="bfloat16")
    chosen = parser.parse_args()
    show_progress(False)
    model = langsteer.load_model(dtype=chosen.dtype)
    for language in chosen.languages:
        if find_line(FILE, {"language": language}) is None:
            line = run(model, language)
            add_line(FILE, line)
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
