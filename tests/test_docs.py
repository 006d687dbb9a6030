"""Documents that must keep up with the code."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from langsteer.cli.commands import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = sorted(p for p in (ROOT / "docs").glob("*.md") if p.read_text().startswith("# langsteer "))


def _maker() -> object:
    spec = importlib.util.spec_from_file_location("make_help", ROOT / "docs" / "make_help.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_help"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_show_the_help_of_today(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert _maker().updated(text) == text, "run python docs/make_help.py"  # type: ignore[attr-defined]


def test_every_command_has_a_page() -> None:
    assert {page.stem for page in PAGES} == set(COMMANDS)


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))])
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
