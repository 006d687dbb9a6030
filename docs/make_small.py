"""Make a page of langsteer's smaller for the site: python docs/make_small.py PAGE.html TARGET.html

Drawings keep a tenth of a point, one of the fonts that are tried, and no name that nothing asks for; numbers that
tables are sorted by keep seven digits. What a reader sees stays.
"""

import base64
import io
import re
import sys
from pathlib import Path

from PIL import Image


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
    drawing = re.sub(r"('DejaVu Sans'), [^;\"]*sans-serif", r"\1, sans-serif", drawing)
    drawing = re.sub(r' transform="rotate\(-?0 [^"]*"', "", drawing)
    drawing = re.sub(r'<path d="M [-\d.]+ [-\d.]+ *"[^>]*/>', "", drawing)  # a line of one point
    asked = set(re.findall(r"#([\w.-]+)", drawing))
    drawing = re.sub(
        r' id="([^"]+)"', lambda name: name.group() if name.group(1) in asked else "", drawing
    )
    drawing = re.sub(r"\s*\n\s*", " ", drawing)
    drawing = re.sub(
        r"base64,([^\"]+)", lambda match: "base64," + _few_colours(match.group(1)), drawing
    )
    drawing = re.sub(r">\s+<", "><", drawing)
    alone = re.compile(r"<g>((?:<(?:path|use|image)\b[^>]*/>|<text\b[^>]*>[^<]*</text>)*)</g>")
    while (fewer := alone.sub(r"\1", drawing)) != drawing:
        drawing = fewer
    return drawing


def _few_colours(picture: str) -> str:
    file = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        few = image.convert("RGBA").quantize(64, method=Image.Quantize.FASTOCTREE)
        few.save(file, format="PNG", optimize=True)
    smaller = base64.b64encode(file.getvalue()).decode("ascii")
    return min(picture, smaller, key=len)


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(small(source.read_text(encoding="utf-8")), encoding="utf-8")
