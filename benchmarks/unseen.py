"""Languages that a router was not shown: how many of their texts it steers, without its bounds and with them.

    python -m benchmarks.unseen

Fitted on NTREX and on the built-in corpus, without half of the languages, twice, so that each language is left out once;
and on all languages of each, as `fit --router` does. How wide the bounds are to be, for texts of each length, is chosen
on FLORES dev, and reported on the one of the two corpora that was not fitted on. Prints a table and writes
benchmarks/results/unseen.json.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import langsteer
from benchmarks.common import SHARED, report
from langsteer.fitting.router import DEPTH, beginnings, router_of
from langsteer.progress import show_progress
from langsteer.steering.router import BEGINNINGS, CONFIDENT, Router
from langsteer.text.corpus import ParallelCorpus, builtin, spread
from langsteer.text.readers import read_flores, read_ntrex

WIDTHS = (0.9, 0.95, 1.0, 1.05, 1.1, 1.25)  # times the bounds of today
FITTED = {"ntrex": "builtin", "builtin": "ntrex"}  # and what is reported on
LENGTHS = (4, 8, 16)  # tokens
ABOUT = {1: 2, 2: 3, 3: 6, 4: 12, 5: 32}  # tokens, by how many beginnings and whole a line has
States = Mapping[str, Sequence[Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fit-lines", type=int, default=60)
    parser.add_argument("--lines", type=int, default=60)
    parser.add_argument("--states", type=Path, help="Keep what was read here, and read it again.")
    chosen = parser.parse_args()
    show_progress(False)
    layer, read = read_all(chosen.states, max(chosen.fit_lines, chosen.lines))
    asked = {name: thinned(states, chosen.lines) for name, states in read.items()}
    rows: list[dict[str, Any]] = []
    for fitted, other in FITTED.items():
        halves, whole = routers_of(thinned(read[fitted], chosen.fit_lines), layer)
        for name, length, width in product(("flores", other), (*LENGTHS, None), (None, *WIDTHS)):
            about = {"fitted": fitted, "text": name, "tokens": length, "width": width}
            of_all = rates([whole], asked[name], width, length)
            rows.append({**about, **rates(halves, asked[name], width, length), "of_all": of_all})
            print(json.dumps(rows[-1]), flush=True)
    report("unseen", {"layer": layer, "rows": rows})


def routers_of(states: States, layer: int) -> tuple[list[Router], Router]:
    """Two of half of the languages each, and one of all."""
    tags = [tag for tag in states if tag != "en"]
    halves = [
        router_of({tag: states[tag] for tag in (*half, "en")}, "en", layer, {})
        for half in (tags[::2], tags[1::2])
    ]
    return halves, router_of(states, "en", layer, {})


def read_all(kept: Path | None, lines: int) -> tuple[int, dict[str, States]]:
    if kept is not None and kept.exists():
        found = torch.load(kept, weights_only=True)
        return int(found["layer"]), dict(found["states"])
    model = langsteer.load_model(dtype="float32")
    layer = round(DEPTH * model.layers)
    read = {}
    for name, corpus in (
        ("ntrex", read_ntrex(SHARED / "ntrex")),
        ("flores", read_flores(SHARED / "flores200" / "dev")),
        ("builtin", builtin()),
    ):
        read[name] = states_of(model, corpus, layer, lines)
        print(f"read {name}", flush=True)
    if kept is not None:
        torch.save({"layer": layer, "states": read}, kept)
    return layer, read


def thinned(states: States, most: int) -> States:
    return {tag: [own[i] for i in spread(len(own), most)] for tag, own in states.items()}


def states_of(model: langsteer.Model, corpus: ParallelCorpus, layer: int, most: int) -> States:
    places = spread(len(corpus), most)
    return {
        tag: beginnings(model, [lines[i] for i in places], layer, "")
        for tag, lines in corpus.texts.items()
    }


def rates(
    routers: Sequence[Router], read: States, width: float | None, tokens: int | None = None
) -> dict[str, float]:
    """Shares in per cent: texts of languages not shown that are steered, of all of them; of those
    shown, texts that are steered as their language, and as another."""
    unseen: list[bool] = []
    right: list[bool] = []
    wrong: list[bool] = []
    for router in routers:
        bounds = router.bounds
        if bounds is not None and width is not None:
            bounds = replace(bounds, farthest=bounds.farthest * width)
        asked = replace(router, bounds=None if width is None else bounds)
        for tag, lines in read.items():
            if tag == router.pivot:
                continue
            states, counts = cut(lines, tokens)
            told = asked.identify_states(states, counts)
            steered = [
                found.language
                for found in told
                if found.confidence >= CONFIDENT and found.language != router.pivot
            ]
            if tag in router.languages:
                right += [language == tag for language in steered] + [False] * (
                    len(told) - len(steered)
                )
                wrong += [language != tag for language in steered] + [False] * (
                    len(told) - len(steered)
                )
            else:
                unseen += [True] * len(steered) + [False] * (len(told) - len(steered))
    return {
        "unseen_steered": share(unseen),
        "seen_steered": share(right),
        "seen_steered_as_another": share(wrong),
        "texts": len(unseen) + len(right),
    }


def cut(lines: Sequence[Tensor], tokens: int | None) -> tuple[Tensor, Tensor]:
    """Mean states [texts, hidden] of whole lines, or of the first tokens of those that are longer;
    and how many tokens, as far as it matters."""
    if tokens is None:
        return torch.stack([line[-1] for line in lines]), torch.tensor(
            [ABOUT[len(line)] for line in lines]
        )
    place = BEGINNINGS.index(tokens)
    long_enough = [line[place] for line in lines if len(line) > place + 1]
    return torch.stack(long_enough), torch.full((len(long_enough),), tokens)


def share(found: Sequence[bool]) -> float:
    return round(100 * sum(found) / max(1, len(found)), 1)


if __name__ == "__main__":
    main()
