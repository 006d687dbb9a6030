"""Fit a router: learn to tell languages apart by the hidden states of an early layer.

Linear discriminant analysis with shrinkage, fitted on beginnings of lines as well as on whole ones, so that short
texts are told apart too. How sure it may be is learned for each length on lines held out (temperature scaling;
Guo et al., arXiv 1706.04599).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from langsteer.errors import FitError
from langsteer.extras import need
from langsteer.model.model import Model
from langsteer.states.capture import capture
from langsteer.steering.router import BEGINNINGS, Router
from langsteer.text.corpus import builtin, spread

DEPTH = 0.2
HELD_OUT = 5  # every fifth line
TEMPERATURES = torch.logspace(-1, 2, 61, dtype=torch.float64)
FEWEST_LINES = 20
MOST_LINES = 100


def fit_router(
    model: Model,
    texts: Mapping[str, Sequence[str]],
    pivot: str = "en",
    *,
    with_builtin: bool = True,
    layer: int | None = None,
    most: int = MOST_LINES,
) -> Router:
    """Learn to tell languages apart; `texts` holds lines of each.

    The lines need not be translations of each other; of more than `most`, so many are read, spread
    evenly. `with_builtin` adds the languages of the built-in corpus, so that none of them is taken
    for one of `texts`; without it, `texts` has lines of the pivot too. `layer` None means the one
    at a fifth of the depth. Raises FitError where there are too few languages or lines, and
    MissingExtraError without scikit-learn.
    """
    if with_builtin:
        texts = {**builtin().texts, **texts}
    _check_texts(texts, pivot)
    where = model.check_layer(layer if layer is not None else round(DEPTH * model.layers))
    fitted: list[tuple[int, Tensor]] = []
    held_out: list[tuple[int, Tensor]] = []
    for place, (tag, lines) in enumerate(texts.items()):
        read = [lines[i] for i in spread(len(lines), most)]
        for line, states in enumerate(_beginnings(model, read, where, f"{tag} states")):
            (fitted if line % HELD_OUT else held_out).append((place, states))
    temperatures = _temperatures(*_discriminant(fitted, len(texts)), held_out)
    weight, bias = _discriminant(fitted + held_out, len(texts))
    return Router(
        weight=weight,
        bias=bias,
        temperatures=temperatures,
        languages=tuple(texts),
        pivot=pivot,
        layer=where,
        model={"name": model.name, "fingerprint": model.fingerprint},
        corpus={"lines": {tag: min(most, len(lines)) for tag, lines in texts.items()}},
    )


def _temperatures(weight: Tensor, bias: Tensor, lines: Sequence[tuple[int, Tensor]]) -> Tensor:
    """For each length of beginning, the temperature at which the right languages are likeliest."""
    best = torch.ones(len(BEGINNINGS))
    for length in range(len(BEGINNINGS)):
        long_enough = [(place, states[length]) for place, states in lines if len(states) > length]
        if not long_enough:
            best[length] = best[length - 1] if length else 1.0
            continue
        right = torch.tensor([place for place, _ in long_enough])
        states = torch.stack([states for _, states in long_enough])
        scores = states @ weight.double().T + bias.double()
        losses = [torch.nn.functional.cross_entropy(scores / t, right).item() for t in TEMPERATURES]
        best[length] = TEMPERATURES[int(np.argmin(losses))]
    return best


def _check_texts(texts: Mapping[str, Sequence[str]], pivot: str) -> None:
    if len(texts) < 2 or pivot not in texts:
        raise FitError(f"a router tells languages from {pivot}: give lines of it, and of others")
    for tag, lines in texts.items():
        if len(lines) < FEWEST_LINES:
            raise FitError(
                f"{tag} has {len(lines)} lines to tell it by, and {FEWEST_LINES} are the least"
            )


def _discriminant(lines: Sequence[tuple[int, Tensor]], count: int) -> tuple[Tensor, Tensor]:
    """Weight [languages, hidden] and bias [languages] from lines' languages and mean states."""
    module = need("sklearn.discriminant_analysis", "fitting", "telling languages apart")
    classifier = module.LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    classifier.fit(
        torch.cat([states for _, states in lines]).numpy(),
        np.repeat([place for place, _ in lines], [len(states) for _, states in lines]),
    )
    weight, bias = torch.tensor(classifier.coef_), torch.tensor(classifier.intercept_)
    if count == 2:  # scikit-learn gives the second against the first
        weight = torch.cat([torch.zeros_like(weight), weight])
        bias = torch.cat([torch.zeros_like(bias), bias])
    return weight.float(), bias.float()


def _beginnings(model: Model, lines: Sequence[str], layer: int, progress: str) -> list[Tensor]:
    """For each line the mean states of its first 2, 4, … tokens, and of all of them, float64
    [beginnings, hidden].

    A causal model's states of a beginning are those it has in the whole line.
    """
    means: list[Tensor] = [torch.empty(0)] * len(lines)
    for batch in capture(model, lines, [layer], progress=progress):
        for i, states, source in zip(batch.index, batch.layers[layer], batch.source, strict=True):
            sums = states[source].double().cpu().cumsum(0)
            counts = [n for n in BEGINNINGS if n < len(sums)] + [len(sums)]
            means[i] = torch.stack([sums[n - 1] / n for n in counts])
    return means
