"""scripts/audit.py, with what pip-audit would say given to it."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "audit.py"
WELL = {"name": "click", "version": "8.0", "vulns": []}
FAULT = {"id": "PYSEC-1", "fix_versions": ["2.1"], "aliases": [], "description": ""}
BAD = {"name": "jinja2", "version": "2.0", "vulns": [FAULT, {"id": "PYSEC-2", "fix_versions": []}]}
UNKNOWN = {"name": "own", "skip_reason": "Dependency not found on PyPI"}


@pytest.fixture
def audit() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("audit", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["audit"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["audit"]


@pytest.mark.parametrize(
    ("answers", "status", "told"),
    [
        ({"pypi": [WELL, UNKNOWN]}, 0, "1 of 2 packages audited, 0 vulnerabilities"),
        (
            {"pypi": [WELL, BAD]},
            1,
            "jinja2 2.0: PYSEC-1, mended in 2.1\njinja2 2.0: PYSEC-2, mended in no version yet\n"
            "2 of 2 packages audited, 2 vulnerabilities",
        ),
        ({"pypi": [UNKNOWN], "osv": [BAD]}, 1, "1 of 1 packages audited, 2 vulnerabilities"),
        ({"pypi": [UNKNOWN], "osv": None}, 0, "audit skipped: none of pypi, osv was reached"),
        ({"pypi": None, "osv": None}, 0, "audit skipped"),
    ],
)
def test_what_is_told(
    audit: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answers: dict[str, Any],
    status: int,
    told: str,
) -> None:
    def asked(file: str, service: str) -> dict[str, Any] | None:
        packages = answers[service]
        return None if packages is None else {"dependencies": packages, "fixes": []}

    monkeypatch.setattr(audit, "asked", asked)
    assert audit.main([]) == status
    assert told in capsys.readouterr().out


def test_a_package_that_answers_nothing_is_no_report(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As where pip-audit is not installed, or has no network."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert audit.asked(str(tmp_path / "r.txt"), "pypi") is None
