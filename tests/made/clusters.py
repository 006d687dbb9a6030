"""Ray clusters of several nodes on this machine, and comparisons of tiny models for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.helpers import build_model
from tests.made.topics import made_sib200

LANGUAGES = ("sw", "et", "tr", "id")
METHODS = ["direct", "english", {"few_shot": {"k": 2}}, "mean_difference"]


@contextmanager
def cluster_of(nodes: int, cpus: float = 1) -> Iterator[Any]:
    """A cluster whose head does no work, and `nodes` with so many processors each."""
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=cpus, **small)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()


def comparison_file(folder: Path, output: str = "out", **changes: Any) -> Path:
    """2 tiny models × 4 languages × 4 methods on an invented SIB-200, as a configuration."""
    names = ["one", "two"]
    for seed, name in enumerate(names):
        if not (folder / name).exists():
            model = build_model("llama", seed)
            model.network.save_pretrained(folder / name)
            model.tokenizer.save_pretrained(folder / name)
    if not (folder / "data").exists():
        made_sib200(folder / "data", {"tur_Latn": "bu", "ind_Latn": "di"})
    keys = {
        "output": output,
        "models": [str(folder / name) for name in names],
        "benchmarks": "sib200",
        "languages": list(LANGUAGES),
        "methods": METHODS,
        "data": "data",
        "corpus": {"path": "builtin", "lines": 40},
    }
    file = folder / f"{output}.yaml"
    file.write_text(yaml.safe_dump(keys | changes), encoding="utf-8")
    return file


def numbers_of(output: Path) -> dict[Any, Any]:
    """All that cells say but how long it took and how much memory."""
    from langsteer.evaluation.comparison.cells import read_results

    results = read_results(output)
    assert results.failures == ()
    return {
        cell.key: (cell.items, cell.harness, cell.settings, cell.cost.tokens, cell.chosen_on)
        for cell in results.cells
    }
