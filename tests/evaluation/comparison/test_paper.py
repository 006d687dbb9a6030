"""The paper's experiments as they are shipped: understood, and run to their end on a small model."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from langsteer.evaluation.comparison.configuration import comparison, read_comparison
from langsteer.evaluation.comparison.run import compare

FILE = Path(__file__).parents[3] / "examples" / "paper.yaml"
LOCAL = ["mgsm", "xcopa", "sib200"]  # whose files lie beside the checkout
NEEDS_THE_HUB = {"translate_mt"}
WRITTEN = {"direct", "xlt"}  # on mgsm: to write takes long


def test_the_file_is_understood() -> None:
    wanted = read_comparison(FILE)
    assert len(wanted.models) == 5
    assert [chosen.name for chosen in wanted.benchmarks] == [
        *LOCAL[:2],
        "xnli",
        "sib200",
        "belebele",
    ]


@pytest.mark.timeout(3600)
@pytest.mark.skipif(
    "LANGSTEER_PAPER" not in os.environ, reason="takes many minutes: set LANGSTEER_PAPER=1"
)
def test_it_runs_to_its_end(shared: Path, tmp_path: Path) -> None:
    if not shared.is_dir():
        pytest.skip(f"there is no {shared}")
    keys = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    keys |= {
        "models": ["smollm2-135m"],
        "benchmarks": [chosen for chosen in keys["benchmarks"] if names(chosen)[0] in LOCAL],
        "languages": ["sw"],
        "methods": [small(m) for m in keys["methods"] if not NEEDS_THE_HUB & set(names(m))],
        "corpus": {"path": str(shared / "ntrex"), "lines": 24},
        "data": str(shared),
        "output": str(tmp_path / "paper"),
        "limit": 4,
        "dtype": "float32",
    }
    done = compare(comparison(keys))
    assert not done.failed
    assert len(done.made) > 20


def names(method: Any) -> list[str]:
    return list(method) if isinstance(method, dict) else [method]


def small(method: Any) -> Any:
    """The same with less to learn, on benchmarks that are here."""
    (name,) = names(method)
    options = dict(method[name]) if isinstance(method, dict) else {}
    if "benchmarks" in options:
        options["benchmarks"] = [b for b in options["benchmarks"] if b in LOCAL]
    elif name not in WRITTEN:
        options["benchmarks"] = [name for name in LOCAL if name != "mgsm"]
    for key, least in (("k", 1), ("items", 4), ("most", 4)):
        options |= {key: least} if key in options else {}
    if name == "learned":
        options["steps"] = 2
    elif name.endswith("+learned"):
        options["steering"] = {"steps": 2}
    return {name: options} if options else name
