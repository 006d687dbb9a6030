"""The texts of prompts that differ by language, from prompts.json."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


@functools.cache
def _texts() -> dict[str, Any]:
    text = (Path(__file__).parent / "prompts.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def native(benchmark: str) -> Mapping[str, Any]:
    """What a benchmark's native form says, by tag."""
    found: Mapping[str, Any] = _texts()[benchmark]
    return found


def instructions(benchmark: str) -> Mapping[str, str]:
    """One sentence that says what to do, by tag."""
    found: Mapping[str, str] = _texts()["instructions"][benchmark]
    return found
