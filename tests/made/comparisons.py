"""A small comparison, not yet run."""

from pathlib import Path
from typing import Any

from langsteer.evaluation.comparison.configuration import Comparison, comparison


def wanted(tmp_path: Path, **changes: Any) -> Comparison:
    keys = {
        "output": "out",
        "models": "tiny",
        "benchmarks": "sib200",
        "languages": ["sw", "et"],
        "methods": ["direct", "english", "mean_difference"],
        "data": "data",
    }
    return comparison(keys | changes, tmp_path)
