"""Where the time goes: a fit with the defaults and a comparison, sampled while they run as processes.

    python -m benchmarks.where_time_goes [fit] [compare]     sample, and write the tables of the page
    python -m benchmarks.where_time_goes --table             write the tables alone

Wants py-spy, of the extra `dev`. Stacks are read fifty times a second from outside of the process. The comparison has the
methods of `benchmarks/comparison.yaml` that need no training of the model's weights, in one of its languages, on
forty items. Shares are of the samples of the main thread.
"""

import argparse
import collections
import itertools
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from benchmarks.common import RESULTS, SHARED, machine, markdown
from langsteer.storage.files import write_json, write_text

FILE = RESULTS / "where_time_goes.json"
PAGE = Path(__file__).parents[1] / "docs" / "background" / "where-time-goes.md"
LINES, ITEMS, RATE = 400, 40, 50
LEAST = 0.02  # share of a row
OWN = "langsteer/"
FRAME = re.compile(r"(?P<function>[^;]+?) \((?P<file>[^;]*?)(?::\d+)?\)")
KINDS = (  # of the innermost frames, the first that fits
    ("matrix products of the layers", r"torch/nn/modules/linear\.py"),
    ("attention", r"sdpa_attention|eager_attention|/integrations/.*attention"),
    ("the backward pass", r"torch/autograd/"),
    ("opening the model", r"(loading|opening|converted|core_model_loading|safetensors)\.py"),
    ("tokens of texts", r"tokeniz|langsteer/model/tokens\.py"),
    ("norms, activations and the rest of a layer", r"transformers/|torch/nn/"),
    ("importing", r"<frozen importlib"),
    ("langsteer's own lines", r"langsteer/"),
)
Stack = tuple[tuple[str, str], ...]


def commands(folder: Path) -> dict[str, list[str]]:
    """What is sampled, with what it writes in `folder`."""
    settings = {
        "models": ["gemma-3-270m"],
        "benchmarks": ["sib200"],
        "languages": ["sw"],
        "methods": [
            "direct",
            "english",
            "few_shot",
            "self_translate",
            "mean_difference",
            "projection",
            "learned",
            "few_shot+learned",
        ],
        "limit": ITEMS,
        "corpus": {"path": str(SHARED / "ntrex"), "lines": LINES},
        "data": str(SHARED),
        "output": str(folder / "comparison"),
    }
    configuration = folder / "comparison.yaml"
    configuration.write_text(yaml.safe_dump(settings))
    corpus = ["--corpus", str(SHARED / "ntrex"), "--lines", str(LINES)]
    output = ["--output", str(folder / "sw.safetensors")]
    return {
        "fit": ["fit", "--language", "sw", *corpus, *output],
        "compare": ["compare", str(configuration)],
    }


def sampled(command: list[str], folder: Path) -> collections.Counter[Stack]:
    """Samples by stack, outermost frame first: (function, file) each."""
    raw = folder / "stacks.txt"
    spy = ["py-spy", "record", "--format", "raw", "--rate", str(RATE), "--output", str(raw), "--"]
    subprocess.run([*spy, sys.executable, "-m", "langsteer", *command], check=True)
    samples: collections.Counter[Stack] = collections.Counter()
    for line in raw.read_text(encoding="utf-8").splitlines():
        text, _, count = line.rpartition(" ")
        stack = tuple((m["function"].strip(), m["file"]) for m in FRAME.finditer(text))
        samples[stack] += int(count)
    return samples


def by_kind(samples: Mapping[Stack, int]) -> dict[str, float]:
    """Share of samples by what ran at the bottom of the stack."""
    total = sum(samples.values())
    shares: collections.Counter[str] = collections.Counter()
    for stack, count in samples.items():
        shares[_kind(stack)] += count
    return {kind: count / total for kind, count in shares.most_common()}


def _kind(stack: Stack) -> str:
    for _, file in reversed(stack):
        for kind, pattern in KINDS:
            if re.search(pattern, file):
                return kind
    return "other"


def by_function(samples: Mapping[Stack, int]) -> dict[str, float]:
    """Share of samples below each of langsteer's functions; what only hands on to one other is left out."""
    total = sum(samples.values())
    inside: collections.Counter[str] = collections.Counter()
    handed: collections.defaultdict[str, collections.Counter[str]] = collections.defaultdict(
        collections.Counter
    )
    for stack, count in samples.items():
        names = list(_own_names(stack))
        for name in dict.fromkeys(names):
            inside[name] += count
        for name, following in dict.fromkeys(itertools.pairwise(names)):
            if name != following:
                handed[name][following] += count
    return {
        name: count / total
        for name, count in inside.most_common()
        if count >= LEAST * total and max(handed[name].values(), default=0) < 0.9 * count
    }


def _own_names(stack: Stack) -> Iterator[str]:
    for function, file in stack:
        if OWN in file:
            path = file.rpartition(OWN)[2].removesuffix(".py").replace("/", ".")
            yield f"{path}.{function}"


def tables(results: Mapping[str, Any]) -> str:
    parts = []
    for name, told in results["commands"].items():
        parts.append(f"`langsteer {name}`, {told['samples'] / RATE:.0f} seconds:")
        kinds = [
            [kind, f"{100 * share:.0f}%"] for kind, share in told["kinds"].items() if share >= 0.005
        ]
        parts.append(markdown(["what runs", "share"], kinds))
        functions = [[f"`{n}`", f"{100 * s:.0f}%"] for n, s in told["functions"].items()]
        parts.append(markdown(["in and below", "share"], functions))
    return "\n\n".join(parts)


def put_tables(results: Mapping[str, Any]) -> None:
    begin, end = "<!-- measured -->", "<!-- end of measured -->"
    text = PAGE.read_text(encoding="utf-8")
    head, rest = text.split(begin)
    write_text(PAGE, f"{head}{begin}\n\n{tables(results)}\n\n{end}{rest.split(end)[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("commands", nargs="*", choices=["fit", "compare", []])
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    results: dict[str, Any] = {"machine": machine(), "rate": RATE, "commands": {}}
    if FILE.is_file():
        results = json.loads(FILE.read_text(encoding="utf-8"))
    if not asked.table:
        for name in asked.commands or ("fit", "compare"):
            with tempfile.TemporaryDirectory() as folder:
                samples = sampled(commands(Path(folder))[name], Path(folder))
            results["commands"][name] = {
                "samples": sum(samples.values()),
                "kinds": {k: round(v, 4) for k, v in by_kind(samples).items()},
                "functions": {k: round(v, 4) for k, v in by_function(samples).items()},
            }
            write_json(FILE, results)
    put_tables(results)
    print(tables(results))


if __name__ == "__main__":
    main()
