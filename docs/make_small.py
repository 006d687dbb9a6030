"""Make a page of langsteer's smaller for the site: python docs/make_small.py PAGE.html TARGET.html

Drawings keep a tenth of a point, and the numbers that tables are sorted by seven digits. What a reader sees stays.
"""

import re
import sys
from pathlib import Path


def small(page: str) -> str:
    """The same page in fewer bytes."""
    page = re.sub(r"<svg.*?</svg>", lambda match: _small_drawing(match.group()), page, flags=re.S)
    page = re.sub(
        r'data-sort="(-?\d+\.\d+(?:e-?\d+)?)"',
        lambda match: f'data-sort="{float(match.group(1)):.7g}"',
        page,
    )
    return page.replace('class="number "', 'class="number"')


def _small_drawing(drawing: str) -> str:
    drawing = re.sub(
        r"<[^>]*>", lambda tag: re.sub(r"(?<=\.\d)\d+(?=[ \",)])", "", tag.group()), drawing
    )
    return re.sub(r">\s+<", "><", re.sub(r"\s*\n\s*", " ", drawing))


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(small(source.read_text(encoding="utf-8")), encoding="utf-8")
