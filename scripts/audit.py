"""Known vulnerabilities of the pinned packages, by pip-audit; skipped with a line where no database is reached.

    python scripts/audit.py                 of constraints.txt
    python scripts/audit.py requirements.txt

Ends with status 1 where there is one. PyPI's database is asked first, then OSV's.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SERVICES = ("pypi", "osv")
SECONDS = 300


def main(arguments: list[str]) -> int:
    file = arguments[0] if arguments else str(ROOT / "constraints.txt")
    for service in SERVICES:
        report = asked(file, service)
        if report is not None and reached(report):
            lines, status = verdict(report)
            print("\n".join(lines))
            return status
    print(f"audit skipped: none of {', '.join(SERVICES)} was reached for vulnerabilities")
    return 0


def asked(file: str, service: str) -> dict[str, Any] | None:
    """What pip-audit reports of the packages in a file; None where it could not."""
    command = ["-m", "pip_audit", "-r", file, "--no-deps", "--disable-pip", "-f", "json"]
    try:
        ran = subprocess.run(
            [sys.executable, *command, "-s", service, "--progress-spinner", "off"],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        report = json.loads(ran.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return None
    return report if isinstance(report, dict) else None


def reached(report: Mapping[str, Any]) -> bool:
    """Whether the database knew any of the packages."""
    return any("skip_reason" not in package for package in report["dependencies"])


def verdict(report: Mapping[str, Any]) -> tuple[list[str], int]:
    """Lines to print, and the status to end with."""
    packages = report["dependencies"]
    known = [package for package in packages if "skip_reason" not in package]
    lines = [
        f"{package['name']} {package['version']}: {fault['id']}, mended in "
        f"{', '.join(fault.get('fix_versions') or ()) or 'no version yet'}"
        for package in known
        for fault in package["vulns"]
    ]
    status = 1 if lines else 0
    lines.append(f"{len(known)} of {len(packages)} packages audited, {len(lines)} vulnerabilities")
    return lines, status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
