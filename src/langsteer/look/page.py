"""One self-contained HTML page of figures and tables: it loads nothing, and needs no network.

Its look (`templates/page.css`), its tables (`table.html.j2`) and their sorting (`tables.js`) are those of every
page that langsteer writes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from langsteer.extras import need
from langsteer.look.grid import Grid
from langsteer.look.plotting import Figure
from langsteer.version import __version__

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class PageTable:
    """A grid and what it is; `folded` ones are opened by the reader."""

    caption: str
    grid: Grid
    folded: bool = True


@dataclass(frozen=True)
class PageSection:
    """A part of a page.

    `text`: what was found, a sentence or paragraph each. `reading`: how to read it, and what it
    does not show.
    """

    title: str
    text: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[PageTable] = ()
    reading: Sequence[str] = ()

    @property
    def anchor(self) -> str:
        return re.sub(r"\W+", "-", self.title.lower()).strip("-")


def render_page(
    title: str,
    sections: Sequence[PageSection],
    configuration: Mapping[str, str] | None = None,
    lead: Sequence[str] = (),
    extra: str = "analysis",
) -> str:
    """The page as HTML.

    `configuration` maps names to texts that are shown as they are; `lead` are sentences below the
    title. Raises MissingExtraError, naming `extra`, without jinja2.
    """
    jinja2 = need("jinja2", extra, "the page")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    html: str = environment.get_template("page.html.j2").render(
        title=title,
        sections=sections,
        configuration=dict(configuration or {}),
        lead=lead,
        version=__version__,
    )
    return html


def figures_called(figures: Sequence[Figure], *names: str) -> list[Figure]:
    """Those of the figures that have these names, in the order of the names."""
    by_name = {figure.name: figure for figure in figures}
    return [by_name[name] for name in names if name in by_name]
